"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import PREFIX, Settings, SettingsError, load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "CONFIG", "PORT", "DATABASE"):
        monkeypatch.delenv(PREFIX + name, raising=False)
    monkeypatch.setenv("DISCREET_HOME", str(tmp_path))
    return tmp_path


def test_every_setting_has_a_sentence_and_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert not field.is_required(), name


def test_defaults(home: Path) -> None:
    found = load()
    assert found.home == home
    assert found.database_url == f"sqlite:///{home}/control.sqlite"
    assert found.signing_key_file == home / "signing.pem"
    assert found.process_files == home / "processes"
    assert (found.sql_bytes, found.sql_nesting, found.public_groups) == (65_536, 30, 10_000)
    assert (found.latency_quantum_ms, found.suspend_on_failure) == (100, True)


def test_the_platforms_folder_is_the_home_where_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISCREET_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load().home.name == "discreet"


def test_the_caller_wins_over_the_environment_and_that_over_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "discreet.toml").write_text("port = 1\nhost = '::1'\nissuer = 'file'\n")
    monkeypatch.setenv("DISCREET_PORT", "2")
    monkeypatch.setenv("DISCREET_ISSUER", "environment")
    found = load(port=3)
    assert (found.port, found.issuer, found.host) == (3, "environment", "::1")


def test_a_file_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "elsewhere.toml"
    path.write_text("port = 7\noidc_algorithms = ['ES256']\n")
    monkeypatch.setenv("DISCREET_CONFIG", str(path))
    assert load().port == 7
    assert load().oidc_algorithms == ("ES256",)
    monkeypatch.setenv("DISCREET_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(SettingsError, match="does not exist"):
        load()


def test_a_home_given_by_the_caller_has_its_file_read(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "discreet.toml").write_text("port = 9\n")
    assert load(home=tmp_path / "other").port == 9


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sql_byte = 7", "sql_byte"),
        ("port = 'x'", "port"),
        ("port = 70000", "port"),
        ("sql_nesting = 31", "sql_nesting"),
        ("oidc_algorithms = ['HS256']", "oidc_algorithms"),
        ("oidc_algorithms = ['none']", "oidc_algorithms"),
        ("oidc_issuer = 'https://id.example.org'", "together"),
        ("oidc_issuer = 'https://a'\noidc_jwks_url = 'http://a/keys'", "oidc_jwks_url"),
        ("oidc_issuer = 'discreet'\noidc_jwks_url = 'https://a/keys'", "oidc_issuer"),
        ("issuer = 'https://a'\noidc_issuer = 'https://a'\noidc_jwks_url = 'https://a/keys'", "oidc_issuer"),
        ("token_seconds = 600\ntoken_seconds_max = 60", "token_seconds"),
        ("request_bytes = 2048", "request_bytes"),
        ("latency_quantum_ms = -1", "latency_quantum_ms"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_bad_setting_is_named(home: Path, text: str, named: str) -> None:
    (home / "discreet.toml").write_text(text)
    with pytest.raises(SettingsError, match=named):
        load()


def test_a_bad_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCREET_PORT", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_databases_password_is_not_printed() -> None:
    assert "hunter2" not in repr(load(database="postgresql://u:hunter2@h/d"))


def test_what_the_client_reads_from_the_environment_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCREET_URL", "http://localhost")
    monkeypatch.setenv("DISCREET_TOKEN", "t")
    load()
