"""Small finished runs for tests: a chapter's committed notebook, a record, means and a pairs table."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from cam_utils.evaluation import results

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("grad-cam", "grad-cam++", "score-cam", "printed")


def write(root: Path, name: str, chapter: str = "ss_cam", images: int = 24, **changed: object) -> Path:
    """Write the folder of a run whose parameters differ from the chapter's as `changed` says."""
    folder = root / name
    folder.mkdir(parents=True)
    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
    place = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
    defaults: dict = {}
    exec(notebook.cells[place].source, defaults)
    given = "\n".join(["# Parameters", *(f"{key} = {value!r}" for key, value in changed.items())])
    cell = nbformat.v4.new_code_cell(given, id="injected-parameters", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(place + 1, cell)
    nbformat.write(notebook, folder / "notebook.ipynb")
    parameters = {k: v for k, v in defaults.items() if k != "__builtins__"} | changed
    pairs(images, seed=len(name)).to_parquet(folder / "pairs.parquet")
    means(chapter, images).to_csv(folder / "means.csv", index=False)
    record = {
        "chapter": chapter,
        "parameters": parameters,
        "git": "3c2bfa9fcf231f0e",
        "dirty": True,
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "device": "cpu, 2 cores",
        "wall_s": 1564.9,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def means(chapter: str, images: int) -> pd.DataFrame:
    """Return one mean per method and metric of a published table, some below the paper's and some above."""
    name = {"minmax_cam": "minmax_table1", "ss_cam": "sscam_table1"}[chapter]
    found = results.paper_table(name).groupby(["method", "metric"], sort=False)["value"].mean().reset_index()
    value = found["value"] + np.linspace(-20, 20, len(found))
    facts = {"table": name, "setting": "one <digit>", "n_images": images, "n_pairs": 2 * images}
    return found.assign(value=value, low=value - 1, high=value + 1, **facts)


def pairs(images: int, seed: int) -> pd.DataFrame:
    """Return a pairs table in which SS-CAM as printed clearly has the highest average drop, so that S1 fails."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "image_index": image,
            "label": 0,
            "method": method,
            "set_size": 1,
            "in_predicted": True,
            "in_annotated": True,
            "is_annotated": True,
            "average_drop": rng.uniform(0, 0.1) + 0.5 * (method == "printed"),
            "increase_in_confidence": float(rng.integers(2)),
            "energy_in_box": rng.uniform(),
            "is_zero": False,
        }
        for image in range(images)
        for method in METHODS
    ]
    return pd.DataFrame(rows)
