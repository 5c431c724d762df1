"""What functions of immutable objects gave: kept by the objects themselves, and the last alone."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from gateway.kept import Kept


def test_the_same_object_is_asked_about_once_and_an_equal_one_anew() -> None:
    kept: Kept[int] = Kept(8)
    one, equal = Fraction(1, 3), Fraction(1, 3)
    assert kept.get((one,), None, lambda: 0) == 0
    assert kept.get((one,), None, lambda: 1) == 0
    assert kept.get((equal,), None, lambda: 2) == 2
    assert kept.get((one,), "another mark", lambda: 3) == 3
    assert kept.get((one, equal), None, lambda: 4) == 4
    assert kept.get((one,), None, lambda: 5) == 0


def test_what_was_used_last_is_kept_with_its_objects() -> None:
    kept: Kept[int] = Kept(2)
    first, second = Fraction(1, 3), Fraction(1, 5)
    kept.get((first,), None, lambda: 1)
    kept.get((second,), None, lambda: 2)
    kept.get((first,), None, lambda: 3)
    for number in range(100):  # none of these can come to stand where ``first`` stands in memory
        kept.get((first,), None, lambda: 4)
        assert kept.get((Fraction(number, 7),), None, partial(int, number)) == number
    assert kept.get((first,), None, lambda: 5) == 1
    assert kept.get((second,), None, lambda: 6) == 6
