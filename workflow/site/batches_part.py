"""What an image costs by batch size and allocator, as a section of the page on speed."""

import statistics
from collections.abc import Mapping

from cam_utils.evaluation import bootstrap
from workflow.site import escape

NAME = "tab-speed-batches"
CAPTION = (
    "Forwards of one image in batches, over its best batch size without the settings: without them, with them, and "
    "the gain (median, least and largest of the rounds)."
)


def batches_part(record: Mapping) -> list[str]:
    """Return the section as MyST."""
    lines, said = [], []
    for network in dict.fromkeys(row["network"] for row in record["rows"]):
        own = [row for row in record["rows"] if row["network"] == network]
        least = min(own, key=lambda row: row["ms"])
        for row in own:
            low, *_, high = row["ratios"]
            middle = statistics.median(row["ratios"])
            plain, kept = (f"{row[key] / least['ms']:.2f}" for key in ("ms", "ms kept"))
            gain = bootstrap.text(middle, low, high, digits=2)
            lines.append(f"| {escape.myst(network)} | {row['batch']} | {plain} | {kept} | {gain} |")
        most = max(own, key=lambda row: row["batch"])
        without, kept = (most[key] / least["ms"] for key in ("ms", "ms kept"))
        said.append(
            f"{escape.myst(network)} is fastest at {least['batch']}, and in batches of {most['batch']} takes "
            f"{without:.1f} times as long for an image, with the settings {kept:.1f}"
        )
    settings = "\n".join(f"export {name}={value}" for name, value in record["settings"].items())
    text = (
        "More images in a batch are not faster on a processor where the allocator gives their tensors back: above "
        f"32 MB glibc maps each anew. Of {record['side']} px, {'; '.join(said)}. So Score-CAM and SS-CAM mask six "
        "such images at a time, whose tensors stay below that, and the batch runs its notebooks with these "
        f"settings. In a shell of your own they are two lines ({escape.myst(record['device'])}; how much it is, "
        "depends on the machine):"
    )
    head = "| network | batch | without | with | gain |\n|---|--:|--:|--:|--:|"
    table = escape.fenced(f"{{table}} {CAPTION}", f":name: {NAME}\n\n{head}\n" + "\n".join(lines), ":")
    return ["## Batches on a processor", text, escape.code(settings, "bash"), table]
