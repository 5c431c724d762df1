"""Answers and plans as a person reads them: plain text for terminals, HTML for notebooks.

Everything shown passes through ``visible`` or HTML escaping: group keys may hold what somebody else wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from gateway.client.caret import visible, width
from gateway.wire import Budget, Column, Cost, JsonValue, PlanKey, PlanRelease, QueryResponse

SHOWN_ROWS = 60
"""Rows that a display shows; the result holds them all."""

SHOWN_VALUES = 8
"""Values of a public domain that a plan's display lists."""

CELL = 60
"""Characters of one text cell that a display shows."""


def text(answer: QueryResponse) -> str:
    """Return an answer as a plain table with intervals, followed by what it cost and what remains."""
    if answer.dry_run:
        return explanation(answer)
    return "\n".join([*answer_table(answer), *_footer(answer)])


def answer_table(answer: QueryResponse) -> list[str]:
    """Return the lines of an answer's table alone."""
    return table([column.name for column in answer.columns], _cells(answer), _right(answer.columns))


def html(answer: QueryResponse) -> str:
    """Return an answer as an HTML table with intervals, followed by what it cost and what remains; all text escaped."""
    if answer.dry_run:
        return preformatted(explanation(answer))
    right = _right(answer.columns)
    head = "".join(
        f'<th style="text-align:{_align(numeric)}">{escape(visible(column.name))}'
        f'<br><small style="font-weight:normal;opacity:.65">{escape(column.role)}</small></th>'
        for column, numeric in zip(answer.columns, right, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align:{_align(numeric)}">{escape(value)}{_small(margin)}</td>'
            for (value, margin), numeric in zip(row, right, strict=True)
        )
        + "</tr>"
        for row in _cells(answer)
    )
    footer = "<br>".join(escape(line) for line in _footer(answer))
    return (
        f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f'<p style="font-size:.9em;opacity:.8">{footer}</p></div>'
    )


def explanation(answer: QueryResponse) -> str:
    """Return the plan of a dry run: price, expected errors, and each release with the exact SQL that would run."""
    plan = answer.plan
    lines = [f"plan {visible(plan.id)}", f"price: {price(answer.cost)}"]
    if answer.budget is not None:
        lines.append(standing(answer.budget))
    rows = [
        [
            (column.name, ""),
            (column.role, ""),
            ("" if column.expected_error is None else f"± {number(column.expected_error)}", ""),
            (column.note or "", ""),
        ]
        for column in plan.columns
    ]
    lines.append("")
    lines.extend(table(["column", "role", "expected error (95 %)", "note"], rows, [False, False, True, False]))
    for index, release in enumerate(plan.releases, start=1):
        lines.extend(["", f"release {index}: {visible(release.reason)}", *_release(release)])
    if plan.post:
        lines.extend(["", "then, over the noisy tables:", *(f"  {visible(line)}" for line in plan.post.splitlines())])
    lines.extend(f"note: {visible(note)}" for note in plan.notes)
    lines.extend(f"warning: {visible(warning)}" for warning in answer.warnings if warning not in plan.notes)
    return "\n".join(lines)


def preformatted(plain: str) -> str:
    """Return plain text as an HTML block, escaped."""
    return f"<pre>{escape(plain)}</pre>"


def price(cost: Cost) -> str:
    """Return a price in words: epsilon, with the delta that it is stated at, and rho where the noise is Gaussian."""
    shown = f"ε = {number(cost.epsilon)}" + (f", δ = {number(cost.delta)}" if cost.delta else "")
    gaussian = any(item.mechanism == "gaussian" for item in cost.items)
    return f"{shown} (ρ = {number(cost.rho)})" if gaussian else shown


def standing(budget: Budget) -> str:
    """Return in one line what remains of a budget."""
    line = (
        f"remaining on {visible(budget.dataset)}: ε = {number(budget.epsilon_remaining)} "
        f"of {number(budget.epsilon_granted)}"
    )
    if budget.gaussian:
        line += f" (with Gaussian noise: {number(budget.epsilon_remaining_gaussian)})"
    if budget.more_like_this is not None:
        line += f"; {budget.more_like_this:,} more like this one"
    return f"{line}; suspended until an administrator clears it" if budget.suspended else line


