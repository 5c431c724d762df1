"""Rewrite a planned release into the bounded SQL that one engine runs: exact integers per group, all owners bounded.

``SELECT plan, COUNT(*) FROM year GROUP BY plan`` with at most 5 rows a person →
``WITH discreet_r AS (SELECT person_id AS o, plan AS k0 FROM year WHERE person_id IS NOT NULL),
discreet_h AS (SELECT o AS p, COUNT(*) AS n FROM discreet_r GROUP BY o HAVING COUNT(*) > 5)
SELECT k0 AS plan, SUM(m0) AS m0 FROM (
SELECT k0, 4096 * COUNT(*) AS m0 FROM discreet_r GROUP BY k0 UNION ALL
SELECT k0, SUM(4096 * 5 // n - 4096) AS m0 FROM discreet_r JOIN discreet_h ON o = p GROUP BY k0) GROUP BY k0``

Why this is sound: every stage but the last is computed for each owner from that owner's rows alone (conditions row by
row, counts and ranks within one owner), so that removing an owner removes exactly its terms from the sums of the last
stage; and those terms are bounded whatever the rows hold, by the clamp inside each value and by the weight of its
owner. All sums are of integers, which no order of rows and no number of threads can change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.policy.model import Dataset, Dialect
from gateway.sql.algebra import Call, Ref
from gateway.sql.inference.facts import facts
from gateway.sql.planning import clips
from gateway.sql.planning.counted import COLUMN
from gateway.sql.planning.groups import Key
from gateway.sql.planning.plan import (
    Bounding,
    Cell,
    Centred,
    Clip,
    Distinct,
    Histogram,
    Measure,
    MeasuredValue,
    PlannedRelease,
    Share,
)
from gateway.sql.refusals import refuse
from gateway.sql.writing.cells import cell, presence, share_total, total
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.halves import halves, in_halves, worth_keeping
from gateway.sql.writing.public import together, within
from gateway.sql.writing.render import quantised
from gateway.sql.writing.rows import Rows, rows


def rewrite(planned: PlannedRelease, dataset: Dataset) -> PlannedRelease:
    """Return the planned release, and its parts, with their bounded SQL in the dataset's dialect."""
    written = replace(planned, parts=tuple(rewrite(part, dataset) for part in planned.parts))
    if not planned.blocks:
        return written
    sql = _distinct(planned, planned.distinct, dataset) if planned.distinct is not None else _counted(planned, dataset)
    if not writer(dataset.dialect).admits(sql):
        refuse("sql-too-deep", hint="The bounded SQL of this question is too long; ask for less at once.")
    return replace(written, sql=sql)


def _counted(planned: PlannedRelease, dataset: Dataset) -> str:
    """Return the SQL of sums of cells by group, and by bucket where it is a histogram."""
    selected = _selected(planned, dataset)
    if planned.joint and planned.overall:
        selected = f"SELECT * FROM ({selected}) AS discreet_j WHERE {together(planned, dataset.dialect)}"
    if planned.histogram is not None:
        selected = _bucketed(planned, planned.histogram, selected, dataset.dialect)
        bucket = Key("b", planned.histogram.label, Ref("b", "integer"), "integer", None)
        planned = replace(planned, keys=(*planned.keys, bucket))
    computed = _multiplied(planned, selected, dataset.dialect)
    match planned.bounding.how:
        case "one_row":
            return _one_row(planned, computed, dataset)
        case "weights" if planned.bounding.held:
            return _one_row(planned, computed, dataset)
        case "weights":
            return _weights(planned, selected, dataset)
        case "owners":
            return _owners(planned, computed, dataset)
        case "chosen":
            assert planned.clip is not None
            return _chosen(planned, planned.clip, computed, dataset)


