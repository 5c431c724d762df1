"""From a policy's engine URL to an engine; passwords stay out of every message."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from gateway.engines.alchemy import AlchemyEngine
from gateway.engines.base import Engine
from gateway.engines.duckdb import DuckdbEngine
from gateway.engines.folder import FolderEngine
from gateway.engines.mariadb import MariadbBackend, Server
from gateway.engines.pgcopier import PostgresCopier
from gateway.engines.postgres import Address, PostgresEngine
from gateway.engines.spark import Cluster, SparkEngine
from gateway.engines.sqlite import SqliteBackend
from gateway.policy.model import Dialect

_LIBPQ: Final = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "target_session_attrs", "passfile", "service"}
)


class EngineUrlInvalid(ValueError):
    """An engine URL that is none, in words that repeat no part of it but its scheme and parameter names."""


def dialect_of(url: str) -> Dialect:
    """Return the dialect that an engine URL means; ``EngineUrlInvalid`` if it means none."""
    scheme = _split(url).scheme
    match scheme:
        case "duckdb" | "sqlite":
            return scheme
        case "parquet" | "csv":
            return "duckdb"
        case "postgresql" | "postgres":
            return "postgres"
        case "spark" | "sc":
            return "spark"
        case "mariadb" | "mysql":
            return "mysql"
    raise EngineUrlInvalid(
        f"{scheme or 'no scheme'}: an engine is postgresql://user@host/database, mariadb://user@host/database, "
        "duckdb:///file, sqlite:///file, parquet:///folder, csv:///folder, spark://host:port/schema or "
        "sc://host:port/schema"
    )


def open_engine(url: str, base: Path | None = None, memory: int | None = None) -> Engine:
    """Return the engine of a URL, not yet connected.

    ``duckdb:///data/health.duckdb`` is relative to ``base`` (the working directory without one), and
    ``duckdb:////data/health.duckdb`` absolute; ``sqlite:///`` and the folders of ``parquet:///`` and ``csv:///``
    likewise.
    ``spark://local/schema`` runs Spark in the gateway's own machine, ``spark://host:7077/schema`` on a cluster, and
    ``sc://host:15002/schema?token=…`` over Spark Connect; ``?folder=`` names a folder of Parquet files instead.
    ``postgresql://user:password@host:port/database`` takes ``?schema=``, ``host`` (a socket's folder), ``user``,
    ``port``, and libpq's TLS and password-file parameters; ``mariadb://user:password@host:port/database`` takes
    ``?socket=`` and ``?ssl_ca=``.
    ``memory`` is what an embedded engine may use, in bytes, where it has such a limit.
    """
    parts = _split(url)
    match dialect_of(url):
        case "postgres":
            return PostgresEngine(_address(parts))
        case "spark":
            return SparkEngine(_cluster(parts, base))
        case "sqlite":
            return AlchemyEngine(SqliteBackend(_file(parts, base)))
        case "mysql":
            return AlchemyEngine(MariadbBackend(_server(parts)))
        case "duckdb" if parts.scheme in ("parquet", "csv"):
            return FolderEngine(_file(parts, base), "parquet" if parts.scheme == "parquet" else "csv", memory)
        case _:
            return DuckdbEngine(_file(parts, base), memory)


def postgres_copier(writer: str, source: str, schema: str) -> PostgresCopier:
    """Return what makes a prepared copy in a schema, as the role of one URL, of the data that another one reads."""
    if dialect_of(writer) != "postgres":
        raise EngineUrlInvalid("who writes a copy of data in PostgreSQL is a role there: postgresql://…")
    return PostgresCopier(_address(_split(writer)), _address(_split(source)).schema, schema)


def _server(parts: SplitResult) -> Server:
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = unquote(parts.path.removeprefix("/"))
    if set(found) - {"socket", "ssl_ca"} or not database or not (parts.hostname or "socket" in found):
        raise EngineUrlInvalid("MariaDB is written mariadb://user:password@host:port/database, with socket or ssl_ca")
    if "\0" in unquote("".join((parts.netloc, parts.path, *found.values()))):
        raise EngineUrlInvalid("a URL holds no NUL")
    return Server(
        database,
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        socket=found.get("socket"),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        ssl_ca=found.get("ssl_ca"),
    )


def _cluster(parts: SplitResult, base: Path | None) -> Cluster:
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = {"folder"} | ({"token", "use_ssl", "user_id"} if parts.scheme == "sc" else set())
    schema, folder = unquote(parts.path.removeprefix("/")) or None, found.get("folder")
    if not parts.hostname or parts.username or set(found) - known or (schema is None) == (folder is None):
        raise EngineUrlInvalid("Spark is written spark://host:port/schema, or with ?folder= instead of the schema")
    if any(letter in value for value in found.values() for letter in ";\0"):
        raise EngineUrlInvalid("a parameter holds a semicolon")
    place = None if folder is None else (base or Path()) / folder
    if parts.scheme == "sc":
        options = "".join(f";{name}={value}" for name, value in found.items() if name != "folder")
        return Cluster(remote=f"sc://{parts.netloc}/{options}", schema=schema, folder=place)
    master = "local[*]" if parts.netloc == "local" else f"spark://{parts.netloc}"
    return Cluster(master=master, schema=schema, folder=place)


def _file(parts: SplitResult, base: Path | None) -> Path:
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or parts.query or parts.fragment or not path or "\0" in path:
        raise EngineUrlInvalid(f"a file is written {parts.scheme}:///path, without host or parameters")
    return (base or Path()) / path


def redacted(url: str) -> str:
    """Return a URL fit to be shown: without its password."""
    try:
        parts = _split(url)
    except EngineUrlInvalid:
        return "(not a URL)"
    user, at, host = parts.netloc.rpartition("@")
    names = user.partition(":")[0]
    shown = [(k, v) for k, v in parse_qsl(parts.query) if not any(word in k.lower() for word in ("password", "token"))]
    query = "&".join(f"{k}={v}" for k, v in shown)
    return f"{parts.scheme}://{names}{at}{host}{parts.path}{'?' + query if query else ''}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise EngineUrlInvalid("not a URL: a bad host or port") from None
    return parts


def _address(parts: SplitResult) -> Address:
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _LIBPQ | {"host", "port", "user", "password", "dbname", "schema"}:
            raise EngineUrlInvalid(f"{name} is not a parameter of a PostgreSQL URL")
        if name in found:
            raise EngineUrlInvalid(f"{name} stands twice")
        found[name] = value
    port = parts.port if parts.port is not None else found.get("port")
    if port is not None and not str(port).isdecimal():
        raise EngineUrlInvalid("port is not a number")
    if "\0" in unquote("".join((parts.netloc, parts.path, *found.values()))):
        raise EngineUrlInvalid("a URL holds no NUL")
    return Address(
        host=found.get("host") or parts.hostname or None,
        port=int(port) if port is not None else None,
        database=unquote(parts.path.removeprefix("/")) or found.get("dbname"),
        user=unquote(parts.username) if parts.username else found.get("user"),
        password=unquote(parts.password) if parts.password else found.get("password"),
        schema=found.get("schema") or "public",
        options=tuple((name, value) for name, value in found.items() if name in _LIBPQ),
    )
