"""What the demo asks, in order, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Question:
    """One question: what it asks in words, in SQL, at which price, and what to look at in its answer."""

    title: str
    sql: str
    epsilon: float
    remark: str


_COUNT: Final = "SELECT COUNT(*) AS people FROM person"

QUESTIONS: Final = (
    Question(
        "How many people took part?",
        _COUNT,
        0.1,
        "One person changes the count by one, so little noise hides any of them.",
    ),
    Question(
        "What did a year of care cost, by the share that people paid themselves?",
        """SELECT coinsurance, COUNT(*) AS years, AVG(spending) AS mean_spending
FROM year
GROUP BY coinsurance""",
        1.0,
        "A person has up to five yearly rows, and is bounded as a person. The policy declares the groups.",
    ),
    Question(
        "Which insurance plans have many people?",
        """SELECT plan, COUNT(*) AS people
FROM person
GROUP BY plan
ORDER BY people DESC
LIMIT 6""",
        0.5,
        "The policy lists no plans: a group appears only where its noisy number of people passes a threshold.",
    ),
    Question(
        "At which sites do people see doctors often?",
        """SELECT site, AVG(visits) AS visits_a_year, 12 / AVG(visits) AS months_between
FROM year
GROUP BY site
HAVING AVG(visits) > 2
ORDER BY visits_a_year DESC""",
        0.5,
        "HAVING, ORDER BY and the division see noisy numbers alone, so they cost nothing more.",
    ),
    Question(
        "Who spent most?",
        "SELECT ARG_MAX(person_id, spending) AS who FROM year",
        0.1,
        "A refusal costs nothing, and is decided from the text alone.",
    ),
    Question(
        "How many people took part, once more?",
        _COUNT,
        0.1,
        "The same question is the same answer, free: what is paid for is paid for.",
    ),
    Question(
        "And all of it again, for whatever is left and more?",
        "SELECT site, COUNT(*) AS people, AVG(income) AS mean_income FROM person GROUP BY site",
        1.5,
        "The ledger refuses what does not fit, and says how much would.",
    ),
)
