"""Runs of the studies of chapters 2 and 3: damaged ones are named, the chapter's page shows the others."""

import json
import re

import pandas as pd
import pytest
import yaml

from cam_utils import claims
from cam_utils.runs import read_runs
from tests import poisoned, tiny_book
from tests.conftest import ROOT
from workflow.site import fit_runs, photographs_summary, results_first, results_page, run_pages
from workflow.studies import smoothed_photographs

CHAPTER = "representative_cam"
HITS = {"Baseline": 50, "S-1+F": 40, "S-1+A+F": 45, "Rank-a+A+F": 48}


def counts(classes, methods=HITS, images=12):
    """Return pixel counts of two classes: of 100 true pixels a method's maps hit those of HITS, up to 2 more."""
    rows = [
        {"image_index": i, "label": c, "class": name, "truth": 100, "image": str(i), "method": method,
         "area_0.15": 100, "hit_0.15": hit + i % 3}
        for i in range(images) for c, name in enumerate(classes) for method, hit in methods.items()
    ]  # fmt: skip
    words = dict.fromkeys(["class", "image", "method"], "category")
    return pd.DataFrame(rows).astype(words | dict.fromkeys(["truth", "area_0.15", "hit_0.15"], "uint16"))


def write(root, name="representative-voc2012-efficientnet_lite0", text=None, **changed):
    """Write the folder of a run; with `text` all that is free text is this text."""
    folder = root / name
    folder.mkdir(parents=True)
    classes = [text, f"{text}2"] if text else ["cow", "horse"]
    counts(classes).to_parquet(folder / "pairs.parquet")
    single = {f"vs {name}": hit for name, hit in zip(classes, (30, 60), strict=True)}
    counts(classes, single).to_parquet(folder / "single.parquet")
    summed = counts(classes, {"N = 4, both, draw 0": 40})
    summed.assign(area_sum=200, hit_sum=90).to_parquet(folder / "sums.parquet")
    both = counts(classes, {"S-1": 0, "Random 0": 0}).rename(columns={"method": "rule"})
    both.assign(union=0.8, best_at_area=0.7, whole_at_area=0.9).to_parquet(folder / "complements.parquet")
    where = {"table": "repcam_table2", "setting": text or "sample, heads on frozen features", "metric": "mIoU"}
    rows = [
        where | {"method": method, "value": value, "low": 20.0, "high": 40.0, "n_images": 12, "n_pairs": 24}
        for method, value in (("Baseline", 33.3), ("S-1+F", 25.0))
    ]
    pd.DataFrame(rows).to_csv(folder / "means.csv", index=False)
    facts = {"classes": classes, "selections": {"S-1": [[1], [0]]}, "clusters": {}, "similarity": [[0.0]]}
    (folder / "facts.json").write_text(json.dumps(facts))
    given = {
        "dataset": text or "voc2012", "architecture": text or "efficientnet_lite0", "split": text or "val",
        "finetune": text or "heads", "representatives": 4, "threshold": 0.15, "least": 30, "limit": text,
    }  # fmt: skip
    record = {"chapter": "representative_photographs", "parameters": given | changed, "n_test": 12}
    record |= {"command": text or "python -m workflow.studies.representative_photographs", "wall_s": 60.0}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def edited(name, **changed):
    """Return a damage: the fields of a file in JSON are changed."""

    def edit(folder):
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(known | changed))

    return edit


def without(name, *columns):
    """Return a damage: a table loses columns."""

    def drop(folder):
        pd.read_parquet(folder / name).drop(columns=list(columns)).to_parquet(folder / name)

    return drop


