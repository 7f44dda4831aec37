"""Claims of SS-CAM (S1 to S6), under every reading of the method: paired differences, one family of tests per run.

Runs of the chapter, and those of the study of photographs. A difference has one value per image (or mosaic): AD and
AI of the predicted class, energies of the annotated ones, and of a map that is zero everywhere the worst value.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from cam_utils.claims import effects
from cam_utils.claims.effects import Effect
from cam_utils.claims.evidence import Claim, Setting
from cam_utils.runs import Run

CHAPTER = "ss_cam"
PHOTOGRAPHS = "smoothed_photographs"  # the study of photographs, whose runs answer the same claims
OTHERS = {"grad-cam": "Grad-CAM", "grad-cam++": "Grad-CAM++", "score-cam": "Score-CAM"}
# Methods of the tables -> the reading that they are.
READINGS = {
    "printed": "as printed",
    "authors-2020-06": "the authors' notebooks",
    "authors-2020-08": "the authors' library file",
}
# What takes the mean of the draws instead of their maximum, with how much else changed.
MEANS = {"printed": ("approach-1", "S4"), "authors-2020-06": ("authors-2020-06-mean", "S4")}
METRICS = {  # column: claim, part, side, least effect, kind of pairs
    "average_drop": ("S1", "lower AD than {}", -1, "AD", "predicted"),
    "picture_drop": ("S1'", "lower AD of the mask as a picture than {}", -1, "AD", "predicted"),
    "increase_in_confidence": ("S2", "higher AI than {}", +1, "AI", "predicted"),
    "picture_increase": ("S2'", "higher AI of the mask as a picture than {}", +1, "AI", "predicted"),
    "energy_in_box": ("S3", "more energy in the box than {}", +1, "energy", "annotated"),
    "energy_in_quarter": ("S3'", "more energy in its quarter of a mosaic than {}", +1, "energy", "annotated"),
}


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Return the runs of the chapter and of the study: their tables of pairs, mosaics and curves."""
    found = []
    for run in runs:
        dataset = run.parameters.get("dataset")
        network = run.parameters.get("network") or dataset  # digits have one network of their own
        found.append(Setting(run, run.table(), dataset, network, family))
    return found


