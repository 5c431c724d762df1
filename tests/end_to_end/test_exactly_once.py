"""A server that dies between a charge and its answer: nothing is lost, one key gets one answer at one price."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.client.errors import Conflict, GatewayError, NotAuthorized, QueryFailed, Unavailable
from gateway.client.result import Result
from tests.end_to_end.dying import POINTS
from tests.end_to_end.home import Home, Server, make_home, serving

SQL = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"
EPSILON = 0.25
OFTEN = {"charging", "executed"}
"""Points that every check tries; the audit tries the others too."""

EXECUTED_TWICE = {"charged", "read", "executed", "settling"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("dying"))


@pytest.fixture(scope="module")
def mortal(home: Home) -> Iterator[Server]:
    """Return a server that dies where a question's key says."""
    deaths = home.folder / "deaths"
    deaths.mkdir()
    server = Server(home, deaths)
    yield server
    server.stop()


def ask(home: Home, key: str, *, analyst: str = "ada", use_cache: bool = False) -> Result:
    with home.client(analyst) as client:
        return client.sql(SQL, dataset="health", epsilon=EPSILON, idempotency_key=key, use_cache=use_cache)


def ask_and_die(home: Home, mortal: Server, key: str, analyst: str) -> None:
    mortal.start()
    with pytest.raises(Unavailable):
        ask(home, key, analyst=analyst)
    mortal.died()


def kinds(home: Home, analyst: str, key: str) -> list[str]:
    """Return the kinds of the facts about the charges under a key, in order."""
    facts = home.facts()
    charges = {
        fact["says"]["id"]
        for fact in facts
        if fact["kind"] == "charge" and (fact["says"]["analyst"], fact["says"]["idempotency_key"]) == (analyst, key)
    }
    return [fact["kind"] for fact in facts if {fact["says"].get("id"), fact["says"].get("charge")} & charges]


def verified(home: Home) -> bool:
    return home.command("ledger", "verify").exit_code == 0


def together(home: Home, key: str, analyst: str) -> list[Result]:
    """Send one retry from several clients at once: one executes, the others wait or get the same."""
    got: list[Result | GatewayError] = []

    def retry() -> None:
        try:
            got.append(ask(home, key, analyst=analyst))
        except GatewayError as error:
            got.append(error)

    threads = [threading.Thread(target=retry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.code for each in got if isinstance(each, GatewayError)} <= {"query-running"}
    return [each for each in got if isinstance(each, Result)]


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=[] if each in OFTEN else pytest.mark.audit) for each in POINTS]
)
def test_killed_once(home: Home, mortal: Server, point: str) -> None:
    analyst, key = f"killed-{point}", f"die-{point}-1"
    home.grant(analyst, 3 * EPSILON)
    ask_and_die(home, mortal, key, analyst)
    assert home.spent(analyst) == (0 if point == "charging" else EPSILON), "what was committed stays, and no more"
    assert verified(home)
    mortal.start()
    first, *others = together(home, key, analyst)
    others.append(ask(home, key, analyst=analyst))
    for again in others:
        assert again.response.query_id == first.response.query_id
        assert again.rows == first.rows
        assert again.intervals == first.intervals
        assert not again.response.cached
    assert home.spent(analyst) == EPSILON
    with pytest.raises(Conflict, match="idempotency-key-reused"), home.client(analyst) as client:
        client.sql(SQL, dataset="health", epsilon=2 * EPSILON, idempotency_key=key, use_cache=False)
    fresh = ask(home, "another", analyst=analyst)
    assert fresh.response.query_id != first.response.query_id
    assert home.spent(analyst) == 2 * EPSILON
    expected = ["charge", "attempt", "outcome"] if point in EXECUTED_TWICE else ["charge", "outcome"]
    assert kinds(home, analyst, key) == expected
    assert verified(home)


@pytest.mark.parametrize(
    ("point", "price"), [pytest.param("settled", EPSILON, marks=pytest.mark.audit), ("executed", 2 * EPSILON)]
)
def test_killed_and_asked_again_without_the_key(home: Home, mortal: Server, point: str, price: float) -> None:
    """An answer that stands is found again by its question; one that was never drawn is not, and costs anew."""
    analyst = f"keyless-{point}"
    home.grant(analyst, 3 * EPSILON)
    ask_and_die(home, mortal, f"die-{point}-1", analyst)
    mortal.start()
    found = ask(home, "another", analyst=analyst, use_cache=True)
    assert (found.response.cost.epsilon == 0) is (point == "settled")
    assert home.spent(analyst) == price
    assert verified(home)


FED = "SELECT COUNT(*) AS n FROM person WHERE income > (SELECT AVG(income) FROM person)"


def drawn(home: Home, analyst: str) -> tuple[list[object], list[object]]:
    """Return what an analyst's charge drew to feed its other releases, and all that its outcome holds."""
    asked = (
        "SELECT i.payload, p.payload FROM ledger_charge c JOIN ledger_inner i ON i.charge = c.id"
        " LEFT JOIN ledger_payload p ON p.charge = c.id WHERE c.analyst = ?"
    )
    with closing(sqlite3.connect(home.folder / "home" / "control.sqlite")) as connection:
        [(inner, outcome)] = connection.execute(asked, (analyst,)).fetchall()
    return json.loads(inner)["tables"], [] if outcome is None else json.loads(outcome)["tables"]