def _bucketed(planned: PlannedRelease, histogram: Histogram, selected: str, dialect: Dialect) -> str:
    """Return the first stage with the bucket of each row's integer in its place; rows without a value have none."""
    [value] = planned.values
    names = [] if planned.bounding.flat else ["o"]
    names += [key.name for key in planned.keys]
    bucket = histogram.grid.written(value.name, writer(dialect).divided)
    names.append(f"{bucket} AS b")
    return f"SELECT {', '.join(names)} FROM ({selected}) AS discreet_q WHERE {value.name} IS NOT NULL"


def _distinct(planned: PlannedRelease, distinct: Distinct, dataset: Dataset) -> str:
    """Return the SQL of the number of different values in each group, of which one owner keeps a few.

    ``COUNT(DISTINCT x)`` by ``k``, three values an owner → pairs of ``k`` and ``x`` of each owner, the first three by
    a keyed hash; the different ones among those that all owners keep; their number by ``k``.
    """
    named, grouped = _keys(planned, dataset.dialect)
    [measure] = planned.measures
    pairs = [*(key.name for key in planned.keys), distinct.key.name]
    selected = _selected(planned, dataset)
    present = f"WHERE {distinct.key.name} IS NOT NULL"
    stages = [f"discreet_r AS ({selected})"]
    if planned.bounding.how == "one_row":
        kept = f"discreet_r {present}"
    else:
        of_owner = ", ".join(["o", *pairs])
        ranked = f"ROW_NUMBER() OVER (PARTITION BY o ORDER BY {_lot(pairs, dataset)}) AS g"
        stages += [
            f"discreet_p AS (SELECT {of_owner} FROM discreet_r {present} GROUP BY {of_owner})",
            f"discreet_d AS (SELECT {', '.join(pairs)}, {ranked} FROM discreet_p)",
        ]
        kept = f"discreet_d WHERE g <= {distinct.most}"
    different = ", ".join(pairs)
    stages.append(f"discreet_e AS (SELECT {different} FROM {kept} GROUP BY {different})")
    counted = ", ".join([*named, f"COUNT(*) AS {measure.name}"])
    return f"WITH {', '.join(stages)} SELECT {counted} FROM discreet_e{grouped}"


def _selected(planned: PlannedRelease, dataset: Dataset) -> str:
    """Return the first stage: owner, keys and integers of each row that counts."""
    source, dialect = planned.release.source, dataset.dialect
    found = rows(source, dataset)
    owner = facts(source, dataset).owner
    counted = () if planned.distinct is None else (planned.distinct.key,)
    keys = (*planned.keys, *planned.within, *counted)
    owned = {} if planned.bounding.flat or owner is None else {"o": found.columns[owner]}
    written = {key.name: found.write(key.scalar, dialect) for key in keys}
    # Values are computed in a stage of their own, since clamping and rounding write them several times.
    values = {f"x{value.name}": _value(value, found, dialect) for value in planned.values}
    source_sql, where = found.source, found.where
    if any(isinstance(key.scalar, Call) for key in keys):
        # So are keys that are computed, which the condition of their domain writes again.
        inner = {**owned, **{f"y{name}": sql for name, sql in written.items()}, **values}
        source_sql, where = f"(SELECT {_named(inner)} FROM {source_sql}{_condition(where)}) AS discreet_y", ()
        owned, values = {name: name for name in owned}, {name: name for name in values}
        written = {name: f"y{name}" for name in written}
    listed = [within(written[key.name], key, dialect) for key in keys if key.values is not None]
    shown = {key.name: _shown(written[key.name], key, dialect) for key in planned.keys}
    columns = {**owned, **shown, **{key.name: written[key.name] for key in counted}, **values}
    stage = f"SELECT {_named(columns) or '1 AS one'} FROM {source_sql}{_condition((*where, *listed))}"
    if not planned.values:
        return stage
    names = [] if planned.bounding.flat or owner is None else ["o"]
    names += [key.name for key in planned.keys]
    names += [f"{_integer(value, found, dialect)} AS {value.name}" for value in planned.values]
    if _beside(planned, dataset):
        names += [f"{_present(value, found, dialect)} AS {presence(value.name)}" for value in planned.values]
    return f"SELECT {', '.join(names)} FROM ({stage}) AS discreet_x"