TABLES = ("pairs.parquet", "single.parquet", "sums.parquet", "complements.parquet", "means.csv")
DAMAGES = {
    **{f"no {name}": (lambda f, name=name: (f / name).unlink(), f"{name}: run .* has no {name}")
       for name in (*TABLES, "facts.json")},
    **{f"a cut {name}": (lambda f, name=name: (f / name).write_bytes(b"PAR1"), f"{name}: ") for name in TABLES},
    "no counts at T": (without("single.parquet", "hit_0.15"), "single.parquet: .* missing: hit_0.15"),
    "another T": (edited("run.json", parameters={
        "dataset": "msrc", "architecture": "a", "split": "test", "finetune": "heads", "threshold": 0.3, "least": 3,
    }), "pairs.parquet: .* missing: area_0.3, hit_0.3"),
    "no sums": (without("sums.parquet", "area_sum"), "sums.parquet: .* missing: area_sum"),
    "no union": (without("complements.parquet", "union"), "complements.parquet: .* missing: union"),
    "no rows": (lambda f: counts(["a"]).head(0).to_parquet(f / "single.parquet"), "single.parquet: .*one row"),
    "no parameters": (edited("run.json", parameters={}), "run.json: expected dataset to be of type str"),
    "no size": (edited("run.json", n_test=None), "run.json: expected n_test to be of type int, got None"),
    "selections in a list": (edited("facts.json", selections=[]), "facts.json: expected selections to be of"),
    "words for hits": (
        lambda f: pd.read_parquet(f / "pairs.parquet").astype({"hit_0.15": str}).replace("50", "x").to_parquet(
            f / "pairs.parquet"
        ),
        "the tables that the claims read: ",
    ),
    "an unknown table": (
        lambda f: (f / "means.csv").write_text((f / "means.csv").read_text().replace("_table2", "_table99")),
        "means.csv: .*repcam_table99",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_with_its_file_and_left_out(damage, tmp_path):
    change, said = DAMAGES[damage]
    change(write(tmp_path))
    found, (why,) = fit_runs.read(tmp_path, chapters=[])
    assert found == [] and re.search(said, why) and str(tmp_path) not in why


def test_whole_runs_have_the_chapters_page_and_readable_names(tmp_path):
    write(tmp_path)
    write(tmp_path, "representative-msrc-squeezenet1_0-18", dataset="msrc", architecture="squeezenet1_0", least=6)
    write(tmp_path, "representative_photographs", limit=60)
    runs, wrong = fit_runs.read(tmp_path, chapters=[CHAPTER])
    assert wrong == [] and {run_pages.page_of(run) for run in runs} == {f"notebooks/{CHAPTER}"}
    names = {run.id: run_pages.short_name(run) for run in runs}
    assert names["representative-voc2012-efficientnet_lite0"] == "voc2012, efficientnet_lite0"
    assert names["representative-msrc-squeezenet1_0-18"] == "msrc, squeezenet1_0, classes of 6 images"
    assert names["representative_photographs"].endswith("limit 60")
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert run_pages.add_to_toc(contents, runs) == contents, "no page of their own"


def test_means_stand_beside_the_papers_and_verdicts_beside_the_chapters(tmp_path):
    write(tmp_path)
    runs = read_runs(tmp_path)
    found = results_page.means(runs).set_index("method")
    assert found.loc["Baseline", ["value", "n_images", "seeds"]].tolist() == [33.3, 12, 1]
    assert set(found["setting"]) == {"sample, heads on frozen features"} and set(found["split"]) == {"val"}
    part = results_page.results_part(runs)
    assert f'<a href="../notebooks/{CHAPTER}.html">{runs[0].id}</a>' in part
    assert "Representative-class CAM, Table 2" in part
    ledger = claims.judge(runs)
    own = ledger[ledger["runs"] == runs[0].id].set_index("part")
    assert own.loc["S-1+F beats the baseline", "verdict"] == "fails"
    beyond = own.index.str.endswith("of the object than the baseline's map of the same area")
    assert own.loc[beyond, "value"].item() == pytest.approx(-10)
    first = results_first.first_part(tmp_path, runs, ledger)
    assert photographs_summary.NOTHING in first, "what the page says first is of MinMax-CAM"


def test_the_book_is_built_with_the_runs_and_every_text_is_read_as_text(tmp_path):
    write(tmp_path / "runs")
    write(tmp_path / "runs", "representative-b", text="\n".join(poisoned.VALUES))
    runs, wrong = fit_runs.read(tmp_path / "runs", chapters=[])
    assert wrong == []
    project = tiny_book.write(tmp_path / "project", name=CHAPTER)
    site = tiny_book.site(project, tmp_path / "out", runs)
    assert not (site / "runs").exists()
    for name in ("results", f"claims_{CHAPTER}"):
        page = (site / "book" / f"{name}.html").read_text()
        assert f"../notebooks/{CHAPTER}.html" in page and "boom" in page
        assert not re.search(r"<(img|script|iframe|svg)[^>]*boom|<script>boom", page), name


def smoothed_run(root, name="smoothed-imagenet-squeezenet1_0", text="squeezenet1_0", **changed):
    """Write a run of the study of SS-CAM in which the printed reading has 10 points less AD than Score-CAM."""
    folder = root / name
    folder.mkdir(parents=True)
    rows = [
        {"image_index": i, "label": 0, "class": text, "method": method, "is_zero": False, "is_annotated": True,
         "average_drop": drop, "picture_drop": 0.5, "picture_increase": 0.0, "increase_in_confidence": 0.0,
         "energy_in_mask": drop}
        for i in range(24) for method, drop in (("score-cam", 0.3), ("printed", 0.2), ("plain mean", 0.2))
    ]  # fmt: skip
    for table in ("images", "mosaics"):
        pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet")
    found = smoothed_photographs.means({"images": pd.DataFrame(rows)}, text)
    found.to_csv(folder / "means.csv", index=False)
    (folder / "facts.json").write_text(json.dumps({"top1": 0.7, "weights": "0" * 16}))
    given = {"dataset": "imagenet", "network": text, "seed": 0, "draws": 10, "limit": None}
    record = {"chapter": "smoothed_photographs", "parameters": given | changed, "dataset": "0" * 16, "wall_s": 1.0}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_runs_of_ss_cam_on_photographs_answer_its_claims_on_its_chapters_page(tmp_path):
    smoothed_run(tmp_path)
    runs, wrong = fit_runs.read(tmp_path, chapters=[])
    assert wrong == [] and [run_pages.page_of(run) for run in runs] == ["notebooks/ss_cam"]
    assert run_pages.short_name(runs[0]) == "imagenet, squeezenet1_0"
    ledger = claims.judge(runs)
    own = ledger[ledger["claim"].isin(["S1", "S3'"])].set_index("part")
    assert own.loc["as printed: lower AD than Score-CAM", ["value", "verdict"]].tolist() == [
        pytest.approx(-10),
        "holds",
    ]
    quarter = own.loc["as printed: more energy in its quarter of a mosaic than Score-CAM"]
    assert quarter["verdict"] == "fails"
    found = results_page.means(runs).set_index(["method", "metric"])
    assert found.loc[("SS-CAM", "Average Drop"), "value"] == pytest.approx(20)


@pytest.mark.parametrize("name", ["images.parquet", "mosaics.parquet", "means.csv", "facts.json"])
def test_a_damaged_run_of_ss_cam_is_left_out(name, tmp_path):
    (smoothed_run(tmp_path) / name).unlink()
    found, (why,) = fit_runs.read(tmp_path, chapters=[])
    assert found == [] and re.search(f"{name}: run .* has no {name}", why)
