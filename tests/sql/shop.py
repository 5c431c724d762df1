"""The world of the hostile statements: users, their orders, the orders' items, and public skus."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from tests.oracles.worlds import INF, NAN, Col, Tab, World

PEOPLE = (3, 5, 8, 12, 17, 17, 21)
SHOP = World(
    "shop",
    "{table: users, key: id}",
    (
        Tab(
            "users",
            (
                Col("id", "integer", "BIGINT", "bigint", PEOPLE, (None, 99)),
                Col("city", "text", "VARCHAR", "text", ("Ulm", "Bonn", "7"), (None, "", "\\"), "values: [Ulm, Bonn]"),
                Col(
                    "age",
                    "integer",
                    "INTEGER",
                    "integer",
                    (18, 30, 64, None),
                    (-3, 2**31 - 1),
                    "lower: 0, upper: 110",
                    bounded=True,
                ),
                Col(
                    "income",
                    "number",
                    "DOUBLE",
                    "double precision",
                    (0.0, 5e4, 1.5e5, None),
                    (NAN, INF, -INF, 1e300),
                    "lower: 0, upper: 200000",
                    bounded=True,
                ),
            ),
            "id",
        ),
        Tab(
            "orders",
            (
                Col("id", "integer", "BIGINT", "bigint", tuple(range(1, 30)), (None, 1)),
                Col("user_id", "integer", "BIGINT", "bigint", PEOPLE, (None, 99)),
                Col("status", "text", "VARCHAR", "text", ("open", "paid"), (None, "lost"), "values: [open, paid]"),
                Col("channel", "text", "VARCHAR", "text", ("web", "shop", "phone"), (None, "x")),
                Col(
                    "amount",
                    "number",
                    "DECIMAL(12,2)",
                    "numeric(12, 2)",
                    (Decimal("1.50"), Decimal("250.00"), None),
                    (Decimal("-9.99"), Decimal("9999999999.99")),
                    "lower: 0, upper: 1000",
                    bounded=True,
                ),
                Col("day", "date", "DATE", "date", (date(2024, 1, 1), date(2024, 1, 2)), (None, "infinity")),
            ),
            "user_id",
            policy="owner: {user_id: users.id}\n    max_rows_per_unit: 5\n    also_about: {id: unprotected}",
        ),
        Tab(
            "items",
            (
                Col("id", "integer", "BIGINT", "bigint", tuple(range(1, 60)), (None,)),
                Col("order_id", "integer", "BIGINT", "bigint", tuple(range(1, 30)), (None, 400)),
                Col("sku", "text", "VARCHAR", "text", ("s1", "s2", "s3"), (None, "rare")),
                Col(
                    "qty",
                    "integer",
                    "INTEGER",
                    "integer",
                    (1, 2, 5),
                    (None, -1, 2**31 - 1),
                    "lower: 0, upper: 10",
                    bounded=True,
                ),
                Col(
                    "price",
                    "number",
                    "DOUBLE",
                    "double precision",
                    (0.5, 9.75),
                    (NAN, INF, None),
                    "lower: 0, upper: 100",
                    bounded=True,
                ),
            ),
            "user_id",
            path=(("order_id", "orders", "id"),),
            policy="owner: {order_id: orders.id}\n    max_rows_per_unit: 8\n    also_about: {id: unprotected}",
        ),
        Tab(
            "skus",
            (
                Col("sku", "text", "VARCHAR", "text", ("s1", "s2", "s3")),
                Col("kind", "text", "VARCHAR", "text", ("a", "b")),
                Col("weight", "number", "DOUBLE", "double precision", (1.0, 2.5)),
            ),
            None,
            policy="public: true\n    key: sku",
            public=True,
        ),
    ),
)