def per_image(table: pd.DataFrame, metric: str, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the values [images, methods] of a metric, the mean over an image's pairs, and how many maps were zero.

    A zero map has the worst energy; its AD and AI are those of the empty picture already. Images that lack a value
    under one of the methods (no box, say) have NaN there.
    """
    if not len(table) or (table["method"].notna().all() and metric not in table):
        return pd.DataFrame(), pd.DataFrame()
    part = table[table[f"in_{kind}"]] if f"in_{kind}" in table else table
    values = part[metric]
    if metric.startswith("energy"):
        annotated = part.groupby(["image_index", "label"])[metric].transform("count") > 0
        values = values.where(~(part["is_zero"].astype(bool) & annotated), 0.0)
    wide = part.assign(value=values).pivot_table(
        index="image_index", columns="method", values="value", observed=True
    )
    zeros = part.pivot_table(index="image_index", columns="method", values="is_zero", aggfunc="sum", observed=True)
    return wide, zeros


def between(setting_tables: dict[str, pd.DataFrame]) -> Iterator[Effect]:
    """Yield every reading's difference from the other methods (S1 to S3), and of maximum and mean (S4)."""
    for metric, (claim, words, wanted, of, kind) in METRICS.items():
        source = "mosaics" if metric == "energy_in_quarter" else "pairs"
        wide, zeros = per_image(setting_tables[source], metric, kind)
        for name, said in READINGS.items():
            against = [(other, claim, words.format(shown)) for other, shown in OTHERS.items()]
            if name in MEANS and metric in ("average_drop", "energy_in_box", "energy_in_quarter"):
                mean, of_mean = MEANS[name]
                what = words.replace("than {}", "with the maximum of the draws than ")
                against.append((mean, of_mean, what + ("Approach 1" if name == "printed" else "with their mean")))
            for other, own, part in against:
                if not {name, other} <= set(wide):
                    continue
                both = wide[[name, other]].dropna()
                lost = int(zeros.loc[both.index, [name, other]].to_numpy().sum())
                yield Effect(own, f"{said}: {part}", (both[name] - both[other]).to_numpy(), wanted, of, lost)


def along(curves: pd.DataFrame) -> Iterator[Effect]:
    """Yield what little noise does against much (S5) and many draws against few (S6), in every form of a curve."""
    for form, rows in curves.groupby("form", observed=True) if len(curves) else ():
        said, columns = READINGS[form], [c for c in rows if c.startswith("r_")]
        rows = rows.assign(**rows[columns].fillna(0.0))  # a zero map resembles nothing

        def steps(by: str, fixed: str, rows=rows) -> dict[float, pd.DataFrame]:
            usual = rows[fixed].mode()[0]
            return {k: p.set_index("image_index") for k, p in rows[rows[fixed] == usual].groupby(by)}

        of_sigma = steps("sigma", "draws")
        few, much = of_sigma[min(of_sigma)], of_sigma[max(of_sigma)]
        lost = int(few["zero"].sum() + much["zero"].sum())
        ends = f"sigma = {min(of_sigma):g}", f"{max(of_sigma):g}"
        for column, claim, more, less, words in (
            ("r_score_cam", "S5", few, much, "{0} is nearer to Score-CAM than {1} (correlation of maps)"),
            ("r_grad_cam", "S5", much, few, "sigma = {1} is nearer to Grad-CAM than {0} (correlation of maps)"),
            ("r_plain", "S5'", much, few, "sigma = {1} is nearer to the plain mean than {0} (correlation of maps)"),
        ):
            if len(of_sigma) > 1:
                apart = (more[column] - less[column]).dropna().to_numpy()
                yield Effect(claim, f"{said}: {words.format(*ends)}", apart, +1, "correlation", lost)
        of_draws = steps("draws", "sigma")
        if "energy" in rows and len(of_draws) > 1:
            least, most = min(of_draws), max(of_draws)
            few, many = of_draws[least], of_draws[most]
            apart = (many["energy"].fillna(0.0) - few["energy"].fillna(0.0)).to_numpy()
            lost = int(few["zero"].sum() + many["zero"].sum())
            part = f"{said}: N = {most:g} has more energy in the object than N = {least:g}"
            yield Effect("S6", part, apart, +1, "energy", lost)


def family(setting: Setting) -> dict[str, list[dict]]:
    """Return the rows of every claim that a run answers: all its differences are one family of tests."""
    mosaics = setting.run.table("mosaics")
    if len(mosaics):
        mosaics = mosaics.assign(energy_in_quarter=mosaics["energy_in_mask"])
    tables = {"pairs": setting.table if len(setting.table) else setting.run.table("images"), "mosaics": mosaics}
    found = [*between(tables), *along(setting.run.table("curves"))]
    rows: dict[str, list[dict]] = {}
    for row in effects.judged(setting.where, found) if found else ():
        rows.setdefault(row["claim"].rstrip("'"), []).append(row)
    return rows


def of(claim: str):
    """Return the test of a claim: its rows out of every run's family."""
    return lambda settings: [row for setting in settings for row in setting.found.get(claim, [])]


_CLAIMS = (
    ("S1", "SS-CAM has the lowest average drop.", "Supported: 27.43, the next 29.34; no intervals.",
     "a run of ss_cam"),
    ("S2", "SS-CAM has the highest average increase.",
     "Not significant: a tie with Grad-CAM at 0.65, which is 13 of 2,000 images; the others have 8 and 12.",
     "a run of ss_cam"),
    ("S3", "SS-CAM puts the most energy inside the object's box.",
     "Supported on both networks: 57.52 against 54.93, and 57.79 against 54.29; no intervals.",
     "a run of ss_cam on a dataset with boxes of the classes that the network knows"),
    ("S4", "Taking the maximum over the noisy copies is better than their average.",
     "One figure and no number.", "a run of ss_cam"),
    ("S5", "Little noise gives scores like Score-CAM's, much noise maps like Grad-CAM's.",
     "Said in the discussion; no number.", "a run of ss_cam with its curves stored"),
    ("S6", "More noisy copies give a more localised map.",
     "Said in the discussion; no number.", "a run of ss_cam with several N, on annotated objects"),
)  # fmt: skip
CLAIMS = tuple(Claim(id_, CHAPTER, said, printed, of(id_), needs) for id_, said, printed, needs in _CLAIMS)
