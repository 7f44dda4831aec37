"""Run chapter 2 on the digits over three seeds, with heads and with one network per pair: part of `make study`.

Each run is the notebook itself with other parameters; this only collects the summaries that it writes, into
data/results/repcam_digits.csv. Runs that are done are not done again. On two cores it takes about an hour, nearly
all of it for the pairs' networks, which are cached.
"""

import json
import time

import pandas as pd

from cam_utils import files, runs
from cam_utils.files import code_fingerprint, fingerprint
from workflow.run_notebook import run

SEEDS = (0, 1, 2)
RUNS = {  # name -> parameters and seeds
    "heads": ({"finetune": "heads"}, SEEDS),
    "full": ({"finetune": "full"}, SEEDS),
    "full, difference": ({"finetune": "full", "pair_score": "difference"}, SEEDS),
    "full, difference, 10 epochs": (
        {"finetune": "full", "pair_score": "difference", "pair_accuracy": 1.0},
        SEEDS[:1],
    ),
}
NOTEBOOK = files.DATA.parent / "notebooks" / "representative_cam.ipynb"
ROWS = {  # of the page's table
    "single": "mean single pair",
    "Random draws+F": "Random+F, ten draws",
    "S-1+F": "S-1+F",
    "All+F": "All",
    "Baseline": "Baseline",
    "S-1+A+F": "S-1+A+F",
    "Baseline+A": "Baseline+A",
    "Random+A+F": "Random+A+F",
    "softmax S-1+F": "S-1+F of softmax rows",
}


def measure(name: str, options: dict, seed: int) -> pd.DataFrame:
    """Return the summary of one run of the chapter, from its folder if it is there."""
    extra = "acol,cbam" if seed == 0 else ""  # their committed networks are of seed 0
    parameters = {"seed": seed, "baselines": extra} | options
    cells = [cell["source"] for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    folder = files.cache() / "study" / f"repcam-{fingerprint(parameters, code_fingerprint(), cells)}"
    if not (folder / "miou.csv").exists():
        run(NOTEBOOK, folder / "chapter.ipynb", parameters | {"output": str(folder)})
    return pd.read_csv(folder / "miou.csv").assign(seed=seed, finetune=name)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mIoU at the paper's threshold and at each method's best: mean over seeds ± half their range."""
    rows = rows[rows["definition"] == "M1"]
    best = rows.groupby(["method", "seed", "finetune"])["value"].max()
    at = rows[(rows["threshold"] - 0.15).abs() < 1e-9].set_index(["method", "seed", "finetune"])["value"]

    def cell(values: pd.Series) -> str:
        spread = f" ± {(values.max() - values.min()) / 2:.1f}" if len(values) > 1 else ""
        return f"{values.mean():.1f}{spread}"

    table = {
        f"{kind}, {where}": {
            name: cell(values.xs(kind, level="finetune").loc[method])
            for method, name in ROWS.items()
            if where == "T = 0.15" or method not in ("single", "Random draws+F")
        }
        for kind in RUNS
        for where, values in (("T = 0.15", at), ("best T", best))
    }
    return pd.DataFrame(table).fillna("").rename_axis("mIoU (M1)").reset_index()


def main() -> None:
    """Run what is missing and write the tables."""
    started, origin = time.time(), runs.provenance()  # the tree's state before this writes into it
    rows = pd.concat(
        [measure(name, options, seed) for name, (options, seeds) in RUNS.items() for seed in seeds],
        ignore_index=True,
    )
    kept = ~rows["method"].str.contains("^vs |ReLU last|^Random [0-9]|^Adding")
    columns = ["finetune", "seed", "method", "definition", "threshold", "value", "low", "high", "n_pairs"]
    target = files.DATA / "results" / "repcam_digits.csv"
    runs.save(target, rows.loc[kept, columns])
    runs.save(target.with_name("repcam_digits_means.csv"), summarise(rows), float_format=None)
    record = {"command": "make study", **origin, "wall_s": round(time.time() - started)}
    files.write_text(target.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
