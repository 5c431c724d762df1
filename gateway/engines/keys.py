"""Which unique constraints of a catalogue are facts that planning may use."""

from __future__ import annotations

from collections.abc import Collection

from gateway.policy.model import Physical


def enforced_key(names: Collection[str], columns: Collection[tuple[str, Physical | None, bool]]) -> bool:
    """Whether a unique constraint over those columns is the fact that ``TableShape.unique`` promises.

    Why floats, decimals without scale and collations are left out: values that the index tells apart may become one at
    the scan (-0 and 0; 'a' and 'A' where a collation folds them), and then two rows would share one "unique" key.
    """
    stored = {name: (physical, not_null) for name, physical, not_null in columns}
    found = [stored.get(name, (None, False)) for name in names]
    exact = all(
        physical is not None
        and physical.exact
        and physical.kind != "float"
        and not (physical.kind == "decimal" and physical.scale is None)
        for physical, _ in found
    )
    return exact and (len(found) == 1 or all(not_null for _, not_null in found))
