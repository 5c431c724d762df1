"""What is known of a node is computed once while a text is compiled, and never taken for another's."""

from __future__ import annotations

from gateway.sql.algebra import Scan
from gateway.sql.inference.facts import facts
from gateway.sql.remember import remembered, remembering
from tests.oracles.databases import duckdb_dataset
from tests.sql.shop import SHOP


def test_a_node_is_asked_about_once() -> None:
    asked: list[object] = []

    @remembered
    def double(node: list[int], given: int) -> list[int]:
        asked.append(node)
        return [part * given for part in node]

    node, twin = [1, 2], [1, 2]
    with remembering():
        assert double(node, 2) is double(node, 2)
        assert double(twin, 2) == double(node, 2)
        with remembering():
            assert double(node, 2) == [2, 4]
    assert double(node, 2) == [2, 4]
    assert len(asked) == 4


def test_nodes_that_are_gone_leave_nothing() -> None:
    @remembered
    def first(node: list[int], given: int) -> int:
        return node[0] + given

    with remembering():
        assert [first([number], 0) for number in range(1000)] == list(range(1000))


def test_facts_are_the_same_either_way() -> None:
    dataset = duckdb_dataset(SHOP)
    scans = [Scan("users", 0), Scan("orders", 1), Scan("items", 2)]
    alone = [facts(scan, dataset) for scan in scans]
    with remembering():
        assert [facts(scan, dataset) for scan in scans] == alone
        assert facts(scans[0], dataset) is facts(scans[0], dataset)
