"""Answers and problems as a gateway would send them, for the client's tests."""

from __future__ import annotations

from typing import Any

COST: dict[str, Any] = {
    "epsilon": 0.5,
    "rho": 0.122459,
    "delta": 0.0,
    "pure": True,
    "items": [
        {
            "release": 0,
            "measures": ["n", "s"],
            "mechanism": "laplace",
            "scale": 10.0,
            "epsilon": 0.5,
            "rho": 0.122459,
            "delta": 0.0,
        }
    ],
}

BUDGET: dict[str, Any] = {
    "dataset": "health",
    "analyst": "ada",
    "epsilon_granted": 5.0,
    "epsilon_spent": 0.5,
    "epsilon_remaining": 4.5,
    "epsilon_remaining_gaussian": 3.1,
    "delta_granted": 1e-6,
    "delta_spent": 0.0,
    "delta_remaining": 5e-7,
    "gaussian": True,
}

SUMMARY: dict[str, Any] = {
    "query_id": "q-1",
    "dataset": "health",
    "charged_at": "2026-01-02T03:04:05Z",
    "status": "answered",
    "epsilon": 0.5,
    "rho": 0.122459,
    "delta": 0.0,
    "pure": True,
    "policy_version": 1,
    "data_version": 1,
}

PLAN: dict[str, Any] = {
    "id": "p-1",
    "dialect": "duckdb",
    "releases": [
        {
            "sql": "SELECT plan AS k0,\n  SUM(n) AS n FROM year",
            "parameters": {},
            "keys": [
                {"name": "plan", "domain": "public", "values": [None, *(f"v{i}" for i in range(11))]},
                {"name": "town", "domain": "private"},
            ],
            "blocks": [{"l1": 5, "l2": 5, "mechanism": "laplace", "scale": 10.0, "measures": ["n", "s"]}],
            "measures": [
                {"name": "n", "kind": "count", "unit": 1.0, "l1": 5, "l2": 5, "linf": 5, "expected_error": 29.96}
            ],
            "threshold": 140,
            "delta": 1e-9,
            "reason": "Laplace noise is smaller here.",
        }
    ],
    "columns": [
        {"name": "plan", "role": "key", "expected_error": None},
        {"name": "n", "role": "noisy", "expected_error": 29.96, "note": "at most 5 rows a person are used"},
    ],
    "post": "SELECT k0, n FROM r0",
    "notes": ["Rows of other plans are left out."],
}


def answer(**changes: Any) -> dict[str, Any]:
    """Return a grouped answer of two rows, changed as told."""
    return {
        "query_id": "q-1",
        "columns": [
            {"name": "plan", "type": "text", "role": "key"},
            {"name": "n", "type": "integer", "role": "noisy"},
            {"name": "spent", "type": "number", "role": "noisy"},
        ],
        "rows": [["A", 1234, 70.123456], [None, 40, 80.5]],
        "intervals": {"n": [[1204, 1264], [10, 70]], "spent": [[69.0, 74.0], None]},
        "cost": COST,
        "budget": BUDGET,
        "cached": False,
        "dry_run": False,
        "plan": PLAN,
        "warnings": [],
    } | changes


def problem(status: int, code: str, **extra: Any) -> dict[str, Any]:
    """Return a problem document of that status and code."""
    return {
        "type": f"https://discreet.example/problems/{code}",
        "title": "Refused",
        "status": status,
        "detail": "No.",
        "code": code,
    } | extra
