"""Engine URLs: what they mean, and that no password is ever shown."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pytest

from gateway.engines.base import EngineUnavailable, Limits
from gateway.engines.open import EngineUrlInvalid, dialect_of, open_engine, redacted
from gateway.engines.postgres import Address, PostgresEngine
from gateway.engines.spark import Cluster, SparkEngine


def test_relative_and_absolute_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with duckdb.connect(str(tmp_path / "data" / "a b.duckdb")) as connection:
        connection.execute("CREATE TABLE t (x INTEGER)")
    for url in ("duckdb:///data/a%20b.duckdb", f"duckdb:///{tmp_path}/data/a b.duckdb"):
        engine = open_engine(url, tmp_path)
        assert engine.dialect == dialect_of(url) == "duckdb"
        assert list(engine.tables()) == ["t"]
        engine.close()


def test_postgres_address() -> None:
    url = "postgresql://ann:p%40ss@db.example:5433/shop?schema=sales&sslmode=require"
    engine = open_engine(url)
    assert isinstance(engine, PostgresEngine)
    assert engine.dialect == dialect_of(url) == "postgres"
    assert engine._address == Address("db.example", 5433, "shop", "ann", "p@ss", "sales", (("sslmode", "require"),))
    socket = open_engine("postgresql://postgres:@/postgres?host=/run/pg")
    assert isinstance(socket, PostgresEngine)
    assert socket._address == Address("/run/pg", None, "postgres", "postgres", None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "health.duckdb",
        "duckdb://",
        "duckdb:///",
        "duckdb://host/file",
        "duckdb:///file?threads=9",
        "duckdb:///a%00b",
        "sqlite://",
        "sqlite://host/file",
        "sqlite:///file?mode=rw",
        "oracle:///file",
        "parquet://",
        "csv://host/folder",
        "spark://local",
        "spark:///schema",
        "spark://local/schema?folder=x",
        "spark://local/schema?token=x",
        "sc://host/schema?spark.remote=x",
        "sc://host/schema?token=a;use_ssl=false",
        "file:///etc/passwd",
        "mariadb://h",
        "mariadb:///d",
        "mariadb://h/d?init_command=x",
        "mariadb://h/%00",
        "postgresql://h:port/d",
        "postgresql://h/d?options=-c%20search_path=x",
        "postgresql://h/d?schema=a&schema=b",
        "postgresql://h/d?port=x",
        "postgresql://h/%00",
        "postgresql://[::1/d",
    ],
)
def test_what_is_no_engine(url: str) -> None:
    with pytest.raises(EngineUrlInvalid) as caught:
        open_engine(url)
    assert "passwd" not in str(caught.value)


def test_passwords_are_never_shown() -> None:
    # port 1 refuses: the message is psycopg's own, which goes to the admin's log
    url = "postgresql://ann:s3cret-w0rd@127.0.0.1:1/shop"
    engine = open_engine(url)
    assert "s3cret" not in repr(engine)
    assert "s3cret" not in redacted(url)
    assert redacted(url) == "postgresql://ann@127.0.0.1:1/shop"
    assert "s3cret" not in redacted("postgresql://h/d?password=s3cret&schema=a")
    with pytest.raises(EngineUnavailable) as caught, engine.session(Limits(5)):
        pass
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_mariadb_servers() -> None:
    url = "mariadb://ann:s3cret-w0rd@127.0.0.1:1/shop"
    engine = open_engine(url)
    assert engine.dialect == dialect_of(url) == dialect_of("mysql://h/d") == "mysql"
    assert redacted(url) == "mariadb://ann@127.0.0.1:1/shop"
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1") as caught, engine.session(Limits(5)):
        pass
    assert "s3cret" not in repr(engine) + str(caught.value)


def test_spark_clusters() -> None:
    found = {
        "spark://local?folder=/data/f": Cluster("local[*]", folder=Path("/data/f")),
        "spark://master:7077/sales": Cluster("spark://master:7077", schema="sales"),
        "sc://host:15002/sales?token=s3cret&use_ssl=true": Cluster(
            remote="sc://host:15002/;token=s3cret;use_ssl=true", schema="sales"
        ),
    }
    for url, cluster in found.items():
        engine = open_engine(url)
        assert isinstance(engine, SparkEngine)
        assert engine.dialect == dialect_of(url) == "spark"
        assert engine._cluster == cluster
        assert "s3cret" not in repr(engine) + redacted(url)


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("psycopg", "postgresql://h/d", "postgres"),
        ("pyspark.sql", "spark://local/default", "spark"),
        ("pymysql", "mariadb://h/d", "mysql"),
    ],
)
def test_missing_driver_is_said(module: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineUnavailable, match=rf"discreet\[{extra}\]"):
        open_engine(url).tables()
