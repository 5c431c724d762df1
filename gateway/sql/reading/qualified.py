"""Take the schema from names of tables where it is the one that the policy's tables lie in, as BI tools write it.

``SELECT "main"."users"."city" FROM "main"."users"``  →  ``SELECT "users"."city" FROM "users"``

Why this is sound: the policy names tables of one schema, and no name that is left means another table than before: a
name of WITH is none of a schema's, so that a table that is called like one keeps its schema, and is refused.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from sqlglot import exp

from gateway.policy.model import Dataset


def schemas(dataset: Dataset) -> frozenset[str]:
    """Return the names, in small letters, of the one schema that a dataset's tables lie in; its own name is one."""
    parts = urlsplit(dataset.engine)
    match dataset.dialect:
        case "duckdb" | "sqlite":
            found = "main"
        case "postgres":
            found = dict(parse_qsl(parts.query)).get("schema") or "public"
        case _:
            found = unquote(parts.path.removeprefix("/"))
    return frozenset(name.lower() for name in (dataset.name, found) if name)


def unqualify(tree: exp.Expression, dataset: Dataset) -> None:
    """Take the dataset's own schema from the names of tables and columns, in place."""
    named = {query.alias.lower() for query in tree.find_all(exp.CTE)}
    known = schemas(dataset)
    for node in tree.find_all(exp.Table, exp.Column):
        table = node.this if type(node) is exp.Table else node.args.get("table")
        schema = node.args.get("db")
        if not isinstance(schema, exp.Identifier) or not isinstance(table, exp.Identifier):
            continue
        if schema.name.lower() in known and table.name.lower() not in named and node.args.get("catalog") is None:
            node.set("db", None)
