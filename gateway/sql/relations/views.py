"""Views of the policy: queries that an administrator named, read wherever a text names them.

``views: {adult: SELECT * FROM person WHERE age >= 18}`` and ``SELECT COUNT(*) FROM adult``
→  as if the text began with ``WITH adult AS (SELECT * FROM person WHERE age >= 18)``

Why this is sound: a view is no more than text that stands before the analyst's own. It passes every rule that the
analyst's text passes, so that it cannot let anything through that the analyst could not have written.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sql.position import DIALECT, INSTANT, TEXT, instant
from gateway.sql.reading.parse import TextLimits, parse
from gateway.sql.relations.sources import query
from gateway.sql.scalars.resolve import Context, Named, matches
from gateway.sql.tables import Listed


def with_views(tree: exp.Expression, context: Context) -> Context:
    """Return the context in which a text stands after the views that it names, and those that they name."""
    wanted = _mentioned(tree)
    needed: list[tuple[str, exp.Expression]] = []
    for name, text in reversed(context.dataset.views):
        if any(matches(found, name) for found in wanted):
            view = _read(text, context.dataset)
            view.meta[INSTANT] = instant(tree)
            wanted += _mentioned(view)
            needed.append((name, view))
    for name, view in reversed(needed):
        context = replace(context, named=(*context.named, _named(name, view, context)))
    return context


def refusals(context: Context) -> list[tuple[str, SqlRefused]]:
    """Return which views of a dataset are refused wherever they are used, and why."""
    found = []
    for name, _ in context.dataset.views:
        try:
            with_views(exp.select("*").from_(exp.table_(name, quoted=True)), replace(context, numbers=count()))
        except SqlRefused as refusal:
            found.append((name, refusal))
    return found


def _read(text: str, dataset: Dataset) -> exp.Expression:
    """Return the tree of a view's text, in the dialect of the dataset; its places are not the analyst's."""
    view = parse(text, dataset.dialect, TextLimits())
    view.meta[DIALECT] = dataset.dialect
    del view.meta[TEXT]
    return view


def _mentioned(tree: exp.Expression) -> list[exp.Identifier]:
    return [node.this for node in tree.find_all(exp.Table) if isinstance(node.this, exp.Identifier)]


def _named(name: str, view: exp.Expression, context: Context) -> Named:
    found = query(view, replace(context, numbers=count()))
    alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
    return Named(alias, view, context, found if isinstance(found, Listed) else None)
