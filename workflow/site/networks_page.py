"""The study of many networks as sentences and tables, for the page that says which of them can be explained."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from workflow.site import escape, html_parts
from workflow.site.speed_page import table

NETWORKS = (
    "The layer that was read, what it gives for B images (K channels, N patches), the side of the map, the largest "
    "difference from plain autograd, the corners that lie right, and the time over one forward."
)
TIMES = "The time of one call of `explain`, over one forward: median, least and largest of the rounds."

KINDS = {
    "cnn": "of convolutions",
    "transformer": "with attention",
    "mlp": "of linear layers between patches",
    "recurrent": "recurrent",
}


def networks_part(source: Path) -> str:
    """Return the page's generated part, from source/data/results/zoo.csv and zoo_times.csv.

    Raises FileNotFoundError if the study's tables are missing.
    """
    stored = source / "data" / "results"
    rows = pd.read_csv(stored / "zoo.csv", keep_default_na=False, na_values={"difference": "", "ratio": ""})
    times = pd.read_csv(stored / "zoo_times.csv")
    body = html_parts.table([_shown(row) for row in rows.to_dict("records")])
    parts = [
        "## What was found",
        "\n".join(f"- {sentence}" for sentence in [*findings(rows), _of_times(times)]),
        "## Time of a vision transformer",
        table(_timed(times), "tab-networks-times", TIMES),
        "## All networks",
        NETWORKS,
        html_parts.raw(html_parts.frame(body, "All networks")),
    ]
    return "\n\n".join(parts) + "\n"


def findings(rows: pd.DataFrame) -> list[str]:
    """Return in sentences of MyST what the rows of the study say."""
    right, kinds = rows[rows["outcome"] == "right"], rows["kind"].value_counts()
    kinds = ", ".join(f"{count} {KINDS[kind]}" for kind, count in kinds.items())
    said = [
        f"Of {len(rows)} networks ({kinds}) **{len(right)} are explained right**: no pixel of any of their maps "
        f"differs by more than {right['difference'].max():.0e} from plain autograd."
    ]
    for outcome in ("refused", "wrong"):
        names = rows.loc[rows["outcome"] == outcome, "network"]
        if len(names):
            said.append(f"{len(names)} {'is' if len(names) == 1 else 'are'} {outcome}: {_listed(names)}.")
    layouts = right["layout"].map(lambda layout: "tokens" if "N" in layout else layout).value_counts()
    of = "; ".join(f"{count} give {escape.myst(layout)}" for layout, count in layouts.items())
    prefixed = right[right["layout"].str.contains("+", regex=False)]
    said.append(
        f"What their layers hold differs: {of}. {len(prefixed)} of these have tokens before those of the patches, "
        "which the map leaves out."
    )
    apart = right[right["corners"].astype(int) < 2]
    text = (
        f"Maps lie where the image lies: in {len(right) - len(apart)} of {len(right)} both corners that were "
        "changed change their own corner of the map most"
    )
    said.append(f"{text}; in {_listed(apart['network'])} they do not." if len(apart) else f"{text}.")
    ratio = right["ratio"]
    said.append(
        f"Two labels of one image take {ratio.median():.2f} times as long as one forward (the median; "
        f"{ratio.min():.2f} to {ratio.max():.2f} over all networks)."
    )
    return said


def _of_times(times: pd.DataFrame) -> str:
    """Return in a sentence how long `explain` takes on the network that was timed."""
    most, images = times["labels"].max(), times["images"]
    one, more = (times.loc[times["labels"] == labels, "ratio"] for labels in (1, most))
    return (
        f"On {escape.myst(times['network'].iloc[0])} one label takes {one.min():.2f} to {one.max():.2f} forwards "
        f"and {most} labels take {more.min():.2f} to {more.max():.2f}, whatever the method and whether of "
        f"{images.min()} image or of {images.max()}: only what follows the layer is computed backwards."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(escape.myst, names))


def _timed(times: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {
            "network": row["network"],
            "images": row["images"],
            "labels": row["labels"],
            "method": row["method"],
            "time / forward": f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})",
        }
        for row in times.to_dict("records")
    ]


def _name(text: str) -> Markup:
    """Return a dotted name that may break anywhere on paper, where nothing scrolls."""
    return Markup('<span class="value">{}</span>').format(escape.html(text))


def _shown(row: dict[str, object]) -> dict[str, object]:
    """Return a row as the page shows it."""
    number = {name: "" if pd.isna(row[name]) else row[name] for name in ("difference", "ratio")}
    return {
        "network": _name(f"{row['library']}/{row['network']}"),
        "kind": row["kind"],
        "parameters": f"{row['parameters'] / 1e6:.1f} M",
        "layer": _name(row["layer"]),
        "gives": row["layout"],
        "map": row["map"],
        "outcome": " ".join(filter(None, (row["outcome"], row["sentence"] and f"({row['sentence']})"))),
        "difference": f"{number['difference']:.0e}" if number["difference"] != "" else "",
        "corners": row["corners"],
        "time": f"{number['ratio']:.2f}" if number["ratio"] != "" else "",
    }
