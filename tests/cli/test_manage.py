"""What admins do on the command line: each command once in order, and what each refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa

from tests.cli.conftest import POLICY, Call


def test_a_gateway_is_set_up_from_nothing(call: Call, clinic: Path, tmp_path: Path) -> None:
    made = call("init")
    assert made.exit_code == 0, made.stderr
    assert "is ready" in made.stdout
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    again = call("init", "--json")
    assert json.loads(again.stdout)["key_made"] is False

    applied = call("dataset", "apply", str(clinic))
    assert applied.exit_code == 0, applied.stderr
    assert applied.stdout == "clinic: version 1 is in force\n"
    assert json.loads(call("dataset", "apply", str(clinic), "--json").stdout)["version"] == 2

    (listed,) = json.loads(call("dataset", "list", "--json").stdout)
    assert (listed["name"], listed["version"]) == ("clinic", 2)
    assert "clinic" in call("dataset", "list").stdout
    shown = call("dataset", "show", "clinic").stdout
    for expected in ("person_id", "F, M", "0 … 110", "ε = 2 a query"):
        assert expected in shown
    assert json.loads(call("dataset", "show", "clinic", "--json").stdout)["info"]["tables"][0]["name"] == "person"

    assert call("analyst", "add", "ada").stdout == "ada is added, as analyst\n"
    (ada,) = json.loads(call("analyst", "list", "--json").stdout)
    assert (ada["name"], ada["role"], ada["disabled"]) == ("ada", "analyst", False)

    grant = call(
        "budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3", "--delta", "1e-6", "--json"
    )
    assert json.loads(grant.stdout)["epsilon_remaining"] == 3
    (standing,) = json.loads(call("budget", "show", "--json").stdout)
    assert (standing["analyst"], standing["epsilon_granted"]) == ("ada", 3)
    assert "ada" in call("budget", "show", "--dataset", "clinic").stdout

    entries = json.loads(call("ledger", "show", "--json").stdout)
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert "grant" in call("ledger", "show").stdout
    verified = call("ledger", "verify")
    assert verified.exit_code == 0
    assert "all in order" in verified.stdout
    assert json.loads(call("ledger", "verify", "--json").stdout)["ok"] is True


def test_the_data_changed_and_stored_answers_end(call: Call, clinic: Path) -> None:
    call("init")
    call("dataset", "apply", str(clinic))
    call("analyst", "add", "ada")
    call("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3")
    ask = (
        "query",
        "SELECT COUNT(*) AS n FROM person",
        "--dataset",
        "clinic",
        "--epsilon",
        "0.5",
        "--analyst",
        "ada",
        "--json",
    )
    first, again = (json.loads(call(*ask).stdout) for _ in range(2))
    assert (first["cached"], again["cached"], again["rows"]) == (False, True, first["rows"])
    assert call("dataset", "refresh", "clinic").stdout == "clinic: data version 2\n"
    assert json.loads(call("dataset", "refresh", "clinic", "--json").stdout)["data_version"] == 3
    delete = ("answers", "delete", "--dataset", "clinic")
    assert call(*delete, "--older-than", "30d").stdout == "0 stored answers are deleted\n"
    assert json.loads(call(*delete, "--below-data-version", "3", "--json").stdout)["deleted"] == 1
    assert call(*delete).exit_code == call(*delete, "--older-than", "soon").exit_code == 2
    assert call("ledger", "verify").exit_code == 0


def test_a_token_is_printed_alone(call: Call) -> None:
    call("init")
    call("analyst", "add", "ada")
    issued = call("token", "issue", "ada", "--role", "analyst", "--ttl", "2h")
    assert issued.exit_code == 0
    assert issued.stderr == ""
    (token,) = issued.stdout.splitlines()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("ada", "analyst", 7200)


def test_the_first_admin_comes_with_the_first_admin_token(call: Call) -> None:
    call("init")
    assert call("token", "issue", "root", "--role", "admin").exit_code == 0
    assert [each["role"] for each in json.loads(call("analyst", "list", "--json").stdout)] == ["admin"]


def test_analysts_are_disabled_and_enabled(call: Call) -> None:
    call("init")
    call("analyst", "add", "ada")
    assert call("analyst", "disable", "ada").exit_code == 0
    assert "disabled" in call("analyst", "list").stdout
    assert call("analyst", "enable", "ada").exit_code == 0
    assert "disabled" not in call("analyst", "list").stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("analyst", "add", "a/b"), "name-invalid"),
        (("analyst", "add", "ada"), "analyst-exists"),
        (("analyst", "disable", "bob"), "analyst-unknown"),
        (("analyst", "resume", "ada", "--dataset", "clinic"), "grant-unknown"),
        (("token", "issue", "bob", "--role", "analyst"), "analyst-unknown"),
        (("token", "issue", "ada", "--role", "admin"), "role-differs"),
        (("token", "issue", "ada", "--role", "analyst", "--ttl", "9999d"), "lifetime-invalid"),
        (("dataset", "show", "nowhere"), "dataset-unknown"),
        (("budget", "set", "--dataset", "nowhere", "--analyst", "ada", "--epsilon", "1"), "dataset-unknown"),
        (("budget", "set", "--dataset", "clinic", "--analyst", "bob", "--epsilon", "1"), "analyst-unknown"),
        (("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "-1"), "amount-invalid"),
        (("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "nan"), "amount-invalid"),
        (("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "1e99"), "amount-invalid"),
        (("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "two"), "amount-invalid"),
        (
            ("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "1", "--delta", "1"),
            "amount-invalid",
        ),
    ],
)
def test_refusals_are_one_line_with_their_code(call: Call, clinic: Path, words: tuple[str, ...], code: str) -> None:
    call("init")
    call("dataset", "apply", str(clinic))
    call("analyst", "add", "ada")
    refused = call(*words)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[0].startswith("error: ")
    assert f"[{code}]" in refused.stderr.splitlines()[0]
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("dataset", "apply", "no-such-file.yaml"),
        ("analyst", "add"),
        ("analyst", "add", "ada", "--role", "king"),
        ("token", "issue", "ada"),
        ("token", "issue", "ada", "--role", "analyst", "--ttl", "soon"),
        ("token", "issue", "ada", "--role", "analyst", "--ttl", "0h"),
        ("frobnicate",),
        ("serve", "--port", "70000"),
        ("ledger", "show", "--limit", "0"),
    ],
)
def test_misuse_has_a_status_of_its_own(call: Call, words: tuple[str, ...]) -> None:
    misused = call(*words)
    assert misused.exit_code == 2
    assert misused.stdout == ""
    assert "Traceback" not in misused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("dataset", "list"),
        ("analyst", "list"),
        ("budget", "show"),
        ("ledger", "verify"),
        ("token", "issue", "ada", "--role", "analyst"),
        ("serve",),
        ("query", "SELECT 1", "--dataset", "clinic", "--epsilon", "1", "--analyst", "ada"),
    ],
)
def test_without_init_every_command_says_so(call: Call, words: tuple[str, ...]) -> None:
    refused = call(*words)
    assert refused.exit_code == 1
    assert "[home-unusable]" in refused.stderr
    assert "discreet init" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_wrong_policy_shows_every_problem_with_its_place(call: Call, clinic: Path) -> None:
    call("init")
    clinic.write_text(POLICY.replace("lower: 0, upper: 110", "lower: 110, upper: 0").replace("[F, M]", "[F, F]"))
    refused = call("dataset", "apply", str(clinic))
    assert refused.exit_code == 1
    assert "tables.person.columns.age" in refused.stderr
    assert "tables.person.columns.sex" in refused.stderr
    assert "[policy-invalid]" in refused.stderr.splitlines()[-1]
    assert call("dataset", "list", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("clinic.duckdb", "gone.duckdb"), "engine-unavailable"),
        (("duckdb:///clinic.duckdb", "oracle://host/db"), "policy-invalid"),
        (("duckdb:///clinic.duckdb", "postgresql://u:s3cret@127.0.0.1:1/db"), "engine-unavailable"),
    ],
)
def test_a_database_out_of_reach(call: Call, clinic: Path, change: tuple[str, str], code: str) -> None:
    call("init")
    clinic.write_text(POLICY.replace(*change))
    refused = call("dataset", "apply", str(clinic))
    assert refused.exit_code == 1
    assert f"[{code}]" in refused.stderr
    assert "s3cret" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_binary_policy_and_a_bad_setting(call: Call, clinic: Path) -> None:
    call("init")
    clinic.write_bytes(b"\xff\xfe\x00")
    assert "[policy-invalid]" in call("dataset", "apply", str(clinic)).stderr
    wrong = call("init", env={"DISCREET_PORT": "s3cret"})
    assert wrong.exit_code == 2
    assert "port" in wrong.stderr
    assert "s3cret" not in wrong.stderr


def test_an_altered_ledger_is_found(call: Call, clinic: Path, tmp_path: Path) -> None:
    call("init")
    call("dataset", "apply", str(clinic))
    call("analyst", "add", "ada")
    call("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'home' / 'control.sqlite'}")
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE ledger_scope SET epsilon = epsilon + 1 WHERE scope LIKE '%ada%'")
    engine.dispose()
    found = call("ledger", "verify")
    assert found.exit_code == 1
    assert "[ledger-altered]" in found.stderr
    assert json.loads(call("ledger", "verify", "--json").stdout)["ok"] is False
