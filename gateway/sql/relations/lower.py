"""Lower a parsed query to the algebra; a clause, source or function without an arm is refused.

``SELECT sex, COUNT(*) AS n FROM person WHERE age > 30 GROUP BY sex HAVING n > 5 ORDER BY 2 DESC``
→  ``Pick(Sort(Keep(Release(Filter(Scan(person), age > 30), [sex], [count_rows]), n > 5), [n desc]), [sex, n])``
"""

from __future__ import annotations

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sql.above.exact import listed, pruned
from gateway.sql.above.select import unsupported
from gateway.sql.above.sizes import written_out
from gateway.sql.inference.facts import facts
from gateway.sql.relations.sources import inside, query
from gateway.sql.relations.views import refusals, with_views
from gateway.sql.scalars.resolve import Context
from gateway.sql.tables import Listed, OutputColumn, Query, Shown


def lower(tree: exp.Expression, dataset: Dataset) -> Query:
    """Return the question that a query asks, or refuse."""
    found = query(tree, with_views(tree, Context(dataset, _public, inside)), top=True)
    if not isinstance(found, Listed):
        unsupported(tree)
    written_out(found.table)
    lowered = Query(found.table, ())
    places = {release: at for at, release in enumerate(lowered.releases)}

    def output(name: str, column: str, shown: Shown) -> OutputColumn:
        sources = tuple(dict.fromkeys((places[release], of) for release, of in shown.sources))
        return OutputColumn(name, column, shown.type, shown.role, sources, shown.interval)

    made = Query(found.table, tuple(output(name, ref.name, found.about[ref.name]) for name, ref in found.columns))
    return pruned(made) if made.exacts else made


def refused_views(dataset: Dataset) -> list[tuple[str, SqlRefused]]:
    """Return which views of a dataset are refused wherever they are used, and why."""
    return refusals(Context(dataset, _public, inside))


def _public(node: exp.Expression, context: Context) -> Listed:
    """Return a query inside an expression above the frontier, which has to be one over public tables."""
    found = query(node, context)
    if isinstance(found, Listed):
        return found
    relation, columns = found
    return unsupported(node) if facts(relation, context.dataset).private else listed(relation, columns, context)