def _multiplied(planned: PlannedRelease, integers: str, dialect: Dialect) -> str:
    """Return the first stage with what each row adds to a cell of several columns, which weights write twice."""
    write = writer(dialect)
    products = [
        f"{write.whole(cell(measure.cell, write))} AS c{measure.name}"
        for measure in planned.measures
        if isinstance(measure.cell, Share | Centred)
    ]
    return f"SELECT *, {', '.join(products)} FROM ({integers}) AS discreet_v" if products else integers


def _named(columns: Mapping[str, str]) -> str:
    """Return a select list: each expression under its name."""
    return ", ".join(sql if sql == name else f"{sql} AS {name}" for name, sql in columns.items())


def _condition(parts: Sequence[str]) -> str:
    """Return the WHERE clause, with its word, or nothing."""
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _amount(measure: Measure, dialect: Dialect) -> str:
    """Return what one row of the first stage adds to a measure."""
    if isinstance(measure.cell, Share | Centred):
        return f"c{measure.name}"
    assert measure.cell is not None
    return cell(measure.cell, writer(dialect))


def _stored(value: MeasuredValue, found: Rows, dialect: Dialect) -> str | None:
    """Return a value as the engine stores it, where it is a column of doubles whose integers are asked for."""
    if value.quantum is None or value.quantum.how != "float" or not isinstance(value.scalar, Ref):
        return None
    bare = found.bare.get(value.scalar.name)
    return None if bare is None else writer(dialect).stored(bare.column, bare.raw)


def _value(value: MeasuredValue, found: Rows, dialect: Dialect) -> str:
    return _stored(value, found, dialect) or found.write(value.whole or value.scalar, dialect)


def _integer(value: MeasuredValue, found: Rows, dialect: Dialect) -> str:
    """Return a value of a row as its exact integer, or only whether it is there."""
    if value.quantum is None:
        return f"CASE WHEN x{value.name} IS NULL THEN NULL ELSE 1 END"
    return quantised(f"x{value.name}", value.quantum, dialect, stored=_stored(value, found, dialect) is not None)


def _beside(planned: PlannedRelease, dataset: Dataset) -> bool:
    """Whether presence stands beside integers: where each use of one computes it again, and no stage keeps them."""
    bounding = planned.bounding
    whole = bounding.how == "one_row" or (bounding.how == "weights" and (bounding.held or halves(planned, dataset)))
    inlined = writer(dataset.dialect).inlines and whole
    return inlined and planned.histogram is None and planned.distinct is None


def _present(value: MeasuredValue, found: Rows, dialect: Dialect) -> str:
    """Return what is NULL where a row has no integer of a value, and nowhere else.

    That is where the value is NULL; of a stored double where it is NaN too, and of a number that has to become a double
    where that has none: there the integer itself is asked.
    """
    name, quantum = f"x{value.name}", value.quantum
    if _stored(value, found, dialect) is not None:
        return f"CASE WHEN {name} <= {writer(dialect).double(math.inf)} THEN 1 END"
    converted = quantum is not None and quantum.how == "float" and quantum.kind != "float"
    return _integer(value, found, dialect) if converted else name


def _shown(written: str, key: Key, dialect: Dialect) -> str:
    """Return a group key as clients can be shown it: of whole numbers, one of its public domain is as it is."""
    whole = [value for value in key.values or (None,) if type(value) is int and abs(value) < 2**63]
    if key.kind == "integer" and len(whole) == len([value for value in key.values or (0,) if value is not None]):
        return written
    return writer(dialect).key(written, key.kind)


def _keys(planned: PlannedRelease, dialect: Dialect) -> tuple[list[str], str]:
    """Return the key columns under their labels, and the GROUP BY clause."""
    write = writer(dialect)
    named = [f"{write.shown(key.name, key.kind)} AS {write.identifier(key.label)}" for key in planned.keys]
    grouped = f" GROUP BY {', '.join(key.name for key in planned.keys)}" if planned.keys else ""
    late = planned.joint and not planned.overall
    return named, grouped + (f" HAVING {together(planned, dialect)}" if late else "")


