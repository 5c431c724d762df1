"""Questions over more than one relation below the frontier: joins, semi-joins, folds, nested queries, CASE, FILTER.

Each form is text with places for conditions and aggregates. A form may be refused; what is accepted has to keep the
promise.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.oracles.questions import Asked, Mechanism, written
from tests.oracles.worlds import DIRTY_PEOPLE, KEYED_PEOPLE, World
from tests.sql.shop import SHOP

P = ("p.age > 18", "p.ok", "p.sex = 'F'", "p.income IS NOT NULL", "NOT (p.tiny >= 2)", "p.born < '2020-01-03'", "TRUE")
V = ("v.cost > 12.5", "v.kind = 'x'", "v.day IS NOT NULL", "v.score < 0.5", "v.size <> 1000", "v.fine <= 0.5", "TRUE")
I = ("i.qty > 0", "i.label = 'a'", "i.due", "i.price < 0.25", "i.far >= 0", "TRUE")  # noqa: E741 - an item
PA = (
    "COUNT(*)",
    "SUM(p.age)",
    "AVG(p.income)",
    "COUNT(p.city)",
    "COUNT(DISTINCT p.person_id)",
    "SUM(CASE WHEN p.ok THEN p.age ELSE 0 END)",
    "COUNT(*) FILTER (WHERE p.age > 30)",
)
VA = (
    "COUNT(*)",
    "SUM(v.cost)",
    "AVG(v.score)",
    "COUNT(v.kind)",
    "COUNT(DISTINCT v.person_id)",
    "SUM(CASE WHEN v.kind = 'x' THEN v.cost END)",
    "SUM(v.size) FILTER (WHERE v.cost > 1)",
    "AVG(v.fine)",
)
IA = ("COUNT(*)", "SUM(i.qty)", "AVG(i.price)", "COUNT(i.label)", "SUM(i.far)", "AVG(i.weight)")
PK = ("p.sex", "p.city", "p.ok", "CASE WHEN p.age < 30 THEN 'young' ELSE 'old' END", "p.tiny")
VK = ("v.kind", "v.day", "v.cost", "CASE WHEN v.cost > 100 THEN 1 ELSE 0 END", "v.at")

FORMS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("person p JOIN visit v ON p.person_id = v.person_id WHERE {P} AND {V}", PA + VA, PK + VK),
    ("person p, visit v WHERE p.person_id = v.person_id AND {V}", PA + VA, PK + VK),
    ("person p LEFT JOIN visit v ON p.person_id = v.person_id AND {V} WHERE {P}", PA + VA, PK + VK),
    ("visit v LEFT JOIN person p ON p.person_id = v.person_id WHERE {V}", PA + VA, PK + VK),
    ("visit v JOIN item i ON v.visit_id = i.visit_id WHERE {V} AND {I}", VA + IA, VK),
    (
        "person p JOIN visit v ON p.person_id = v.person_id JOIN item i ON v.visit_id = i.visit_id WHERE {I}",
        PA + IA,
        PK,
    ),
    ("visit v LEFT JOIN item i ON v.visit_id = i.visit_id AND {I} WHERE {V}", VA + IA, VK),
    ("visit v JOIN visit w ON v.person_id = w.person_id WHERE {V} AND w.cost < v.cost", VA, VK),
    ("visit v JOIN visit w ON v.visit_id = w.visit_id WHERE {V}", VA, VK),
    ("person p CROSS JOIN person q WHERE p.person_id = q.person_id AND {P}", PA, PK),
    ("person p WHERE p.person_id IN (SELECT v.person_id FROM visit v WHERE {V}) AND {P}", PA, PK),
    ("person p WHERE p.person_id NOT IN (SELECT v.person_id FROM visit v WHERE {V}) AND {P}", PA, PK),
    ("visit v WHERE v.person_id IN (SELECT p.person_id FROM person p WHERE {P}) AND {V}", VA, VK),
    ("person p WHERE EXISTS (SELECT 1 FROM visit v WHERE v.person_id = p.person_id AND {V}) AND {P}", PA, PK),
    ("person p WHERE NOT EXISTS (SELECT 1 FROM visit v WHERE v.person_id = p.person_id AND {V})", PA, PK),
    ("visit v WHERE EXISTS (SELECT 1 FROM item i WHERE i.visit_id = v.visit_id AND {I})", VA, VK),
    (
        "visit v WHERE NOT EXISTS (SELECT 1 FROM item i JOIN visit w ON w.visit_id = i.visit_id"
        " WHERE w.person_id = v.person_id AND {I})",
        VA,
        VK,
    ),
    ("visit v WHERE v.cost IN (SELECT w.cost FROM visit w WHERE w.person_id = v.person_id AND w.kind = 'y')", VA, VK),
    (
        "(SELECT v.person_id, COUNT(*) AS n, SUM(v.cost) AS s, MAX(v.day) AS d, MIN(v.kind) AS k FROM visit v WHERE {V}"
        " GROUP BY v.person_id) AS f WHERE f.n >= 2",
        ("COUNT(*)", "SUM(f.n)", "AVG(f.s)", "COUNT(f.d)"),
        ("f.n", "f.d", "f.k"),
    ),
    (
        "(SELECT v.person_id, v.kind, COUNT(*) AS n, AVG(v.cost) AS s FROM visit v GROUP BY v.person_id, v.kind) AS f",
        ("COUNT(*)", "SUM(f.n)", "AVG(f.s)", "COUNT(DISTINCT f.person_id)"),
        ("f.kind", "f.n"),
    ),
    (
        "(SELECT v.kind, v.day, COUNT(*) AS n, COUNT(DISTINCT v.cost) AS s FROM visit v GROUP BY v.kind, v.day,"
        " v.person_id) AS f",
        ("COUNT(*)", "SUM(f.n)", "AVG(f.s)"),
        ("f.kind", "f.day", "f.s"),
    ),
    (
        "(SELECT i.visit_id, SUM(i.qty) AS n, MAX(i.price) AS s FROM item i WHERE {I} GROUP BY i.visit_id) AS f",
        ("COUNT(*)", "SUM(f.n)", "AVG(f.s)"),
        ("f.n",),
    ),
    (
        "person p JOIN (SELECT v.person_id, COUNT(*) AS n, SUM(v.score) AS s FROM visit v GROUP BY v.person_id) AS f"
        " ON f.person_id = p.person_id WHERE {P}",
        (*PA, "SUM(f.n)", "AVG(f.s)"),
        (*PK, "f.n"),
    ),
    (
        "person p LEFT JOIN (SELECT v.person_id, COUNT(*) AS n FROM visit v GROUP BY v.person_id) AS f"
        " ON f.person_id = p.person_id WHERE f.n IS NULL OR f.n > 1",
        (*PA, "SUM(f.n)"),
        (*PK, "f.n"),
    ),
    (
        "(SELECT v.person_id AS w, v.cost AS c FROM visit v WHERE {V}) AS f JOIN person p ON p.person_id = f.w",
        (*PA, "SUM(f.c)"),
        PK,
    ),
    (
        "(SELECT n, COUNT(*) AS m FROM (SELECT v.person_id AS o, v.kind AS n, COUNT(*) AS c FROM visit v GROUP BY 1, 2)"
        " AS e GROUP BY n, o) AS f",
        ("COUNT(*)", "SUM(f.m)"),
        ("f.n", "f.m"),
    ),
    # ties that are none: each is to be refused, or harmless
    ("visit v JOIN visit w ON v.kind = w.kind WHERE {V}", VA, VK),
    ("person p JOIN visit v ON p.person_id = v.visit_id WHERE {P}", PA + VA, PK),
    ("person p JOIN visit v ON p.person_id = v.person_id OR v.cost > 1", PA + VA, PK),
    ("person p LEFT JOIN visit v ON TRUE", PA + VA, PK),
    ("person p WHERE EXISTS (SELECT 1 FROM visit v WHERE v.kind = p.city)", PA, PK),
    ("person p WHERE p.age IN (SELECT q.age FROM person q WHERE q.ok)", PA, PK),
    ("(SELECT v.kind, COUNT(*) AS n FROM visit v GROUP BY v.kind) AS f", ("COUNT(*)", "SUM(f.n)"), ("f.kind",)),
    ("(SELECT v.visit_id, COUNT(*) AS n FROM visit v GROUP BY v.visit_id) AS f", ("COUNT(*)", "SUM(f.n)"), ("f.n",)),
    ("(SELECT 3 AS one, COUNT(*) AS n FROM visit v GROUP BY v.person_id, 1) AS f", ("COUNT(*)", "SUM(f.n)"), ("f.n",)),
)
SHOP_FORMS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "items i JOIN skus s ON s.sku = i.sku",
        ("COUNT(*)", "SUM(i.qty)", "AVG(i.price)", "COUNT(s.kind)"),
        ("s.kind", "s.sku"),
    ),
    ("items i LEFT JOIN skus s ON s.sku = i.sku AND s.weight > 1", ("COUNT(*)", "SUM(i.qty)"), ("s.kind", "i.sku")),
    ("items i CROSS JOIN skus s", ("COUNT(*)", "SUM(i.qty)"), ("s.kind",)),
    ("items i WHERE i.sku IN (SELECT s.sku FROM skus s WHERE s.kind = 'a')", ("COUNT(*)", "SUM(i.qty)"), ("i.sku",)),
    (
        "items i WHERE i.sku NOT IN (SELECT s.sku FROM skus s WHERE s.kind = 'a')",
        ("COUNT(*)", "SUM(i.qty)"),
        ("i.sku",),
    ),
    (
        "items i JOIN orders o ON o.id = i.order_id JOIN users u ON u.id = o.user_id JOIN skus s ON s.sku = i.sku",
        ("COUNT(*)", "SUM(i.qty)", "AVG(o.amount)", "SUM(u.age)"),
        ("u.city", "s.kind", "o.status", "o.channel"),
    ),
    ("skus s LEFT JOIN items i ON s.sku = i.sku", ("COUNT(*)",), ("s.kind",)),
    ("skus s WHERE EXISTS (SELECT 1 FROM items i WHERE i.sku = s.sku)", ("COUNT(*)",), ("s.kind",)),
)
WIDE: dict[World, tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = {
    DIRTY_PEOPLE: FORMS,
    KEYED_PEOPLE: FORMS,
    SHOP: SHOP_FORMS,
}


@st.composite
def wide(draw: st.DrawFn, world: World) -> Asked:
    form, aggregates, keys = draw(st.sampled_from(WIDE[world]))
    for place, choices in (("{P}", P), ("{V}", V), ("{I}", I)):
        if place in form:
            form = form.replace(place, draw(st.sampled_from(choices)))
    items = draw(st.lists(st.sampled_from(aggregates), min_size=1, max_size=3, unique=True))
    key = draw(st.none() | st.sampled_from(keys))
    found = f"SELECT {', '.join(items)} FROM {form}"
    if key is not None:
        found = f"SELECT {key} AS k, {', '.join(items)} FROM {form} GROUP BY 1"
    mechanism: Mechanism = draw(st.sampled_from(("laplace", "gaussian")))
    return replace(written(found, mechanism), groups=draw(st.sampled_from((None, None, 1, 2))))
