"""What tells a file of data apart from what it was: names, sizes, times and places; never contents."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.engines.folder import SCHEMA

_FILES: Final = frozenset({"duckdb", "sqlite"})
_FOLDERS: Final = frozenset({"parquet", "csv"})


def fingerprint(url: str) -> str | None:
    """Return a digest of the state of the files that an engine URL names, None where it names none (a server).

    A write-ahead log beside the file counts, unless it is empty. ``OSError`` if the files cannot be looked at.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path).removeprefix("/"))
    if parts.scheme in _FILES:
        found = [path, *(log for log in (Path(f"{path}.wal"), Path(f"{path}-wal")) if _written(log))]
    elif parts.scheme in _FOLDERS:
        # those that ``FolderEngine`` reads: at any depth, whatever the case of their suffix
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() == f".{parts.scheme}" and file.is_file())
        found += [file for file in (path / SCHEMA,) if file.is_file()]
    else:
        return None
    digest = hashlib.sha256()
    for file in found:
        stat = file.stat()
        digest.update(
            f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_dev}\0{stat.st_ino}\0".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()


def _written(log: Path) -> bool:
    return log.is_file() and log.stat().st_size > 0