def _summed(measure: Measure, amount: str, dialect: Dialect) -> str:
    return f"{writer(dialect).total(amount)} AS {measure.name}"


def _rows_summed(measure: Measure, amount: str, dialect: Dialect) -> str:
    """Return the sum of what rows add; that of one row is part of its owner's, so that ``l1`` bounds it too."""
    return f"{writer(dialect).rows_total(amount, measure.l1)} AS {measure.name}"


def _whole_rows(measure: Measure, dialect: Dialect, *, beside: bool = False) -> str:
    """Return a measure of rows of which each counts in full."""
    write, summed = writer(dialect), None
    if isinstance(measure.cell, Cell) and write.combines:
        summed = total(measure.cell, write, beside=beside)
    if isinstance(measure.cell, Share) and write.combines:
        summed = share_total(measure.cell, write, beside=beside)
    if summed is not None:
        return f"{summed} AS {measure.name}"
    return _rows_summed(measure, _amount(measure, dialect), dialect)


def _one_row(planned: PlannedRelease, selected: str, dataset: Dataset) -> str:
    dialect = dataset.dialect
    named, grouped = _keys(planned, dialect)
    counted = [measure for measure in planned.measures if measure.cell is not None]
    named += [_whole_rows(measure, dialect, beside=_beside(planned, dataset)) for measure in counted]
    return f"SELECT {', '.join(named)} FROM ({selected}) AS discreet_r{grouped}"


def _weights(planned: PlannedRelease, selected: str, dataset: Dataset) -> str:
    most, dialect = planned.bounding.rows, dataset.dialect
    assert most is not None
    named, grouped = _keys(planned, dialect)
    if halves(planned, dataset):
        return in_halves(planned, selected, most, named, grouped, writer(dialect))
    heavy = f"discreet_h AS (SELECT o AS p, COUNT(*) AS n FROM discreet_r GROUP BY o HAVING COUNT(*) > {most})"
    above = [f"(SELECT COUNT(*) FROM discreet_h) AS {COLUMN}"] if planned.clipped is not None else []
    if writer(dialect).combines:
        # What is read off sums of places alone is multiplied out for the rows of heavy owners, and for no others.
        late = all(_of_places(measure, dialect) for measure in planned.measures)
        stage = selected if late else _multiplied(planned, selected, dialect)
        again = "SELECT * FROM discreet_r"
        multiplied = _multiplied(planned, again, dialect) if late else again
        excess_of = "discreet_r" if multiplied == again else f"({multiplied}) AS discreet_t"
        once = "" if worth_keeping(planned.release.source, dataset) else "NOT MATERIALIZED "
        summed = [_summed(each, each.name, dialect) for each in planned.measures]
        return (
            f"WITH discreet_r AS {once}({stage}), {heavy} "
            f"SELECT {', '.join([*named, *summed, *above])} "
            f"FROM ({_full_and_excess(planned, most, excess_of, dialect)}) AS discreet_s{grouped}"
        )
    write = writer(dialect)
    stages, source, light = [heavy], "discreet_r LEFT JOIN discreet_h ON o = p", "n IS NULL"
    if write.counts_beside:
        counted = f"GREATEST(COUNT(*) OVER (PARTITION BY o), {most}) AS n"
        stages, source, light = [heavy] if above else [], f"(SELECT *, {counted} FROM discreet_r)", f"n = {most}"
    for measure in planned.measures:
        amount = _amount(measure, dialect)
        if write.counts_beside and measure.l1 < 2**63:
            weighted = write.narrowly_weighted(amount, "n", most)
        else:
            weighted = f"CASE WHEN {light} THEN {amount} ELSE {write.weighted(amount, 'n', most)} END"
        named.append(_rows_summed(measure, weighted, dialect))
    stages = [f"discreet_r AS ({_multiplied(planned, selected, dialect)})", *stages]
    return f"WITH {', '.join(stages)} SELECT {', '.join([*named, *above])} FROM {source}{grouped}"


