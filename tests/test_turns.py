"""Turns are taken one after the other, and never waited for without end."""

from __future__ import annotations

import threading

import pytest

from gateway import turns
from gateway.turns import Turns


def _together(held: Turns, seconds: float) -> bool:
    """Return whether a second thread gets into its block while a first one is in its own."""
    inside = threading.Event()

    def second() -> None:
        with held.turn():
            inside.set()

    with held.turn():
        thread = threading.Thread(target=second)
        thread.start()
        met = inside.wait(seconds)
    thread.join(30)
    assert inside.is_set()
    return met


def test_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 30.0)
    assert not _together(Turns(), 0.2)


def test_who_has_waited_long_enough_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    held = Turns()
    assert _together(held, 30.0)
    monkeypatch.setattr(turns, "PATIENCE", 30.0)
    assert not _together(held, 0.2)  # who went on without has given back nothing that was another's


def test_a_turn_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    held = Turns()
    with pytest.raises(ValueError, match="no"), held.turn():
        raise ValueError("no")
    monkeypatch.setattr(turns, "PATIENCE", 30.0)
    with held.turn():
        pass
    assert not _together(held, 0.2)


def test_beside_a_server_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 30.0)
    assert _together(Turns(server=True), 30.0)
