"""Every setting of the gateway: a name, a default, a sentence.

A setting comes from the environment (``DISCREET_`` and its name in capitals) or from a TOML file (the one that
``DISCREET_CONFIG`` names, else ``discreet.toml`` in the home folder); the environment wins. An unknown name in the file
is an error, since a limit that is misspelt is no limit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, Self

import platformdirs
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX: Final = "DISCREET_"
CONFIG_VARIABLE: Final = "DISCREET_CONFIG"
CONFIG_NAME: Final = "discreet.toml"

OidcAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric algorithms alone: with a symmetric one, whoever can verify a token can forge it."""


class SettingsError(Exception):
    """The settings cannot be used; each line names one and says why, without its value (which may be a secret)."""


def default_home() -> Path:
    """Return the folder that is used when ``DISCREET_HOME`` names none: the platform's data folder."""
    return Path(platformdirs.user_data_dir("discreet", appauthor=False))


def default_engine_memory() -> int:
    """Return the memory of an embedded data engine, in bytes, of which each of its threads needs a part."""
    return max(192 << 20, (os.cpu_count() or 1) * (64 << 20))


class Settings(BaseSettings):
    """The settings of one gateway, fixed from start to stop."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    home: Path = Field(
        default_factory=default_home,
        description="Folder of the embedded control database and signing key; by default the platform's data folder.",
    )
    database: str | None = Field(
        None,
        repr=False,
        description="URL of the control database, `sqlite:////file` or `postgresql://…`; by default a file in the home "
        "folder.",
    )
    process_folder: Path | None = Field(
        None,
        description="Folder of the lock files by which gateways of one control database know each other to be alive; "
        "`processes` in the home folder by default.",
    )
    host: str = Field("127.0.0.1", description="Address that `serve` listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that `serve` listens on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    signing_key: Path | None = Field(
        None,
        description="File of the Ed25519 key that signs tokens (PEM); `signing.pem` in the home folder by default.",
    )
    ledger_head: Path | None = Field(
        None,
        description="File of the ledger's signed head, compared before serving; `ledger-head.json` in the home folder"
        " by default. Better on other storage than the control database.",
    )
    issuer: str = Field("discreet", min_length=1, description="Issuer (`iss`) of the gateway's own tokens.")
    audience: str = Field("discreet", min_length=1, description="Audience (`aud`) that every token must name.")
    token_seconds: int = Field(8 * 3600, ge=60, description="Lifetime of a token for which none is asked, in seconds.")
    token_seconds_max: int = Field(90 * 86400, ge=60, description="Longest lifetime of a token, in seconds.")
    token_leeway_seconds: int = Field(
        10, ge=0, le=300, description="How far the clocks of issuer and gateway may be apart, in seconds."
    )
    oidc_issuer: str | None = Field(
        None, min_length=1, description="Issuer of an identity provider whose tokens are accepted beside own ones."
    )
    oidc_jwks_url: str | None = Field(None, description="Where the identity provider publishes its keys (https).")
    oidc_algorithms: tuple[OidcAlgorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Signature algorithms accepted from the identity provider."
    )
    oidc_role_claim: str = Field(
        "role", min_length=1, description="Claim of the identity provider's tokens that holds the role."
    )

    request_bytes: int = Field(524_288, ge=1024, description="Largest body of a request, in bytes.")
    sql_bytes: int = Field(65_536, ge=1, description="Longest SQL text, in bytes.")
    sql_nesting: int = Field(30, ge=1, le=30, description="Deepest nesting of a SQL text, decided before it is parsed.")
    joins: int = Field(16, ge=0, description="Joins in one query.")
    releases: int = Field(16, ge=1, description="Releases (noisy tables) in one request.")
    public_groups: int = Field(
        10_000, ge=1, description="Groups of public domains in one release, decided when the query is planned."
    )
    integer_domain: int = Field(
        1000,
        ge=1,
        description="Largest range of a bounded integer column that counts as a public domain of group keys.",
    )
    released_groups: int = Field(
        100_000, ge=1, description="Groups of one release after its threshold; the rest is left out of the answer."
    )
    public_rows: int = Field(
        100_000, ge=1, description="Rows that are read of one public table to be combined with released ones."
    )
    declared_rows: int = Field(
        1000,
        ge=1,
        description="Rows of one unit up to which a declared bound, or a product of several, is used unasked; of larger"
        " ones a bound is chosen privately.",
    )
    answer_within_seconds: float = Field(
        10.0,
        ge=0,
        le=600,
        description="Time after which a query that still runs is answered 202 and goes on, where its client prefers no "
        "other, in seconds.",
    )
    statement_seconds: float = Field(60.0, gt=0, description="Wall time of one statement in a data engine, in seconds.")
    engine_memory: int = Field(
        default_factory=default_engine_memory,
        ge=1 << 26,
        description="Memory of an embedded data engine, in bytes, where the engine has such a limit: what does not fit "
        "is spilled to disk. By default 192 MiB, or 64 MiB a processor where that is more.",
    )
    prepare_memory: int = Field(
        1 << 30,
        ge=1 << 26,
        description="Memory in which `dataset prepare` makes a copy in a file, in bytes, keys aside.",
    )
    sandbox_seconds: float = Field(
        10.0, gt=0, description="Wall time of post-processing over noisy tables, in seconds."
    )
    sandbox_memory: int = Field(1 << 28, ge=1 << 26, description="Memory of one post-processing instance, in bytes.")
    queries_per_analyst: int = Field(4, ge=1, description="Queries of one analyst that may be in flight.")
    queries_in_all: int = Field(
        32, ge=1, le=1000, description="Queries of all analysts that may be in flight; eight times as many may be here."
    )

    prepare_writer: str | None = Field(
        None,
        repr=False,
        description="Engine URL of a PostgreSQL role that may make schemas, with which `dataset prepare` makes copies;"
        " the role that reads never writes.",
    )

    latency_quantum_ms: int = Field(
        100,
        ge=0,
        le=60_000,
        description="Outcomes show only at multiples of this time since submission; 0 turns it off.",
    )
    answers_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Days after which a stored answer is not given again, and is deleted within the hour;"
        " without it, never.",
    )
    suspend_on_failure: bool = Field(
        True, description="Whether an engine failure after a charge suspends the analyst on that dataset."
    )
    stored_datasets: int = Field(256, ge=1, description="Resolved policy versions kept in memory.")
    stored_plans: int = Field(
        256, ge=0, description="Plans kept in memory, so that a question asked again is planned at once."
    )
    api_docs: bool = Field(True, description="Whether `/openapi.json` is served.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (a .env file is not read)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what the caller states, then the environment, then the TOML file."""
        sources = (init_settings, env_settings)
        home = next((Path(str(found["home"])) for source in sources if "home" in (found := source())), default_home())
        path = _config_file(home)
        return sources if path is None else (*sources, TomlConfigSettingsSource(settings_cls, path))

    @field_validator("home", "signing_key", "ledger_head", "process_folder")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_jwks_url is None):
            raise ValueError("oidc_issuer and oidc_jwks_url are given together or not at all")
        if self.oidc_jwks_url is not None and not self.oidc_jwks_url.startswith("https://"):
            raise ValueError("oidc_jwks_url begins with https://")
        if self.oidc_issuer is not None and not self.oidc_issuer.startswith("https://"):
            raise ValueError("oidc_issuer begins with https://")
        if self.oidc_issuer == self.issuer:
            raise ValueError("oidc_issuer differs from issuer")
        if self.token_seconds > self.token_seconds_max:
            raise ValueError("token_seconds is at most token_seconds_max")
        if self.request_bytes < self.sql_bytes:
            raise ValueError("request_bytes is at least sql_bytes")
        return self

    @property
    def database_url(self) -> str:
        """The control database's URL."""
        return self.database or f"sqlite:///{self.home / 'control.sqlite'}"

    @property
    def signing_key_file(self) -> Path:
        """The file of the key that signs tokens."""
        return self.signing_key or self.home / "signing.pem"

    @property
    def ledger_head_file(self) -> Path:
        """The file of the ledger's signed head."""
        return self.ledger_head or self.home / "ledger-head.json"

    @property
    def copies(self) -> Path:
        """The folder of prepared copies."""
        return self.home / "prepared"

    @property
    def process_files(self) -> Path:
        """The folder of the lock files that prove gateways alive."""
        return self.process_folder or self.home / "processes"


def _config_file(home: Path) -> Path | None:
    """Return the TOML file to read: the one that is named (which must exist), else the home folder's if it exists."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"the file that {CONFIG_VARIABLE} names does not exist")
        return path
    path = home.expanduser() / CONFIG_NAME
    return path if path.is_file() else None


def load(**overrides: object) -> Settings:
    """Return the settings in force, with some of them given; ``SettingsError`` names what is wrong."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}" for problem in error.errors()]
        raise SettingsError("\n".join(lines)) from None
    except (OSError, ValueError) as error:
        # The library's texts name the setting or the place in the file, never a value.
        raise SettingsError(f"the settings cannot be read: {error}") from None
