"""A real MariaDB server for the tests that ask for one: from the system's programs, over a socket of its own."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pymysql
import pytest

from gateway.engines.base import Limits
from gateway.engines.open import open_engine
from tests.oracles.worlds import Data, Datum, World

PROGRAM, INSTALL = (
    shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin") for name in ("mariadbd", "mariadb-install-db")
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a server on a folder that holds its data."""
    assert PROGRAM is not None
    options = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={folder}/data", f"--socket={folder}/s"]
    options += ["--skip-networking", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"]
    process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        # the server makes its socket once it listens; a connection that fails would leave a socket of ours open
        if (folder / "s").exists():
            root(folder).close()
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the server does not start")


@pytest.fixture(scope="session")
def mariadb_folder() -> Iterator[Path]:
    """The folder of a running server: its socket is ``s``, its superuser ``root``."""
    assert PROGRAM is not None, "make test-mariadb needs MariaDB's programs: apt-get install mariadb-server"
    assert INSTALL is not None
    folder = Path(tempfile.mkdtemp(prefix="dmy", dir="/tmp"))
    options = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={folder}/data", "--skip-test-db"]
    options += ["--auth-root-authentication-method=normal"]
    subprocess.run([INSTALL, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = start(folder)
    yield folder
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def root(folder: Path, database: str | None = None) -> Any:
    """A connection that may do anything, with a mode in which days that are none may be written."""
    return pymysql.connect(
        unix_socket=f"{folder}/s",
        user="root",
        database=database,
        charset="utf8mb4",
        autocommit=True,
        sql_mode="ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES",
    )


def url(folder: Path, database: str, user: str = "reader:secret") -> str:
    return f"mariadb://{user}@localhost/{database}?socket={quote(f'{folder}/s')}"


class MariadbDatabase:
    """One database, read through the engine by a user who may do nothing else."""

    def __init__(self, world: World, folder: Path, database: str) -> None:
        self._world, self._folder, self._database = world, folder, database
        with closing(root(folder)) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE OR REPLACE DATABASE {database} CHARACTER SET utf8mb4")
            cursor.execute("CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'secret'")
            cursor.execute(f"GRANT SELECT ON {database}.* TO reader")
            cursor.execute(f"USE {database}")
            for statement in world.ddl("mysql"):
                cursor.execute(statement)
        self.url = url(folder, database)
        self.engine = open_engine(self.url)

    def fill(self, data: Data) -> None:
        with closing(root(self._folder, self._database)) as connection, connection.cursor() as cursor:
            for table in self._world.tables:
                cursor.execute(f'TRUNCATE "{table.name}"')
                marks = ", ".join(["%s"] * len(table.cols))
                rows = [tuple(map(stored, row)) for row in data.get(table.name, [])]
                if rows:
                    cursor.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)

    def fetch(self, sql: str) -> pa.Table:
        with self.engine.session(Limits(60)) as session:
            return session.fetch(sql)


def stored(value: Datum) -> Datum:
    """What MariaDB is given: it has no endless numbers and days, and NULL or a day that is none is put there."""
    match value:
        case float() if value != value or abs(value) == float("inf"):
            return None
        case "infinity":
            return "0000-00-00"
        case "-infinity":
            return "2020-02-00"
        case str():
            return value[:1000]
        case int() if not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            return 2**63 - 1 if value > 0 else -(2**63)
    assert value is None or isinstance(value, int | float | Decimal | date | datetime)
    return value
