"""The papers' claims, each with its test on stored runs: what holds, what fails, what nobody has run yet.

A claim has an id (C1 to C19 and E1 to E3: MinMax-CAM, R1 to R11: representative-class CAM, S1 to S6: SS-CAM), a
statement, what the paper's own tables say of it, and a test. The tests read what the chapters store in their run
folders (`pairs.parquet`, `facts.json`, ...) and nothing else; E1 to E3 are identities that we derive.

>>> list(CLAIMS)[:3], len(CLAIMS), CLAIMS["C5"].chapter
(['C1', 'C2', 'C3'], 39, 'minmax_cam')
"""

from collections.abc import Sequence

import pandas as pd

from cam_utils.claims import heads, minmax, representative, smoothed
from cam_utils.claims.evidence import Claim, text
from cam_utils.runs import Run

__all__ = ["CLAIMS", "COLUMNS", "Claim", "judge", "text"]

COLUMNS = (
    "claim", "chapter", "part", "setting", "dataset", "network", "head", "seed", "runs",
    "value", "low", "high", "unit", "wanted", "margin", "n_images", "verdict", "reason",
)  # fmt: skip
# chapter -> its runs as settings: the tables that its tests compare, read once for all of them
SETTINGS = {
    "minmax_cam": minmax.settings,
    "representative_cam": representative.settings,
    "ss_cam": smoothed.settings,
}
_ALL = (*minmax.CLAIMS, *heads.CLAIMS, *representative.CLAIMS, *smoothed.CLAIMS)
CLAIMS: dict[str, Claim] = {
    claim.id: claim for claim in sorted(_ALL, key=lambda claim: ("CRSE".index(claim.id[0]), int(claim.id[1:])))
}


def judge(runs: Sequence[Run]) -> pd.DataFrame:
    """Return every tested difference of every claim on these runs: one row per claim, part and setting.

    Columns (COLUMNS): `value` with its 95% interval `low` to `high` (NaN for an exact number) in `unit` ("points",
    "%", "correlation", "number"); the value should lie above (`wanted` = +1) or below (-1) `margin`. `verdict`:
    "holds" or "fails" if the whole interval lies on one side of the margin, "undecided" if not or for a mean over
    fewer than 10 images, "not run" (with the `reason`) for a claim that none of the runs can answer. `runs`: their
    ids. A primed claim such as S1' is a control of ours beside the paper's claim S1. Runs of other notebooks are
    passed over.
    """
    rows = []
    found = {
        chapter: settings([run for run in runs if run.record.get("chapter") == chapter])
        for chapter, settings in SETTINGS.items()
    }
    for claim in CLAIMS.values():
        answers = claim.test(found[claim.chapter])
        if not answers:
            answers = [{"part": claim.statement, "verdict": "not run", "reason": claim.needs}]
        rows += [{"claim": claim.id, "chapter": claim.chapter, **answer} for answer in answers]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(
        dict.fromkeys(("seed", "wanted", "n_images"), "Int64")
        | dict.fromkeys(("value", "low", "high", "margin"), float)
    )
    words = ["part", "setting", "dataset", "network", "head", "runs", "unit", "reason"]
    return table.assign(**table[words].astype(object).fillna(""))
