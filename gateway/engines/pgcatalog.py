"""What PostgreSQL's catalogue says: tables, columns, enforced keys, foreign keys, and the rights of the role."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.engines.keys import enforced_key
from gateway.policy.model import ForeignKey, Physical, TableShape

if TYPE_CHECKING:
    import psycopg

_TABLES: Final = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
AND pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY 1
"""

# A table with children by inheritance is read together with them, and its constraints do not bind them; NOT NULL of a
# foreign table is not enforced here, and one that is NOT VALID (PostgreSQL 18) binds new rows only. A virtual generated
# column (18 too) is computed whenever it is read, which may raise an error at some row. A foreign table's rows are what
# somebody else computes, as a view's are; under row-level security a policy's query decides which rows there are.
_COLUMNS: Final = """
SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(a.atttypid, NULL),
  t.typnamespace = 'pg_catalog'::regnamespace AND a.attgenerated <> 'v', a.atttypmod,
  a.attnotnull AND c.relkind IN ('r', 'p') AND NOT (c.relkind = 'r' AND c.relhassubclass)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
      WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum AND NOT k.convalidated),
  c.relkind IN ('v', 'm', 'f') OR pg_catalog.row_security_active(c.oid),
  l.collname, l.collisdeterministic, a.attcollation = t.typcollation
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum
"""

# Valid, immediate, whole, over plain columns with default operators: anything else leaves rows or instants unchecked.
_UNIQUE: Final = """
SELECT c.relname, ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum WHERE k.at <= i.indnkeyatts)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = x.relam
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s)
  AND c.relkind IN ('r', 'p', 'm') AND NOT (c.relkind = 'r' AND c.relhassubclass)
  AND i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate AND NOT i.indisexclusion
  AND i.indpred IS NULL AND i.indexprs IS NULL AND m.amname = 'btree'
  AND NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) o
    JOIN pg_catalog.pg_opclass p ON p.oid = o WHERE NOT p.opcdefault)
"""

_FOREIGN: Final = """
SELECT c.relname, ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, at)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.at),
  CASE WHEN f.relnamespace = c.relnamespace THEN f.relname::text ELSE k.confrelid::regclass::text END,
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, at)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.at)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND k.contype = 'f'
"""

_RIGHTS: Final = """
SELECT NOT r.rolsuper AND NOT r.rolcreaterole
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles p
    WHERE (p.rolsuper OR p.rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program'))
    AND pg_catalog.pg_has_role(p.oid, 'MEMBER'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (pg_catalog.pg_has_role(c.relowner, 'MEMBER')
      OR EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE pg_catalog.pg_has_role(g.oid, 'MEMBER')
        AND (pg_catalog.has_table_privilege(g.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
          OR pg_catalog.has_any_column_privilege(g.oid, c.oid, 'INSERT, UPDATE')))))
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

_KINDS: Final[Mapping[str, Physical]] = {
    "smallint": Physical("integer", "smallint"),
    "integer": Physical("integer", "integer"),
    "bigint": Physical("integer", "bigint"),
    "real": Physical("float", "real"),
    "double precision": Physical("float", "double precision"),
    "boolean": Physical("boolean", "boolean"),
    "date": Physical("date", "date"),
    "timestamp without time zone": Physical("timestamp", "timestamp without time zone"),
    # not WITH TIME ZONE, whose reading depends on the session: a view says AT TIME ZONE 'UTC'
}


def tables(connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> tuple[str, ...]:
    """Return the tables and views of a schema that the role may read."""
    return tuple(str(row[0]) for row in connection.execute(_TABLES, {"schema": schema}).fetchall())


def read_only(connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> bool:
    """Whether the role can change no table of the schema, by rights of its own or of a role that it may become.

    Temporary tables and CREATE in the schema are not counted: neither changes the data.
    """
    return connection.execute(_RIGHTS, {"schema": schema}).fetchall() == [(True,)]


def shapes(
    connection: psycopg.Connection[tuple[Any, ...]], schema: str, names: Collection[str]
) -> dict[str, TableShape]:
    """Return the catalogue's entries of those tables that exist in the schema."""
    asked = {"schema": schema, "tables": list(names)}
    columns: dict[str, list[tuple[str, Physical | None, bool]]] = {}
    views: set[str] = set()
    found_columns = connection.execute(_COLUMNS, asked).fetchall()
    for table, name, said, bare, own, modifier, not_null, view, *collation in found_columns:
        views |= {table} if view else set()
        physical = _physical(said, bare, modifier, collation) if own else None
        columns.setdefault(table, []).append((name, physical, bool(not_null)))
    unique: dict[str, set[frozenset[str]]] = {}
    for table, key in connection.execute(_UNIQUE, asked).fetchall():
        if enforced_key(key, columns.get(table, ())):
            unique.setdefault(table, set()).add(frozenset(key))
    foreign: dict[str, set[ForeignKey]] = {}
    for table, here, target, there in connection.execute(_FOREIGN, asked).fetchall():
        foreign.setdefault(table, set()).add(ForeignKey(tuple(here), target, tuple(there)))
    return {
        table: TableShape(
            tuple(found), frozenset(unique.get(table, ())), frozenset(foreign.get(table, ())), table in views
        )
        for table, found in columns.items()
    }


def _physical(said: str, bare: str, modifier: int, collation: list[Any]) -> Physical | None:
    """Return how a column of a built-in type is stored; domains, enums, citext and the rest are not read.

    Why ``character(n)`` is not exact: its comparison ignores trailing blanks. Text under a deterministic collation
    compares equal only byte for byte, whatever its order, so that it may name owners; another one may not.
    """
    if bare == "numeric":
        # the scale stands in the low bits of the modifier, biased by 4 and signed since PostgreSQL 15
        scale = ((((modifier - 4) & 0x7FF) ^ 1024) - 1024) if modifier >= 4 else None
        return Physical("decimal", said, scale) if scale is None or scale >= 0 else None
    if bare in ("text", "character varying", "character"):
        name, deterministic, default = collation
        shown = bare if default else f"{bare} COLLATE {name}"
        return Physical("text", shown, exact=bool(deterministic) and bare != "character")
    return _KINDS.get(bare)
