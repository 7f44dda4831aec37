"""Values that run as scripts, or are read as markup, where a page does not escape them; and runs full of them."""

import json
from itertools import chain
from pathlib import Path

import nbformat
import pandas as pd
import torch

from cam_utils.data import Batch
from cam_utils.pairs import Pairs
from tests import fake_runs, tiny_book
from workflow.site import explorer, explorer_page

# `boom` is nowhere defined: a script that runs is an error of the page, and an image or frame a failed request.
VALUES = (
    "<img src=boom.png onerror=boom()>",
    "</script><script>boom()</script>",
    "</title></textarea></option></td></table><svg onload=boom()>",
    'x" onmouseover="boom()" autofocus onfocus="boom()',
    "x' onmouseover='boom()' autofocus onfocus='boom()",
    "<iframe srcdoc='<script>parent.boom()</script>'>",
    "```{raw} html\n<script>boom()</script>\n```",
    "x\n````\n\n`````{raw} html\n<script>boom()</script>\n`````",
    ":::\n:::\n```{raw} html\n<script>boom()</script>\n```\n:::{note}",
    "<!-- x",
    "{{ title }} {{ 7 * 7 }}",
    "$a$ and $$b$$ and \\(c\\) and \\[d\\]",
    "[x](javascript:boom()) <javascript:boom()> ![y](boom.png)",
    "javascript:boom()",
    "{eval-rst}`x` {raw}`html` {doc}`nowhere` {numref}`fig-a`",
    "|x| `y`_ **b** _i_ __b__ ~~s~~",
    "[^1] [x]: http://example.org/boom",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "(label)=",
    "% a comment",
    "# a heading",
    "+++ 1",
    "- a list",
    "1. a list",
    ": a definition",
    "--- a\n--- b",
    "a\u2028b\x1b[31m\u202ec",
    "../../boom",
    "%2e%2e?a=b#c",
    "__proto__",
    "a, b",
    "back\\slash \\. \\- \\\" \\' \\\\ \\` \\",
)


def folder_name(value: str) -> str:
    """Return the value as a folder's name: all of it that one may hold."""
    return value.replace("/", ":")[:200]


def write(root: Path, value: str, chapter: str = "ss_cam") -> Path:
    """Write the folder of a finished run whose every text is the value; returns it."""
    folder = root / folder_name(value)
    folder.mkdir(parents=True)
    nbformat.write(tiny_book.chapter(), folder / "notebook.ipynb")
    parameters = {"dataset": value, "network": value, "head": value, "split": value, "weights": value, value: value}
    versions = {"python": value, "torch": value, "torchvision": value}
    record = {"chapter": chapter, "parameters": parameters, "versions": versions, "device": value, "git": value}
    (folder / "run.json").write_text(json.dumps(record | {"wall_s": 1.0}))
    rows = fake_runs.means("ss_cam", 4).iloc[:1]
    pd.concat([rows, rows.assign(setting=value, method=value, metric=value)]).to_csv(
        folder / "means.csv", index=False
    )
    pairs = fake_runs.pairs(4, 0)
    every = pd.concat([pairs, pairs.assign(method=value)]).assign(**{"class": value, "image": value})
    every.to_parquet(folder / "pairs.parquet")
    (folder / "facts.json").write_text(json.dumps({value: value}))
    return folder


def write_damaged(root: Path, value: str, kind: int) -> None:
    """Write the folder of a run of which no page can be made, with the value in what is said of it."""
    quoted = '"' + value.replace('"', '""') + '"'
    damaged = {
        "run.json": json.dumps([value]),
        "means.csv": f"table,setting,method,metric,value,low,high,n_images\n{quoted},{quoted},m,m,1,1,1,4\n",
        "notebook.ipynb": value,
        "facts.json": json.dumps([value]),
        "pairs.parquet": value,
    }
    file, text = list(damaged.items())[kind % len(damaged)]
    (write(root, value) / file).write_text(text)
    write(root / "chapters", value, chapter=value)


def write_benchmarks(folder: Path) -> None:
    """Write stored benchmarks whose every text holds all values."""
    every = " ".join(VALUES)
    for name in ("bench", "gpu"):
        (folder / name).mkdir()
    growth = {"quantity": every, "what": every, "exponent": 1.0, "expected": 1, "why": every, "MiB": {every: 1.0}}
    keys = ("largest difference of maps", "mean difference of maps", "least correlation of maps",
            "average drop, float32", "average drop, bfloat16", "largest difference of a drop")  # fmt: skip
    seconds = ("seconds per run", "seconds of a batch of one", "seconds of a finished batch")
    row = {"group": "cams", "network": every, "batch": 1, "size": 224, "labels": 3, "ratios": {}, "seconds": {}}
    records = {
        "growth": {"growth": [growth]},
        "precision": {"what": every, "pairs": 2} | dict.fromkeys(keys, 0.5),
        "engine": {"device": every, "runs": 2} | dict.fromkeys(seconds, 1.0),
        folder_name(VALUES[0]): {
            "device": every, "threads": 2, "samples": True, "versions": {"torch": every}, "git": every,
            "wall_s": 60, "contract": list(VALUES), "times": [row], "memory": [],
        },
    }  # fmt: skip
    for name, record in records.items():
        (folder / "bench" / f"{name}.json").write_text(json.dumps(record))


def explored(values: tuple[str, ...] = VALUES) -> explorer.Explored:
    """Return what the explorer shows, of scenes, labels, methods, heads and groups with these names."""
    count, size = len(values), 4
    every = torch.arange(count)
    batch = Batch(
        torch.rand(count, 3, size, size),
        torch.eye(count),
        [every[k : k + 1] for k in range(count)],
        [torch.tensor([[0.0, 0, size, size]])] * count,
        [torch.ones(1, size, size, dtype=torch.bool)] * count,
        [None] * count,
        [torch.zeros(1)] * count,
        list(values),
    )
    heads = values[:2]
    rows = [
        {"image": value, "class": value, "method": method, "head": head}
        for value in values
        for method in values
        for head in heads
    ]
    return explorer.Explored(
        batch,
        classes=values,
        groups={values[0]: list(range(count // 2)), values[1]: list(range(count // 2, count))},
        spreads=torch.ones(count),
        candidates=torch.ones(count),
        searched=count,
        methods=list(values),
        pairs=Pairs(every, every, every * 0),
        masks={head: torch.rand(count, count, size, size) for head in heads},
        blanks={head: torch.zeros(3) for head in heads},
        table=pd.DataFrame(rows).assign(**dict.fromkeys(chain(*explorer_page.METRICS.values()), 0.5)),
    )