def number(value: float, error: float | None = None) -> str:
    """Return a number for people: thousands grouped, no more digits than ``error`` (a half-width) leaves meaning."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if error is not None and math.isfinite(error) and error > 0:
        decimals = max(0, 1 - math.floor(math.log10(error)))
        return f"{value:,.{min(decimals, 12)}f}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.6g}" if 1e-4 <= abs(value) < 1e15 else f"{value:.6g}"


def table(head: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]], right: Sequence[bool]) -> list[str]:
    """Lay out cells of (value, margin): values aligned, margins beside them, an empty margin column left out."""
    lines = [[(visible(name), "") for name in head], *([(visible(v), visible(m)) for v, m in row] for row in rows)]
    values = [max(width(line[index][0]) for line in lines) for index in range(len(head))]
    margins = [max(width(line[index][1]) for line in lines) for index in range(len(head))]

    def laid(line: Sequence[tuple[str, str]]) -> str:
        parts = []
        for index, (value, margin) in enumerate(line):
            space = " " * (values[index] - width(value))
            shown = space + value if right[index] else value + space
            if margins[index]:
                shown += f" {margin}{' ' * (margins[index] - width(margin))}"
            parts.append(shown)
        return "  ".join(parts).rstrip()

    total = sum(values) + sum(margin + 1 for margin in margins if margin) + 2 * (len(head) - 1)
    return [laid(lines[0]), "─" * total, *(laid(line) for line in lines[1:])]


def _cells(answer: QueryResponse) -> list[list[tuple[str, str]]]:
    """Return the rows that are shown, each cell as its value and its margin."""
    return [
        [
            _cell(value, _interval(answer, column.name, index), derived=column.role == "derived")
            for value, column in zip(row, answer.columns, strict=True)
        ]
        for index, row in enumerate(answer.rows[:SHOWN_ROWS])
    ]


def _interval(answer: QueryResponse, name: str, row: int) -> tuple[float, float] | None:
    ends = answer.intervals.get(name)
    return ends[row] if ends is not None and row < len(ends) else None


def _cell(value: JsonValue, interval: tuple[float, float] | None, *, derived: bool) -> tuple[str, str]:
    if value is None:
        return "NULL", "" if interval is None else _ends(interval)
    if isinstance(value, str):
        shown = visible(value)
        return (shown if len(shown) <= CELL else f"{shown[: CELL - 1]}…"), ""
    if isinstance(value, bool) or interval is None:
        # Of a number without an interval no digit is certain; four tell groups apart.
        rough = derived and isinstance(value, float) and 0 < abs(value) < 1e4
        return (f"{value:.4g}" if rough else number(value)), ""
    low, high = interval
    above, below = high - value, value - low
    half = (high - low) / 2
    shown = number(value, half)
    if abs(above - below) <= max(0.01 * half, 1 if isinstance(value, int) and half >= 5 else 0):
        margin = max(above, below)  # a whole number cannot stand in the middle of every interval
        return shown, f"± {number(margin, margin)}"
    return shown, _ends(interval)


def _ends(interval: tuple[float, float]) -> str:
    low, high = interval
    half = (high - low) / 2
    return f"[{number(low, half)}, {number(high, half)}]"


def _right(columns: Sequence[Column]) -> list[bool]:
    return [column.type in {"integer", "number"} for column in columns]


def _align(numeric: bool) -> str:
    return "right" if numeric else "left"


def _small(margin: str) -> str:
    return f' <small style="opacity:.65">{escape(margin)}</small>' if margin else ""


def _footer(answer: QueryResponse) -> list[str]:
    lines = []
    if len(answer.rows) > SHOWN_ROWS:
        lines.append(f"… {len(answer.rows) - SHOWN_ROWS:,} more rows")
    if not answer.rows:
        lines.append("no rows")
    lines.append(f"cost: nothing, {_earlier(answer.cost)}" if answer.cached else f"cost: {price(answer.cost)}")
    if answer.budget is not None:
        lines.append(standing(answer.budget))
    lines.extend(f"warning: {visible(warning)}" for warning in answer.warnings)
    return lines


def _earlier(cost: Cost) -> str:
    return f"an answer already paid for ({price(cost)})" if cost.epsilon else "an answer already paid for"


def _release(release: PlanRelease) -> list[str]:
    lines = [f"  key {visible(key.name)}: {_domain(key)}" for key in release.keys]
    if release.threshold is not None:
        lines.append(
            f"  groups appear from a noisy count of {number(release.threshold)} on, δ = {number(release.delta)}"
        )
    lines.extend(
        f"  {block.mechanism} noise of scale {number(block.scale)} on {visible(', '.join(block.measures))}"
        f" (l1 = {number(block.l1)}, l2 = {number(block.l2)})"
        for block in release.blocks
    )
    lines.extend(
        f"  {visible(measure.name)}: {visible(measure.kind)} in units of {number(measure.unit)},"
        + (" one bucket is drawn" if measure.expected_error is None else f" ± {number(measure.expected_error)}")
        for measure in release.measures
    )
    lines.append("  bounded SQL:")
    lines.extend(f"    {visible(line)}" for line in release.sql.splitlines())
    return lines


def _domain(key: PlanKey) -> str:
    if key.domain == "private":
        return "private, groups below the threshold do not appear"
    values = key.values or []
    listed = ", ".join("NULL" if value is None else visible(str(value)) for value in values[:SHOWN_VALUES])
    more = f" and {len(values) - SHOWN_VALUES:,} more" if len(values) > SHOWN_VALUES else ""
    return f"public, every group appears ({listed}{more})"