def _of_places(measure: Measure, dialect: Dialect) -> bool:
    """Whether rows that count in full add to a measure by sums of places, or by none of several columns."""
    match measure.cell:
        case Share():
            return share_total(measure.cell, writer(dialect)) is not None
        case Centred():
            return False
        case _:
            return True


def _full_and_excess(planned: PlannedRelease, most: int, excess_of: str, dialect: Dialect) -> str:
    """Return each group's sums as if every row counted in full, and, less than zero, what heavy owners' are over.

    Why this is sound: added up, each row of an owner with n > M rows counts ``amount + (amount * M / n - amount)``, its
    weighted part to the unit, so that the sums are the very integers of a sum of weighted rows. It is written in two
    so that only rows of heavy owners are divided, and none but those are joined.
    """
    write = writer(dialect)
    keys = [key.name for key in planned.keys]
    grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
    full = [_whole_rows(measure, dialect) for measure in planned.measures]
    excess = []
    for measure in planned.measures:
        amount = _amount(measure, dialect)
        # ``l1`` is the most that one row adds times the rows of an owner: the product that is divided.
        narrow = measure.l1 < 2**63
        weighted = (write.narrowly_weighted if narrow else write.weighted)(amount, "n", most)
        excess.append(_summed(measure, f"{weighted} - ({amount})", dialect))
    return (
        f"SELECT {', '.join([*keys, *full])} FROM discreet_r{grouped} UNION ALL "
        f"SELECT {', '.join([*keys, *excess])} FROM {excess_of} JOIN discreet_h ON o = p{grouped}"
    )


def _by_owner(planned: PlannedRelease, selected: str, dataset: Dataset) -> tuple[list[str], str]:
    """Return stages that sum each owner's rows by group, and keep some of its groups; the last one's name."""
    keys, dialect = [key.name for key in planned.keys], dataset.dialect
    counted = [measure for measure in planned.measures if measure.cell is not None]
    sums = [f"{writer(dialect).part(_amount(measure, dialect))} AS {measure.name}" for measure in counted]
    by_owner = ", ".join(["o", *keys])
    stages = [
        f"discreet_r AS ({selected})",
        f"discreet_p AS (SELECT {', '.join([by_owner, 'COUNT(*) AS n', *sums])} FROM discreet_r GROUP BY {by_owner})",
    ]
    bounding = planned.bounding
    if bounding.groups is None or not keys:
        return stages, "discreet_p"
    ranked = f"ROW_NUMBER() OVER (PARTITION BY o ORDER BY {_lot(keys, dataset)}) AS g"
    stages += [
        f"discreet_d AS (SELECT *, {ranked} FROM discreet_p)",
        f"discreet_e AS (SELECT * FROM discreet_d WHERE g <= {bounding.groups})",
    ]
    return stages, "discreet_e"


def _owners(planned: PlannedRelease, selected: str, dataset: Dataset) -> str:
    dialect, bounding = dataset.dialect, planned.bounding
    stages, last = _by_owner(planned, selected, dataset)
    if bounding.rows is not None and not bounding.held:
        stages.append(f"discreet_w AS (SELECT *, SUM(n) OVER (PARTITION BY o) AS t FROM {last})")
        last = "discreet_w"
    named, grouped = _keys(planned, dialect)
    named += [_owned(measure, bounding, dialect) for measure in planned.measures]
    if planned.clipped is not None:
        named.append(f"(SELECT COUNT(DISTINCT o) FROM discreet_w WHERE t > {bounding.rows}) AS {COLUMN}")
    return f"WITH {', '.join(stages)} SELECT {', '.join(named)} FROM {last}{grouped}"


