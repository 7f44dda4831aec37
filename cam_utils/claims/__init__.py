"""The papers' claims, each with its test on stored runs: what holds, what fails, what nobody has run yet.

A claim has an id (C1 to C19 and E1 to E3: MinMax-CAM, R1 to R11: representative-class CAM, S1 to S6: SS-CAM), a
statement, what the paper's own tables say of it, and a test. The tests read what the chapters and the studies of
photographs store in their run folders (`pairs.parquet`, `facts.json`, ...) and nothing else, but for C7 and C14,
which are about printed cells of the paper's tables; E1 to E3 are identities that we derive. MinMax-CAM's runs on
photographs hold several seeds: a verdict on them needs every seed on its side. SS-CAM's are decided by tests, see
:mod:`cam_utils.claims.effects`.

>>> list(CLAIMS)[:3], len(CLAIMS), CLAIMS["C5"].chapter
(['C1', 'C2', 'C3'], 39, 'minmax_cam')
"""

from collections.abc import Collection, Sequence

import pandas as pd

from cam_utils.claims import heads, minmax, photographs, representative, rules, smoothed
from cam_utils.claims.evidence import Claim, seeds_text, text
from cam_utils.runs import Run

__all__ = ["CLAIMS", "COLUMNS", "Claim", "judge", "photographs", "seeds_text", "text"]

COLUMNS = (
    "claim", "chapter", "part", "setting", "dataset", "network", "head", "seed", "runs",
    "value", "low", "high", "n_seeds", "seed_low", "seed_high", "unit", "wanted", "margin", "n_images", "verdict",
    "reason",
)  # fmt: skip
# Chapter with claims -> whose runs answer them, as settings: the tables that its tests compare, read once for all.
SETTINGS = {
    "minmax_cam": {"minmax_cam": minmax.settings, photographs.CHAPTER: photographs.settings},
    "representative_cam": {
        "representative_cam": representative.settings,
        representative.PHOTOGRAPHS: representative.photograph_settings,
    },
    "ss_cam": {"ss_cam": smoothed.settings, smoothed.PHOTOGRAPHS: smoothed.settings},
}
_ALL = (*minmax.CLAIMS, *heads.CLAIMS, *rules.CLAIMS, *smoothed.CLAIMS)
CLAIMS: dict[str, Claim] = {
    claim.id: claim for claim in sorted(_ALL, key=lambda claim: ("CRSE".index(claim.id[0]), int(claim.id[1:])))
}


def judge(runs: Sequence[Run], only: Collection[str] = ()) -> pd.DataFrame:
    """Return every tested difference of every claim on these runs: one row per claim, part and setting.

    only: ids of the claims to judge, all if there are none.

    Columns (COLUMNS): `value` with its 95% interval `low` to `high` (NaN for an exact number) in `unit` ("points",
    "%", "correlation", "number"); the value should lie above (`wanted` = +1) or below (-1) `margin`. A count that
    has no such side (0) has a verdict that the `reason` explains. Where a run has several trainings the value is
    of all together: `n_seeds` says how many they are, with the range `seed_low` to `seed_high` of their own values.
    `verdict`: "holds" or "fails" if the whole interval and every seed lie on one side of the margin, "undecided" if
    not or for a mean over fewer than 10 images, "not run" (with the `reason`) for a claim that none of the runs can
    answer. `runs`: their ids, none where the paper's own tables answer. A primed claim such as S1' is a
    control of ours beside the paper's claim S1, C5'' compares with pixel truth. Other notebooks' runs are passed
    over.
    """
    rows = []
    found = {
        chapter: [
            setting
            for source, settings in sources.items()
            for setting in settings([run for run in runs if run.record.get("chapter") == source])
        ]
        for chapter, sources in SETTINGS.items()
    }
    for claim in (CLAIMS[name] for name in only) if only else CLAIMS.values():
        answers = claim.test(found[claim.chapter])
        if not answers:
            answers = [{"part": claim.statement, "verdict": "not run", "reason": claim.needs}]
        rows += [{"claim": claim.id, "chapter": claim.chapter, **answer} for answer in answers]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(
        dict.fromkeys(("seed", "n_seeds", "wanted", "n_images"), "Int64")
        | dict.fromkeys(("value", "low", "high", "seed_low", "seed_high", "margin"), float)
    )
    words = ["part", "setting", "dataset", "network", "head", "runs", "unit", "reason"]
    return table.assign(**table[words].astype(object).fillna(""))
