"""The first page of the book and of the README: a pair of pictures, and the findings of the whole book.

    python -m workflow.site.landing

writes assets/landing and the README's findings, to be committed; the page itself is filled when the book is built.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from markupsafe import Markup

from cam_utils.evaluation.display import method_name
from workflow import ROOT
from workflow.site import html_parts, landing_picture
from workflow.site import landing_findings as evidence
from workflow.site.landing_findings import Evidence, Row, effect, judged, on_digits
from workflow.site.verdicts import mark, mark_text

LINEAR = "co-occurring / linear"  # of the chapter's settings on digits, the one that is nearest to photographs
MATCHED = "area-matched-cam"
README = re.compile(r"(?<=we found:\n)(?:- .*\n)+")  # the findings, a line each
SIDES = ("photographs", "digits")
LEGEND = (
    "✓ The results support the claim. ✗ They contradict it. ≈ They cannot tell. ◐ Some support it, some contradict "
    "it. ○ No result has been read. In brackets: the 95% interval over images. A range goes from the lowest run, "
    "reading or method to the highest, and its brackets span all of their intervals. "
    "SS-CAM meets a stricter rule, so that an interval beside zero may be undecided."
)


@dataclass(frozen=True)
class Finding:
    """A sentence that results support or contradict.

    measure: what the number is. page: where the evidence is, a page and its title. each: what one of several
    numbers belongs to. digits: behind the point.
    """

    claim: str
    measure: str
    page: tuple[str, str]
    photographs: Callable[[Evidence], list[Row]]
    drawn: Callable[[Evidence], list[Row]]
    each: str = "runs"
    unit: str = " points"
    digits: int = 1

    def rows(self, found: Evidence) -> dict[str, list[Row]]:
        """Return the numbers by the side that they come from."""
        return dict(zip(SIDES, (self.photographs(found), self.drawn(found)), strict=True))


FINDINGS = {
    "others": Finding(
        "MinMax-CAM leaves the other labels' objects, and not only because its map is smaller.",
        "Share of the map on other labels' objects, MinMax-CAM minus CAM shrunk to the same size.",
        ("book/photographs", "MinMax-CAM on photographs"),
        effect("energy_in_others", MATCHED),
        on_digits("C5''", "MinMax has lower energy in others than area-matched CAM", LINEAR),
    ),
    "own": Finding(
        "MinMax-CAM finds its own object better than a CAM of the same size does.",
        "IoU with the label's object at threshold 0.3, MinMax-CAM minus CAM shrunk to the same size.",
        ("book/photographs", "MinMax-CAM on photographs"),
        effect(evidence.IOU, MATCHED),
        on_digits("C5''", "MinMax has higher IoU at 0.3 than area-matched CAM", LINEAR),
    ),
    "cost": Finding(
        "MinMax-CAM gives up some of the label's own evidence.",
        "Average retention of the label's score, MinMax-CAM minus CAM.",
        ("notebooks/minmax_cam", "MinMax-CAM"),
        effect(evidence.AR, "cam", turned=True),
        on_digits("C4", "MinMax has lower %AR than CAM", LINEAR),
    ),
    "few": Finding(
        "A few representative classes give a better map than all classes together.",
        "mIoU of the mean of their maps (S-1+F) minus Grad-CAM's.",
        ("notebooks/representative_cam", "Representative-class CAM"),
        judged("R5", "S-1+F beats the baseline"),
        on_digits("R5", "S-1+F beats the baseline"),
    ),
    "smooth": Finding(
        "SS-CAM keeps more of the label's score than Score-CAM.",
        "Average drop, SS-CAM minus Score-CAM (low is good), in three readings of the paper.",
        ("notebooks/ss_cam", "SS-CAM"),
        judged("S1", "lower AD than Score-CAM"),
        on_digits("S1", "lower AD than Score-CAM"),
        each="readings",
    ),
    "everywhere": Finding(
        "A map that is 1 everywhere, and explains nothing, has the best average drop of all.",
        "Average drop of that map minus that of the best explanation.",
        ("notebooks/comparison", "All methods, all metrics"),
        partial(evidence.everywhere, digits=False),
        partial(evidence.everywhere, digits=True),
    ),
    "agree": Finding(
        "A metric of the other labels ranks methods as the annotated objects do.",
        "Rank correlation of the average drop of others with IoU, over methods. On photographs much of it is one "
        "contrast, class maps against single pixels.",
        ("notebooks/comparison", "All methods, all metrics"),
        partial(evidence.agreement, digits=False),
        partial(evidence.agreement, digits=True),
        unit="",
        digits=2,
    ),
    "head": Finding(
        "Maps change when the network's last layer is replaced by a random one.",
        "How much more a map still resembles its old self than another image's map (0: not at all, 1: the same).",
        ("notebooks/sanity_checks", "Sanity checks"),
        partial(evidence.random_head, digits=False),
        partial(evidence.random_head, digits=True),
        each="methods",
        unit="",
        digits=2,
    ),
}
# Of book/intro, of a book that is staged (workflow.site.pages.Staged), in the order of its lines.
PARTS = (
    lambda book: picture_part(pd.read_csv(book.source / "assets" / "landing" / landing_picture.SHARES)),
    lambda book: findings_part(Evidence(book.source, book.runs, book.ledger)),
)
MAIN = "others"  # what the book is about: its row is set off
SHORT = ("others", "own", "cost", "everywhere")  # the README's


def picture_part(shares: pd.DataFrame) -> str:
    """Return the pictures with what they show, as MyST: a tab for each label; `shares` is shares.csv."""
    tabs = []
    for label, own in shares.groupby("label", sort=False):
        cells = Markup().join(
            Markup(
                '<figure><img src="../_static/landing/{}" width="480" height="305" alt="{}">'
                "<figcaption><strong>{}</strong> {}</figcaption></figure>"
            ).format(row["file"], alt(row), method_name(row["method"]), on_objects(row))
            for row in own.to_dict("records")
        )
        pair = Markup('<div class="pair">{}</div>').format(cells)
        tabs.append(f":::{{tab-item}} {label}\n{html_parts.raw(pair)}:::\n\n")
    places = shares.drop_duplicates("label").sort_values("place").to_dict("records")
    said = [f"*{row['label']}* at place {row['place']}, with {100 * row['p']:.0f}%" for row in places]
    guesses = f"Among its thousand labels the network puts {' and '.join(said)}."
    link = Markup('<p><a href="explorer.html#maps">Compare other methods and labels on this photograph</a></p>')
    bars = "Shares are of the map on the photograph; the explorer's energy counts the bars around it, too. "
    return "::::{tab-set}\n\n" + "".join(tabs) + "::::\n\n" + html_parts.raw(link) + f"\n{guesses} {bars}"


def on_objects(row: dict) -> str:
    """Return in a sentence how much of a map lies on its own object and on the other one."""
    own, other = _objects(row)
    return f"{100 * row['other']:.0f}% of the map is on the {other}, {100 * row['own']:.0f}% on the {own}."


def alt(row: dict) -> str:
    """Return the text in the place of a picture."""
    return (
        "A cat on a leather couch, two remote controls in front of it, under the "
        f"{method_name(row['method'])} map of {row['label']}. {on_objects(row)}"
    )


def _objects(row: dict) -> tuple[str, str]:
    names = {"remote control": "remotes", "tabby": "cat"}
    (other,) = set(names) - {row["label"]}
    return names[row["label"]], names[other]


def findings_part(found: Evidence) -> str:
    """Return the findings of the book as a table of three columns, as MyST."""
    rows = Markup()
    for name, finding in FINDINGS.items():
        page, title = finding.page
        cells = Markup().join(
            Markup('<td data-side="{}">{} <span class="number">{}</span></td>').format(
                side, mark(evidence.outcome(own)), html_parts.unbroken(_number(finding, own))
            )
            for side, own in finding.rows(found).items()
        )
        kind = Markup(' class="main"') if name == MAIN else ""
        rows += Markup(
            '<tr{}><th scope="row">{} <span class="measure">{} <a href="../{}.html">{}</a></span></th>{}</tr>\n'
        ).format(kind, finding.claim, finding.measure, page, title, cells)
    head = Markup().join(Markup('<th scope="col">{}</th>').format(name) for name in ("claim", *SIDES))
    table = Markup('<table class="findings">\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>')
    return html_parts.raw(table.format(head, rows)) + f"\n{LEGEND}\n"


def readme_part(found: Evidence) -> str:
    """Return the README's findings: on photographs, a line each."""
    lines = []
    for name in SHORT:
        finding = FINDINGS[name]
        own = finding.photographs(found)
        verdict, page = mark_text(evidence.outcome(own)), finding.page[0]
        file = f"{page}.{'ipynb' if page.startswith('notebooks/') else 'md'}"
        lines.append(f"- **{verdict}**: [{finding.claim}]({file}) {_number(finding, own)}")
    return "\n".join(lines) + "\n"


def _number(finding: Finding, rows: Sequence[Row]) -> str:
    several = f", {len(rows)} {finding.each}" if len(rows) > 1 else ""
    return evidence.text(rows, finding.digits, finding.unit) + several


def main() -> None:
    """Write what is committed: the pictures and the README's findings."""
    landing_picture.write(landing_picture.explained())
    file = ROOT / "README.md"
    part = readme_part(evidence.of_project())
    file.write_text(README.sub(lambda _: part, file.read_text()))


if __name__ == "__main__":
    main()