def _owned(measure: Measure, bounding: Bounding, dialect: Dialect) -> str:
    if measure.cell is None:
        return f"COUNT(*) AS {measure.name}"
    if bounding.held:
        return _summed(measure, measure.name, dialect)
    assert bounding.rows is not None
    heavy = writer(dialect).weighted(measure.name, "t", bounding.rows)
    return _summed(measure, f"CASE WHEN t > {bounding.rows} THEN {heavy} ELSE {measure.name} END", dialect)


def _chosen(planned: PlannedRelease, clip: Clip, selected: str, dataset: Dataset) -> str:
    """Return the SQL of every candidate of a clip: sums clipped to each, and how many owners are above it.

    ``SELECT COUNT(*) FROM visit`` → per owner its sum and its norm ``t``; then ``SUM(CASE WHEN t > 1 THEN m0 * 1 // t
    ELSE m0 END) AS m0_0, …, SUM(CASE WHEN t > 1 THEN 1 ELSE 0 END) AS c0, …``

    Why every candidate is bounded: an owner's vector x over all groups and measures becomes x * bound / t, toward zero,
    where t exceeds the bound. With t = sum |x| its L1 is at most the bound then; with t the owner's rows over all
    groups, x is a sum of t rows' vectors, and each of its norms is at most bound times the most that one row's is.
    Counts of owners are taken over all groups, each owner once: one owner changes each by one at most.
    """
    write = writer(dataset.dialect)
    stages, last = _by_owner(planned, selected, dataset)
    scaled = [measure for measure in planned.measures if measure.cell is not None]
    match clip.norm:
        case "rows":
            size = "n"
        case "values":
            size = write.magnitude(scaled[0].name)
        case "rows_l2" | "values_l2":
            size = " + ".join(f"{write.wide(each.name)} * {write.wide(each.name)}" for each in scaled)
    if planned.keys:
        size = f"SUM({size}) OVER (PARTITION BY o)"
    if clip.norm in ("rows_l2", "values_l2"):
        stages.append(f"discreet_q AS (SELECT *, {size} AS q FROM {last})")
        size, last = write.root("q"), "discreet_q"
    stages.append(f"discreet_w AS (SELECT *, {size} AS t FROM {last})")
    named, grouped = _keys(planned, dataset.dialect)
    named += [f"COUNT(*) AS {measure.name}" for measure in planned.measures if measure.cell is None]
    for measure in scaled:
        for place, bound in enumerate(clip.bounds):
            held = f"CASE WHEN t > {bound} THEN {write.weighted(measure.name, 't', bound)} ELSE {measure.name} END"
            named.append(f"{write.total(held)} AS {clips.column(measure.name, place)}")
    above = [
        f"{write.total(f'CASE WHEN t > {bound} THEN 1 ELSE 0 END')} AS c{place}"
        for place, bound in enumerate(clip.bounds)
    ]
    if not planned.keys:
        return f"WITH {', '.join(stages)} SELECT {', '.join([*named, *above])} FROM discreet_w"
    stages += [
        "discreet_s AS (SELECT o, MAX(t) AS t FROM discreet_w GROUP BY o)",
        f"discreet_c AS (SELECT {', '.join(above)} FROM discreet_s)",
        f"discreet_a AS (SELECT {', '.join(named)} FROM discreet_w{grouped})",
    ]
    return f"WITH {', '.join(stages)} SELECT * FROM discreet_a CROSS JOIN discreet_c"


def _lot(keys: list[str], dataset: Dataset) -> str:
    """Return the order in which an owner's groups are kept: by a keyed hash of owner and group, then by the group.

    Why this is sound: it depends on the owner's own rows alone, ties are broken by the distinct keys themselves, and
    privacy does not rest on the salt, which is fixed for a dataset so that the same question keeps the same groups.
    """
    salt = hashlib.sha256(f"discreet group lot: {dataset.name}".encode()).hexdigest()[:16]
    return ", ".join([writer(dataset.dialect).lot(salt, ("o", *keys)), *keys])
