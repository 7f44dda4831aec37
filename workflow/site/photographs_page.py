"""A run of the study of photographs as a page of the book: what was run, what was found, all numbers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cam_utils.claims.photographs import SEVERAL
from cam_utils.evaluation.display import method_name, metric_name
from cam_utils.runs import Run
from workflow.site import escape, html_parts, photograph_figures
from workflow.site import photograph_runs as numbers
from workflow.site import photograph_tables as tables
from workflow.site.photograph_tables import direction, judged, number, seeds, title
from workflow.site.run_pages import duration, short_name

FIRST = tables.CONTRASTS[:2]  # what the sentences are about
LIMITS = {
    "voc2012": (
        "This VOC 2012 is a sample of {images:,} images centred on animals, not the whole data set: every image "
        "holds a cat, a dog, a horse, a cow or a sheep. So its values are not the paper's, and only its directions "
        "can be compared; and the masks of images outside the official lists of segmentation are coarser."
    ),
    "msrc": (
        "MSRC-v2 has {images:,} images here, in a split of our own, and some classes are rare: horse is in three "
        "images of the data set."
    ),
}


def page(run: Run, folder: Path | None = None) -> str:
    """Return the run's page as MyST, and draw its figure into `folder`, where the page will lie, if given."""
    effects, heads = numbers.effects(run), numbers.heads(run)
    several = heads["seed"].nunique() > 1
    parts = [
        f"# Photographs: {escape.myst(short_name(run))}",
        about(run),
        limits(run),
        "## What was found",
        *found(effects),
        empty(run),
        weak(run),
        figure(run, effects, folder),
        "## How the heads came out",
        ("Mean over the seeds (least to most)." if several else "Each head was trained once, with one seed.")
        + " Equal rates are no equal speeds: the spread of the logits over the evaluated images says how far a "
        "head has come. F-scores are those of p > 0.5.",
        _table(tables.heads(heads), "Heads"),
        *_facts(run),
        "## All differences",
        "Difference of the means in points, with its 95% interval over images"
        + (", and the range over the seeds in parentheses" if several else "")
        + f". A class counts if {numbers.LEAST_IMAGES} images or more have such labels of it: "
        "predicted ones for the scores, annotated ones for energy, IoU and pointing, which compare the maps that "
        f"both methods leave with a value. {tables.LEGEND}",
        html_parts.raw(html_parts.filters(_choices(effects))),
        _table(tables.differences(effects), "All differences"),
        "## All means",
        f"In percent, over the same classes{', mean over the seeds' * several}. An empty map, zero everywhere, has "
        "no energy and points nowhere: each method's own mean leaves it out, so that two means are not always of "
        f"the same labels, as the differences above are.{score_cam(run, several)}",
        _table(tables.means(numbers.averages(run)), "All means"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(run: Run) -> str:
    """Return in a paragraph of MyST what was run."""
    record, given, effects = run.record, run.parameters, numbers.effects(run)
    rates, seeds = (", ".join(f"{value:g}" for value in given[name]) for name in ("rates", "seeds"))
    heads = " and ".join(effects["head"].astype(str).unique()) or "no"
    trained = "and the upper layers of the network, fine-tuned, " if given.get("finetune") else ""
    sizes = [f"{record[f'n_{split}']:,}" for split in ("train", "val", "test")]
    versions = ", ".join(
        f"{name} {record['versions'][name]}"
        for name in ("python", "torch", "torchvision")
        if record.get("versions", {}).get(name)
    )
    origin = [
        f"code {record['git'][:10]}{' with changes' * bool(record.get('dirty'))}" if record.get("git") else "",
        versions,
        str(record.get("device", "")),
        # A study resumes: what an earlier call had trained or evaluated is not in its time.
        f"{duration(record['wall_s'])} of wall time in its last call" if "wall_s" in record else "",
    ]
    data, network = (escape.myst(given[name]) for name in ("dataset", "architecture"))
    return (
        f"Of {data}, {sizes[0]} images train, {sizes[1]} say when to stop and {sizes[2]} "
        f"are evaluated. On the features of {network} {escape.myst(heads)} heads {trained}"
        f"are trained, at {_of('rate', rates)} with {_of('seed', seeds)}. "
        f"{{doc}}`../{numbers.PAGE}` says how and why. ({escape.myst('; '.join(filter(None, origin)))}.)\n\n"
        f"{escape.code(record['command'] + ' --data DATA', 'bash')}"
    )


def _of(noun: str, values: str) -> str:
    """Return "the rate 1" or "the rates 0.1, 1" as MyST."""
    return f"the {noun}{'s' * (', ' in values)} {escape.myst(values)}"


def limits(run: Run) -> str:
    """Return in a sentence what must be known wherever the run's numbers stand; nothing of other data sets."""
    images = sum(run.record[f"n_{split}"] for split in ("train", "val", "test"))
    text = LIMITS.get(run.parameters["dataset"], "").format(images=images)
    return escape.fenced("{note}", text, ":") if text else ""


def empty(run: Run) -> str:
    """Return in a sentence which methods leave maps empty on images of several labels, nothing if none does."""
    rows = numbers.averages(run)
    rows = rows[(rows["images"] == SEVERAL) & (rows["metric"] == numbers.EMPTY)]
    if rows.empty:
        return ""
    head, rate = numbers.reference(rows)
    own = rows[(rows["head"] == head) & (rows["rate"] == rate) & (rows["value"] >= 1)]
    if own.empty:
        return ""
    shares = ", ".join(f"{method_name(row.method)} {row.value:.0f}%" for row in own.itertuples())
    return (
        f"**Empty maps.** Of the annotated labels' maps, these shares are zero everywhere: {escape.prose(shares)}. "
        "They have no energy and point nowhere, and are left out there; in IoU and in the scores they count."
    )


def score_cam(run: Run, several: bool) -> str:
    """Return in a sentence what the table of means lacks of Score-CAM, beside `several` seeds or one."""
    if len(run.table("score_cam")):
        return " Score-CAM has one seed." if several else ""
    timed = "score-cam" in numbers.seconds(run)
    return " Score-CAM was only timed here: it has no means." if timed else " Score-CAM has not been run here."


def weak(run: Run) -> str:
    """Return in a sentence which heads classify less than half as well as the best, nothing if none does."""
    scores = numbers.heads(run).groupby(["head", "rate"], sort=False)["f1_weighted"].mean()
    poor = scores[scores < scores.max() / 2]
    if poor.empty:
        return ""
    named = ", ".join(f"{head} at rate {rate:g} ({100 * value:.0f}%)" for (head, rate), value in poor.items())
    return (
        f"**Heads that have hardly left their start.** {escape.prose(named)}: a weighted F1 below half of the best "
        f"head's, {100 * scores.max():.0f}%. They predict few labels, and what they say of methods weighs little."
    )


def found(effects: pd.DataFrame) -> list[str]:
    """Return what the differences say on images of several labels, as paragraphs and a list of MyST."""
    rows = effects[effects["images"] == SEVERAL]
    if rows.empty:
        return ["No head has numbers on images of several labels: nothing was found."]
    head, rate = numbers.reference(rows)
    count = tables.seed_count(rows.loc[(rows["head"] == head) & (rows["rate"] == rate), "n_seeds"].max())
    said = [
        f"MinMax-CAM minus each of the two, on images of several labels, for the {escape.myst(head)} head at rate "
        f"{rate:g}, in points, with the 95% interval over images"
        + (f" and in parentheses the range over {count} seeds:" if count > 1 else " (one seed):")
    ]
    lines = []
    for metric in numbers.SHOWN:
        parts = []
        for method, other in FIRST:
            own = rows[(rows["metric"] == metric) & (rows["method"] == method) & (rows["baseline"] == other)]
            first = own[(own["head"] == head) & (own["rate"] == rate)]
            if len(first):
                row = first.iloc[0]
                alike = (own.apply(direction, axis=1) == direction(row)).sum()
                value = escape.myst(f"{number(row)} {seeds(row)}")
                word = tables.KINDS[judged(row)][1]
                parts.append(f"against {method_name(other)} {value}, {word} ({alike} of {len(own)})")
        if parts:
            lines.append(f"- **{escape.prose(title(metric))}**: {'; '.join(parts)}.")
    lines.append("\nThe last parentheses count the heads and rates of which the same is true.")
    return [*(verdict(rows, *pair) for pair in FIRST), *said, "\n".join(lines)]


def verdict(rows: pd.DataFrame, method: str, other: str) -> str:
    """Return in a sentence which metrics say the same of two methods under every head and rate."""
    own = rows[(rows["method"] == method) & (rows["baseline"] == other)]
    kinds: dict[str, list[str]] = {}
    for metric in numbers.SHOWN:
        each = {judged(row) for row in own[own["metric"] == metric].to_dict("records")}
        if each:
            kind = "mixed" if len(each) > 1 else tables.KINDS[each.pop()][1]
            kinds.setdefault(kind, []).append(metric_name(metric))
    words = {"better": "better in {}", "worse": "worse in {}", "undecided": "undecided in {}"}
    said = [form.format(escape.prose(_listed(kinds[kind]))) for kind, form in words.items() if kind in kinds]
    mixed = escape.prose(_listed(kinds["mixed"])) if "mixed" in kinds else ""
    first = (
        f"Under every head and rate **{method_name(method)} against {method_name(other)}** is {'; '.join(said)}."
        if said
        else ""
    )
    open_ = (
        f"Heads and rates differ on {method_name(method)} against {method_name(other)} in {mixed}." if mixed else ""
    )
    return " ".join(filter(None, (first, open_)))


def figure(run: Run, effects: pd.DataFrame, folder: Path | None) -> str:
    """Return the figure of the differences on images of several labels, drawn into `folder` if given."""
    rows = effects[(effects["images"] == SEVERAL) & effects["metric"].isin(numbers.SHOWN)]
    if rows.empty:
        return ""
    first, rate = numbers.reference(rows)
    rows = rows[rows["rate"] == rate]
    rows = rows.assign(level=rows["head"].astype(str) + " head")
    levels = sorted(rows["level"].unique(), key=lambda level: level != f"{first} head")
    caption = (
        f"Differences on images of several labels at rate {rate:g}, in points, with 95% intervals over images; the "
        "small marks are the lowest and the highest seed where there are several. An arrow says which way a "
        "metric is better."
    )
    name = f"fig-effects--{escape.file_name(run.id)}"
    return photograph_figures.figure(rows, levels, name, caption, folder, width=2.1)


def _facts(run: Run) -> list[str]:
    """Return the sections on classes, run time and identities."""
    classes = pd.read_csv(run.folder / "classes.csv", keep_default_na=False, dtype={"class": str})
    enough = classes["test"] >= numbers.LEAST_IMAGES
    named = {
        word: ", ".join(f"{name} {count}" for name, count in part[["class", "test"]].itertuples(index=False))
        for word, part in (("counts", classes[enough]), ("does not", classes[~enough]))
    }
    times = numbers.seconds(run)
    least = times.get("cam", min(times.values(), default=1.0))
    rows = [
        {"method": method_name(name), "seconds per image": f"{value:.3g}", "over CAM": f"{value / least:.2f}"}
        for name, value in times.items()
    ]
    same = numbers.identities(run)
    overlap = same.pop("overlap")
    apart = escape.myst(", ".join(f"{name} {value:.1g}" for name, value in same.items()) or "nothing")
    return [
        "## Which classes count",
        f"{enough.sum()} of {len(classes)} classes have at least {numbers.LEAST_IMAGES} evaluated images"
        + (f": {escape.myst(named['counts'])}." if enough.any() else ".")
        + (f" The others: {escape.myst(named['does not'])}." if not enough.all() else "")
        + " How many classes stand behind a number depends on what the heads predict; the tables say it.",
        "## Run time",
        "One call with maps and scores on images of several labels; only the ratios mean anything.",
        _table(rows, "Run time") if rows else "No method was timed.",
        "What follows from the formulas, checked on images of two labels under every head, as shares of the "
        f"largest value of the CAMs: two MinMax maps share a pixel by {overlap:.1g} at most"
        + f"; forms made by gradients and by the head's weights differ by {apart} at most.",
    ]


def _choices(effects: pd.DataFrame) -> dict[str, Sequence[str]]:
    rates = [f"{rate:g}" for rate in effects["rate"].unique()]
    return {"images": effects["images"].unique(), "head": effects["head"].unique(), "rate": rates}


def _table(rows: list[dict[str, object]], label: str) -> str:
    if not rows:
        return "No head predicted any label: there is no number to show."
    return html_parts.raw(html_parts.frame(html_parts.table(rows, "wraps"), label))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (f" and {names[-1]}" if len(names) > 1 else names[-1])
