"""The study of Score-CAM's approximations as a figure and a paragraph for the page on speed."""

import json
from pathlib import Path

import pandas as pd

from cam_utils import plots
from cam_utils.evaluation import bootstrap
from workflow.site import escape
from workflow.studies import fewer_forwards as study

SHOWN = ("channels 64", "clusters 64")
NOUNS = {"channels": "the strongest channels", "clusters": "clusters of channels"}
PANELS = {
    "correlation with the exact map": "correlation",
    "change of average drop, points": "average_drop",
    "change of energy in mask, points": "energy_in_mask",
}
CAPTION = (
    "What fewer forwards cost Score-CAM: the mean over images, with its 95% interval, against the share of the "
    "exact form's forwards. Left, 1 is the exact map; in the other panels 0 is no change."
)


def stored(results: Path) -> tuple[dict, pd.DataFrame] | None:
    """Return the study's record and table out of a folder data/results, None where it has not been run."""
    file = results / f"{study.NAME}.parquet"
    if not file.is_file():
        return None
    return json.loads(file.with_suffix(".json").read_text()), pd.read_parquet(file)


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return per form and panel: method, at (share of forwards), value, low, high; metrics in points."""
    rows = []
    for option, name, count, share, both in study.curves(table):
        for panel, column in PANELS.items():
            own = both[column] if column == "correlation" else 100 * (both[column] - both[f"{column}_exact"])
            each = own.groupby(both["image_index"]).mean().dropna()  # images are what the interval is over
            row = {"method": NOUNS[option], "form": name, "count": count, "panel": panel, "at": round(share, 3)}
            rows.append(row | bootstrap.interval(bootstrap.means(each.to_numpy(float))))
    return pd.DataFrame(rows)


def fewer_forwards_part(record: dict, table: pd.DataFrame, assets: Path) -> str:
    """Return the section, and write its picture into `assets`."""
    found = differences(table)
    panels = {panel: found[found["panel"] == panel] for panel in PANELS}
    plots.look()
    drawn = plots.curve_panels(panels, xlabel="share of the exact forwards", ylabel="mean over images")
    plots.save(drawn, assets / "speed-fewer-forwards.png")
    figure = (
        f"```{{figure}} ../assets/speed-fewer-forwards.png\n:name: fig-speed-fewer-forwards\n:alt: {CAPTION}\n\n"
        f"{CAPTION}\n```"
    )
    first = found[found["panel"] == next(iter(PANELS))].set_index("form")
    said = "; ".join(
        f"with at most {first.loc[name, 'count']} forwards for {NOUNS[name.split()[0]]} "
        f"({100 * first.loc[name, 'at']:.0f}% of the exact ones) maps correlate "
        f"{bootstrap.text(*first.loc[name, ['value', 'low', 'high']], digits=3)}"
        for name in SHOWN
    )
    text = (
        "Two approximations are options of the method, off unless they are asked for: "
        '`method("score-cam", channels=64)` and `method("score-cam", clusters=64)`. On '
        f"{record['images']} photographs of several labels ({record['pairs']} pairs, "
        f"{escape.myst(record['network'])}), {said}."
    )
    return "\n\n".join(["## Fewer forwards, approximately", text, figure])
