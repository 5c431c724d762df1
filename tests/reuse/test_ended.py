"""Stored answers that ended: deleted, too old, of data that changed; charges stay, and nothing deleted is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from budget import payloads
from gateway import admin
from gateway.admin.answers import RETENTION
from gateway.errors import AnswerDeleted, NotFound, RequestInvalid
from gateway.reuse import offers
from tests.reuse.world import World, world

COUNT = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"


def test_a_deleted_answer_is_gone_and_its_charge_stays(here: World) -> None:
    control = here.service.control
    first = here.ask(COUNT, key="k")
    bought = here.ask(COUNT, analyst="bob", key="k")
    assert bought.query_id is not None
    assert admin.delete_answers(control, "health", actor="root", query=bought.query_id) == 1  # with the one it bought
    for analyst in ("ann", "bob"):
        with pytest.raises(AnswerDeleted):
            here.ask(COUNT, analyst=analyst, key="k")
        assert here.spent(analyst) == 1.0
    assert here.ask(COUNT, dry_run=True).offers == []
    again = here.ask(COUNT)
    assert not again.cached
    assert again.query_id != first.query_id
    assert admin.list_acts(control)[0].act == "answers-delete"


def test_which_answers_are_deleted(here: World) -> None:
    control = here.service.control
    here.ask(COUNT)
    admin.bump_data_version(control, "health", actor="root")
    here.ask(COUNT)
    assert admin.delete_answers(control, "health", actor="root", older_than=3600) == 0
    assert admin.delete_answers(control, "health", actor="root", below_version=2) == 1
    assert here.ask(COUNT).cached
    assert admin.delete_answers(control, "health", actor="root", older_than=0) == 1
    assert not here.ask(COUNT).cached
    with pytest.raises(RequestInvalid):
        admin.delete_answers(control, "health", actor="root")
    with pytest.raises(RequestInvalid):
        admin.delete_answers(control, "health", actor="root", older_than=1, below_version=1)
    with pytest.raises(NotFound):
        admin.delete_answers(control, "health", actor="root", query="0" * 32)
    with pytest.raises(NotFound):
        admin.delete_answers(control, "wealth", actor="root", older_than=1)


def test_an_answer_that_is_too_old_is_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path, answers_days=1) as here:
        here.ask(COUNT, key="k")
        assert here.ask(COUNT).cached
        assert here.ask(COUNT, key="k").query_id is not None
        with monkeypatch.context() as later:
            later.setattr(offers, "DAY", 0)  # a day is over at once
            with pytest.raises(AnswerDeleted):  # by its key, or by its id, no more than as a stored answer
                here.ask(COUNT, key="k")
            assert not here.ask(COUNT).cached
        assert admin.expire_answers(here.service.control, None) == 0
        assert admin.expire_answers(here.service.control, 1) == 0
        monkeypatch.setattr("gateway.admin.answers.SECOND", 0)
        assert admin.expire_answers(here.service.control, 1) == 2
        assert admin.list_acts(here.service.control)[0].actor == RETENTION
        with here.service.reads.connect() as conn:
            assert payloads.kept(conn, "health") == []
        assert here.sound()
