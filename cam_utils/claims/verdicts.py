"""Verdicts on a claim's parts in one word, and their table, which :func:`cam_utils.charts.verdict_dots` draws."""

from collections.abc import Iterable

import pandas as pd


def together(verdicts: Iterable[str]) -> str:
    """Return one word for the verdicts on a claim's parts, a key of :data:`cam_utils.charts.VERDICTS`.

    >>> together(["holds", "fails"]), together(["holds", "undecided"]), together(["holds", "holds"])
    ('mixed', 'holds, in part undecided', 'holds')
    """
    words = set(verdicts)
    decided = words - {"undecided"}
    if len(decided) > 1:
        return "mixed"
    if not decided:
        return "undecided"
    word = decided.pop()
    return f"{word}, in part undecided" if "undecided" in words else word


def matrix(judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row per claim and one column per `column`, in the order in which they come, "" for none.

    judged: the table of :func:`cam_utils.claims.judge` without the rows "not run", and with a column `column` that
    says which runs a row is about; rows without one are left out.

    >>> rows = {"claim": ["R1", "R1", "R2"], "column": ["b", "b", "a"], "verdict": ["holds", "fails", "undecided"]}
    >>> matrix(pd.DataFrame(rows)).to_dict("index")
    {'R1': {'b': 'mixed', 'a': ''}, 'R2': {'b': '', 'a': 'undecided'}}
    """
    known = judged[judged["column"].notna()]
    words = known.pivot_table(index="claim", columns="column", values="verdict", aggfunc=together)
    return words.reindex(index=known["claim"].unique(), columns=known["column"].unique()).fillna("")
