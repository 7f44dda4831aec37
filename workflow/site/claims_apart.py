"""Where the verdicts on photographs and those on digits differ, test by test, for the page of claims."""

import pandas as pd

from workflow.site import html_parts
from workflow.site.verdicts import claim_link, counted, sentence

DIGITS = "digits"  # of the data sets, the one that is drawn; all others are photographs
DECIDED = ("holds", "fails")
KINDS = {  # how the verdicts on digits and on photographs go together where they are not the same
    "opposite": "the other way round",
    "partly": "mixed within a side",
    "one side": "decided on one side only",
}


def apart(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the tests that runs on digits and runs on photographs both judge: one row per claim, part and head.

    Columns: claim, part, head, digits and photographs (the verdicts of that side's rows, a tuple), kind: "same" or
    a key of KINDS. Undecided rows have no say where another row of their side decides.

    >>> rows = pd.DataFrame({"claim": "C1", "part": "a", "head": "", "dataset": ["digits", "msrc"]})
    >>> apart(rows.assign(verdict=["holds", "fails"], runs="a"))["kind"].item()
    'opposite'
    """
    judged = ledger[(ledger["verdict"] != "not run") & (ledger["runs"] != "")]  # a paper's cells are no run
    rows = []
    for (claim, part, head), own in judged.groupby(["claim", "part", "head"], sort=False):
        drawn = own["dataset"] == DIGITS
        if drawn.any() and not drawn.all():
            sides = {
                "digits": tuple(own.loc[drawn, "verdict"]),
                "photographs": tuple(own.loc[~drawn, "verdict"]),
            }
            rows.append({"claim": claim, "part": part, "head": head, **sides, "kind": _kind(*sides.values())})
    return pd.DataFrame(rows, columns=["claim", "part", "head", "digits", "photographs", "kind"])


def _kind(digits: tuple[str, ...], photographs: tuple[str, ...]) -> str:
    ours, theirs = ({*side} & {*DECIDED} for side in (digits, photographs))
    if len(ours) > 1 or len(theirs) > 1:
        return "partly"
    if ours == theirs:
        return "same"
    return "opposite" if ours and theirs else "one side"


def apart_sentence(ledger: pd.DataFrame) -> str:
    """Return in a sentence how many tests came out otherwise on photographs, with a link to the list of them."""
    found = apart(ledger)
    if found.empty:
        return "No test of a claim has been judged on both digits and photographs."
    counts = found["kind"].value_counts()
    parts = [f"{counts[kind]} {words}" for kind, words in KINDS.items() if kind in counts]
    otherwise = f"; {', '.join(parts)} ({{ref}}`the list <sec-apart>`)" if parts else ""
    return (
        f"Of {len(found)} tests of the paper's claims that both judge, "
        f"{counts.get('same', 0)} came out the same{otherwise}."
    )


def apart_part(ledger: pd.DataFrame) -> str:
    """Return the list of tests that came out otherwise on photographs than on digits, as MyST."""
    found = apart(ledger)
    text = f"{apart_sentence(ledger)}\n"
    if (found["kind"] == "same").all():
        return text
    text += (
        "\nA test is a part of a claim under one head; a cell counts its verdicts over runs, rates and scenes. The "
        "chapter on digits trains its linear head slowly and its kernel-usage head fast, photographs have both "
        "heads at both rates: where heads are compared, the rate may be what turns a verdict round.\n"
    )
    for kinds, label in ((("opposite", "partly"), "Other verdicts"), (("one side",), "Decided on one side only")):
        own = found[found["kind"].isin(kinds)]
        if own.empty:
            continue
        rows = [
            {
                "claim": claim_link(row.claim),
                "what it says": sentence(f"{row.part}{f' ({row.head} head)' if row.head else ''}"),
                "digits": counted(row.digits),
                "photographs": counted(row.photographs),
            }
            for row in own.sort_values("kind", kind="stable").itertuples()
        ]
        frame = html_parts.frame(html_parts.table(rows, "badges"), label)
        text += f"\n{html_parts.raw(html_parts.folded(f'{label}: {len(rows)}', frame))}"
    return text
