"""The databases and the sandbox of the oracles, opened once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from tests.oracles.clinic import CLINICS
from tests.oracles.copies import DuckdbCopies, Late, PostgresCopies, copied
from tests.oracles.databases import (
    Bases,
    Database,
    DuckdbDatabase,
    FolderDatabase,
    PostgresDatabase,
    SqliteDatabase,
    duckdb_dataset,
    folder_dataset,
    postgres_connection,
    postgres_dataset,
    sqlite_dataset,
)
from tests.oracles.worlds import FOLDER_WORLDS, SQLITE_WORLDS, World
from tests.oracles.worlds import WORLDS as SINGLE
from tests.sql.shop import SHOP

WORLDS = (*SINGLE, SHOP, *CLINICS)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=2**28, seconds=20)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def duckdbs() -> Iterator[Bases]:
    opened = {world: (DuckdbDatabase(world), DuckdbDatabase(world)) for world in WORLDS}
    yield Bases({world: (duckdb_dataset(world), bases) for world, bases in opened.items()})
    for bases in opened.values():
        for base in bases:
            base.close()


@pytest.fixture(scope="session")
def duckdb_copies() -> Bases:
    """Two prepared copies of each world, made when they are asked for."""

    def made(world: World) -> tuple[Dataset, tuple[Database, Database]]:
        source = duckdb_dataset(world)
        first, second = DuckdbCopies(world, source), DuckdbCopies(world, source)
        return copied(source, first), (first, second)

    return Late(made)


@pytest.fixture(scope="session")
def postgres_copies(postgres_server: str) -> Iterator[Bases]:
    """The same in schemas of one database."""
    with postgres_connection(postgres_server) as connection:
        schemas: list[str] = []

        def made(world: World) -> tuple[Dataset, tuple[Database, Database]]:
            shape, *names = (f"copied_{world.name}_{number}" for number in range(3))
            schemas.extend([shape, *(f"{name}{copy}" for name in names for copy in ("", "_copy"))])
            PostgresDatabase(world, connection, shape)
            source = postgres_dataset(world, postgres_server, shape)
            first, second = (PostgresCopies(world, connection, name, source) for name in names)
            return copied(source, first), (first, second)

        yield Late(made)
        for name in schemas:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Two folders of Parquet files for each world."""
    found = Bases()
    for world in FOLDER_WORLDS:
        paths = [tmp_path_factory.mktemp(world.name) for _ in (0, 1)]
        first, second = (FolderDatabase(world, path) for path in paths)
        found[world] = folder_dataset(world, paths[0]), (first, second)
    return found


@pytest.fixture(scope="session")
def postgreses(postgres_server: str) -> Iterator[Bases]:
    """Two schemas for each world in one database, so that a case costs statements and nothing else."""
    with postgres_connection(postgres_server) as connection:
        found = Bases()
        for world in WORLDS:
            names = [f"oracle_{world.name}_{number}" for number in (0, 1)]
            first, second = (PostgresDatabase(world, connection, name) for name in names)
            found[world] = postgres_dataset(world, postgres_server, names[0]), (first, second)
        yield found
        for world in WORLDS:
            for number in (0, 1):
                connection.execute(f"DROP SCHEMA oracle_{world.name}_{number} CASCADE".encode())


@pytest.fixture(scope="session")
def sqlites(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Two files for each world, with values that SQLite keeps although no column declares them."""
    return _sqlites(tmp_path_factory.mktemp("hostile"), hostile=True)


@pytest.fixture(scope="session")
def clean_sqlites(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Two files for each world, which hold what is put into them."""
    return _sqlites(tmp_path_factory.mktemp("clean"), hostile=False)


def _sqlites(folder: Path, *, hostile: bool) -> Bases:
    found = Bases()
    for world in (*SQLITE_WORLDS, SHOP, *CLINICS):
        paths = [folder / f"{world.name}_{number}.sqlite" for number in (0, 1)]
        first, second = (SqliteDatabase(world, path, hostile=hostile) for path in paths)
        found[world] = sqlite_dataset(world, paths[0]), (first, second)
    return found