@pytest.mark.audit
def test_killed_between_a_release_and_the_one_that_it_feeds(home: Home, mortal: Server) -> None:
    """What was drawn first is not drawn again: the rest of the request goes on from it, at no further price."""
    analyst, key = "fed", "die-fed-1"
    home.grant(analyst, 3 * EPSILON)
    mortal.start()
    with pytest.raises(Unavailable), home.client(analyst) as client:
        client.sql(FED, dataset="health", epsilon=EPSILON, idempotency_key=key)
    mortal.died()
    [first], nothing = drawn(home, analyst)
    assert nothing == []
    assert home.spent(analyst) == EPSILON
    mortal.start()
    with home.client(analyst) as client:
        answer, again = (client.sql(FED, dataset="health", epsilon=EPSILON, idempotency_key=key) for _ in range(2))
    [kept], [used, outer] = drawn(home, analyst)
    assert kept == used == first
    assert outer != first
    assert answer.rows == again.rows
    assert home.spent(analyst) == EPSILON
    assert kinds(home, analyst, key) == ["charge", "draw", "attempt", "outcome"]
    assert verified(home)


@pytest.mark.audit
def test_killed_twice_is_a_failure_that_stands(home: Home, mortal: Server) -> None:
    analyst, unlucky = "twice", "die-executed-2"
    home.grant(analyst, 4 * EPSILON)
    mortal.start()
    before = ask(home, "before", analyst=analyst)
    for _ in range(2):
        ask_and_die(home, mortal, unlucky, analyst)
    assert home.spent(analyst) == 2 * EPSILON
    mortal.start()
    failures = []
    for _ in range(2):
        with pytest.raises(QueryFailed) as caught:
            ask(home, unlucky, analyst=analyst)
        failures.append(caught.value.problem.model_dump())
    assert failures[0] == failures[1]
    assert (failures[0]["code"], failures[0]["charged"]) == ("execution-failed", True)
    for key in ("fresh", "before"):
        with pytest.raises(NotAuthorized, match="suspended"):
            ask(home, key, analyst=analyst)
    with pytest.raises(NotAuthorized, match="suspended"):
        ask(home, "cached", analyst=analyst, use_cache=True)
    assert home.spent(analyst) == 2 * EPSILON
    home.do("analyst", "resume", analyst, "--dataset", "health", "--reason", "the machine was killed")
    assert ask(home, "before", analyst=analyst).rows == before.rows
    with pytest.raises(QueryFailed, match="execution-failed"):
        ask(home, unlucky, analyst=analyst)
    ask(home, "after", analyst=analyst)
    assert home.spent(analyst) == 3 * EPSILON
    assert kinds(home, analyst, unlucky) == ["charge", "attempt", "outcome", "suspension"]
    assert verified(home)


@dataclass
class Load:
    """One analyst who asks without pause until told to stop or cut off, each question under a key of its own."""

    home: Home
    analyst: str
    stop: threading.Event = field(default_factory=threading.Event)
    answers: dict[str, Any] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    errors: list[GatewayError] = field(default_factory=list)

    def run(self) -> None:
        with self.home.client(self.analyst) as client:
            while not self.stop.is_set():
                key = secrets.token_hex(8)
                try:
                    found = client.sql(SQL, dataset="health", epsilon=0.01, idempotency_key=key, use_cache=False)
                except Unavailable:
                    self.open.append(key)
                    return
                except GatewayError as error:
                    self.errors.append(error)
                    return
                self.answers[key] = (found.response.query_id, found.rows)

    def settle(self) -> None:
        """Ask again, under its key, what was cut off."""
        with self.home.client(self.analyst) as client:
            for key in self.open:
                found = client.sql(SQL, dataset="health", epsilon=0.01, idempotency_key=key, use_cache=False)
                self.answers[key] = (found.response.query_id, found.rows)
        self.open.clear()


@pytest.mark.audit
def test_killed_at_any_instant_under_load(home: Home, mortal: Server) -> None:
    killed_under_load(home, mortal, 3)


@pytest.mark.audit
def test_killed_many_times_under_load(home: Home, mortal: Server) -> None:
    killed_under_load(home, mortal, 30)


def killed_under_load(home: Home, mortal: Server, kills: int) -> None:
    """Three analysts ask, the server is killed, and what was cut off is asked again after the restart, and so on."""
    loads = [Load(home, f"busy-{kills}-{number}") for number in range(3)]
    for load in loads:
        home.grant(load.analyst, 900, delta="0")  # pure, so that what is spent is a plain sum
    delays = [random.SystemRandom().uniform(0.01, 0.3) for _ in range(kills)]
    cut = 0
    mortal.stop()
    with serving(home) as server:
        for delay in delays:
            server.start()
            for load in loads:
                load.settle()
            asking = [threading.Thread(target=load.run) for load in loads]
            for thread in asking:
                thread.start()
            time.sleep(delay)
            server.kill()
            for thread in asking:
                thread.join()
            cut += sum(len(load.open) for load in loads)
        assert cut, delays
        server.start()
        for load in loads:
            load.settle()
            assert not load.errors
            for key in random.SystemRandom().sample(sorted(load.answers), min(10, len(load.answers))):
                with home.client(load.analyst) as client:
                    again = client.sql(SQL, dataset="health", epsilon=0.01, idempotency_key=key, use_cache=False)
                assert (again.response.query_id, again.rows) == load.answers[key]
    assert verified(home)
    facts = [fact for fact in home.facts() if fact["kind"] in ("charge", "outcome")]
    outcomes = {fact["says"]["charge"]: fact["says"]["status"] for fact in facts if fact["kind"] == "outcome"}
    for load in loads:
        charges = [f["says"] for f in facts if f["kind"] == "charge" and f["says"]["analyst"] == load.analyst]
        assert {charge["id"] for charge in charges} == {query_id for query_id, _ in load.answers.values()}
        assert Counter(charge["idempotency_key"] for charge in charges) == Counter(list(load.answers))
        assert {outcomes[charge["id"]] for charge in charges} == {"answered"}
        assert home.spent(load.analyst) == pytest.approx(0.01 * len(charges), abs=1e-12)
