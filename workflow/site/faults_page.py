"""The stored counts of the fault suite as sentences and tables, for the page that says what was tried."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from workflow.site import escape, html_parts

# As the suite counts them (tests/faults/trials.py), the bad ones last.
OUTCOMES = ("survived", "refused", "lost", "mixed", "executed", "raw error")
AREAS = {
    "kills": "Killed at a step",
    "signals": "Asked to end",
    "full disks": "Full disks",
    "pairs": "Two processes at once",
    "damaged files": "Damaged files",
    "odd values": "Odd values",
    "commands": "Commands and scripts in data",
    "the suite": "Not tried, since the work did not even end undisturbed",
}


def faults_part(source: Path) -> str:
    """Return the page's generated part, from source/data/results/faults.json.

    Raises FileNotFoundError without the file, and ValueError for an area that this page does not know.
    """
    record = json.loads((source / "data" / "results" / "faults.json").read_text())
    rows = record["rows"]
    if unknown := {row["area"] for row in rows} - {*AREAS}:
        raise ValueError(
            f"expected areas of faults.json among {', '.join(AREAS)}, got {', '.join(sorted(unknown))}"
        )
    parts = [summary(record)]
    for area, heading in AREAS.items():
        if found := [row for row in rows if row["area"] == area]:
            bad = [name for name in OUTCOMES[2:] if any(row[name] for row in found)]
            body = html_parts.table([_shown(row, bad) for row in found], "wraps")
            parts += [f"### {heading}", html_parts.raw(html_parts.frame(body, heading))]
    if record["bad"]:
        parts += ["### What ended worse than refused", "\n".join(_told(trial) for trial in record["bad"])]
    return "\n\n".join(parts) + "\n"


def summary(record: Mapping) -> str:
    """Return in a sentence of MyST how many trials ended in which way, and where they were made.

    >>> row = dict.fromkeys(OUTCOMES, 0) | {"trials": 3, "survived": 2, "refused": 1}
    >>> where = {"date": "2026-11-28T03:00:00", "git": "3c2bfa9fcf231f0e", "dirty": False, "wall_s": 60, "seed": 0}
    >>> summary({"rows": [row], **where, "versions": {"python": "3.11.7"}, "device": "cpu"}).split(". ")[0]
    'Of **3 trials** 2 survived, 1 refused, 0 lost, 0 mixed, 0 executed, 0 raw error'
    """
    rows: Sequence[Mapping] = record["rows"]
    total = {name: sum(row[name] for row in rows) for name in ("trials", *OUTCOMES)}
    ends = ", ".join(f"{total[name]:,} {name}" for name in OUTCOMES)
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    revision = f"{str(record['git'])[:8]}{' with changes' if record['dirty'] else ''}"
    where = (
        f"`make test-faults` made them on {record['date'][:10]}, at revision {revision}, with seed "
        f"{record['seed']}, in {record['wall_s'] / 60:.0f} minutes"
    )
    machine = escape.myst(f"{record['device']}; {versions}")
    return f"Of **{total['trials']:,} trials** {ends}. {where} ({machine})."


def _shown(row: Mapping, bad: Sequence[str]) -> dict[str, object]:
    """Return a row as the page shows it, with those of the bad outcomes that the area has."""
    numbers = {name: row[name] for name in ("what", "trials", *OUTCOMES[:2])}
    return numbers | {name: Markup("<b>{}</b>").format(row[name]) if row[name] else 0 for name in bad}


def _told(trial: Mapping) -> str:
    words = escape.plain(trial["words"])
    said = f": {escape.myst(words[-300:])}" if words else ""
    return f"- {escape.prose(trial['outcome'])}, {escape.myst(trial['what'])}, {escape.myst(trial['where'])}{said}"
