"""The first page: its pictures are what `explain` gives, its numbers what stored results say, the README's too."""

import csv
import json
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import stats

from cam_utils import files
from tests.conftest import ROOT
from workflow.site import landing, landing_picture
from workflow.site import landing_findings as evidence

RESULTS = ROOT / "data" / "results"
PHOTO = ROOT / "data" / "photos" / "images" / f"{landing_picture.PHOTO}.jpg"
NUMBER = re.compile(r"[-+]\d+\.\d+")


@pytest.fixture(scope="module")
def explained():
    return landing_picture.explained()


@pytest.fixture(scope="module")
def found():
    return evidence.of_project()


@pytest.fixture(scope="module")
def shown(found):
    """Each finding's rows on photographs."""
    return {name: each.photographs(found) for name, each in landing.FINDINGS.items()}


def test_the_pictures_are_the_photograph_under_the_maps_of_explain(explained, tmp_path):
    rows = pd.read_csv(landing_picture.FOLDER / landing_picture.SHARES)
    photo, colours = np.asarray(Image.open(PHOTO).convert("RGB"), float), matplotlib.colormaps["magma"]
    for row in rows.to_dict("records"):
        (one,) = [each for each in explained[row["method"]] if each.name == row["label"]]
        wanted = 0.5 * photo + 0.5 * 255 * colours(one.map.numpy())[..., :3]
        drawn = np.asarray(Image.open(landing_picture.FOLDER / row["file"]), float)
        assert drawn.shape == wanted.shape and np.abs(drawn - wanted).mean() < 2.5, row["file"]
    stored = sorted(file.name for file in landing_picture.FOLDER.iterdir())
    assert stored == sorted([*rows["file"], landing_picture.SHARES]) and len(set(rows["file"])) == 4
    assert sum(file.stat().st_size for file in landing_picture.FOLDER.iterdir()) < 200_000
    again = landing_picture.write(explained, tmp_path)
    assert sorted(file.name for file in again) == sorted(rows["file"])


def test_the_shares_are_those_of_the_annotated_objects(explained):
    coco = COCO(ROOT / "data" / "photos" / "instances.json")
    each = coco.loadAnns(coco.getAnnIds([int(landing_picture.PHOTO)]))
    names = {one["id"]: coco.cats[one["category_id"]]["name"] for one in each}
    masks = {
        name: sum(coco.annToMask(one) for one in each if names[one["id"]] == name) > 0 for name in names.values()
    }
    rows = pd.read_csv(landing_picture.FOLDER / landing_picture.SHARES)
    assert len(rows) == 4
    for row in rows.to_dict("records"):
        (one,) = [each for each in explained[row["method"]] if each.name == row["label"]]
        own, other = ("remote", "cat") if row["label"] == "remote control" else ("cat", "remote")
        share = {name: float(one.map.numpy()[masks[name]].sum() / one.map.numpy().sum()) for name in (own, other)}
        assert (row["own"], row["other"]) == pytest.approx((share[own], share[other]), abs=0.01)
        assert row["p"] == pytest.approx(one.probability, abs=1e-3)
    text = landing.picture_part(rows)
    for row in rows.to_dict("records"):
        assert row["file"] in text and text.count(landing.on_objects(row)) == 2  # shown, and said in its place


def test_the_picture_is_credited():
    with open(ROOT / "data" / "photos" / "CREDITS.csv") as file:
        (row,) = [row for row in csv.DictReader(file) if row["file"] == PHOTO.name]
    for page in ("README.md", "book/intro.md"):
        text = " ".join((ROOT / page).read_text().split())
        assert f"599 of COCO 2017 ({row['licence']}" in text or f"599](photos.md), {row['licence']}" in text, page


def test_effects_are_differences_of_the_stored_means_over_classes(shown):
    for name, metric, other in (
        ("others", "energy_in_others", "area-matched-cam"),
        ("own", "iou_0.3", "area-matched-cam"),
        ("cost", "average_retention", "cam"),
    ):
        runs = sorted((RESULTS / "runs").glob("photographs-*"))
        ours = [_difference(pd.read_parquet(run / "pairs.parquet"), metric, other) for run in runs]
        assert [row.value for row in shown[name]] == pytest.approx(ours, abs=0.005), name
        assert len(runs) == 5


def _difference(table, metric, other):
    """Return 100 (MinMax-CAM - other) by plain pandas: a mean over classes with ten images, of all seeds."""
    table = table[table["head"].astype(str) == "linear"]
    table = table[np.isclose(table["rate"], table["rate"].min())]  # 0.1, of fine-tuned networks their only rate
    table = table.astype({"method": str})
    labels = table[table["is_annotated"]].groupby("image_index")["label"].nunique()
    table = table[table["image_index"].isin(labels.index[labels > 1])]
    pixels = metric.startswith(("energy", "iou"))
    table = table[table["in_annotated" if pixels else "in_predicted"]]
    if metric.endswith("others"):
        table = table[table["set_size"] > 1]
    count = table.groupby("label")["image_index"].nunique()
    table = table[table["label"].isin(count.index[count >= 10]) & table["method"].isin(["minmax-cam", other])]
    wide = table.pivot_table(
        index=["seed", "image_index", "label"], columns="method", values=metric, dropna=False
    ).dropna()
    means = wide.groupby("label").mean().mean()
    return 100 * (means["minmax-cam"] - means[other])


def test_the_others_are_those_of_their_stored_tables(shown):
    every = pd.read_parquet(RESULTS / "comparison_photographs.parquet").astype({"method": str})
    every = every[every["upsample_first"] & every["in_annotated"]]
    real = every[~every["method"].isin(["centre", "everywhere", "dot", "mean activation"])]
    drops = real.groupby("method")["average_drop"].mean()
    everywhere = every.loc[every["method"] == "everywhere", "average_drop"].mean()
    assert shown["everywhere"][0].value == pytest.approx(100 * (everywhere - drops.min()), abs=0.01)
    # Methods that are one on this network count once.
    twins = {"grad-cam", "hirescam", "xgrad-cam", "minmax-grad-cam", "d-minmax-grad-cam"}
    means = real[~real["method"].isin(twins)].groupby("method")[["average_drop_others", "iou_0.3"]].mean()
    assert shown["agree"][0].value == pytest.approx(stats.spearmanr(*means.to_numpy().T).statistic, abs=1e-6)
    heads = pd.read_csv(RESULTS / "sanity_photographs.csv")
    heads = heads[(heads["stage"] == "head") & ~heads["method"].isin(["gaussian", "sobel"])]
    kept = {
        measure: (heads[measure] - heads[f"{measure} null"]).groupby(heads["method"]).mean()
        for measure in ("spearman", "ssim", "hog")
    }
    most = pd.DataFrame(kept).max(axis=1)
    assert sorted(row.value for row in shown["head"]) == pytest.approx(sorted(most), abs=1e-6) and len(most) == 16
    readings = [("SS-CAM", 0), ("authors-2020-06", 0), ("authors-2020-08", 0)]
    assert len(shown["smooth"]) == len(readings) and len(shown["few"]) == 4


def test_verdicts_and_texts_follow_from_the_intervals(shown):
    signs = {"others": -1, "own": 1, "cost": -1, "few": 1, "smooth": -1, "everywhere": -1, "agree": 1}
    for name, sign in signs.items():
        for row in shown[name]:
            assert row.low <= row.value <= row.high
            if row.verdict != "undecided":  # seeds and corrections may leave undecided what an interval does not
                assert {
                    "holds": min(sign * row.low, sign * row.high) > 0,
                    "fails": max(sign * row.low, sign * row.high) < 0,
                }[row.verdict]
    for name, rows in shown.items():
        text = evidence.text(rows, 3)
        ends = [
            min(r.value for r in rows),
            max(r.value for r in rows),
            min(r.low for r in rows),
            max(r.high for r in rows),
        ]
        assert [float(n) for n in NUMBER.findall(text)] == pytest.approx(ends[len(rows) == 1 :], abs=6e-4), name


def test_digits_are_the_rows_of_the_committed_ledger(found):
    ledger = pd.read_csv(RESULTS / "claims.csv")
    for name, claim, part in (
        ("others", "C5''", "MinMax has lower energy in others than area-matched CAM"),
        ("own", "C5''", "MinMax has higher IoU at 0.3 than area-matched CAM"),
        ("cost", "C4", "MinMax has lower %AR than CAM"),
        ("few", "R5", "S-1+F beats the baseline"),
    ):
        rows = ledger[(ledger["claim"] == claim) & (ledger["part"] == part)]
        first = rows[~rows["setting"].str.contains("independent|kernel-usage")].iloc[0]
        (row,) = landing.FINDINGS[name].drawn(found)
        assert tuple(row) == (first["value"], first["low"], first["high"], first["verdict"])
    assert len(landing.FINDINGS["smooth"].drawn(found)) == 3


def test_the_page_says_what_has_not_been_measured(tmp_path):
    nothing = evidence.Evidence(tmp_path, [], pd.read_csv(RESULTS / "claims.csv").iloc[:0])
    part = landing.findings_part(nothing)
    assert part.count("not run") == 2 * len(landing.FINDINGS) == 16 and not NUMBER.search(re.sub("<.*?>", "", part))


def test_every_finding_names_its_evidence(found, shown):
    part = landing.findings_part(found)
    pages = {file.removesuffix(".ipynb").removesuffix(".md") for file in _listed()}
    for name, finding in landing.FINDINGS.items():
        assert finding.page[0] in pages
        number = evidence.text(shown[name], finding.digits)
        assert finding.claim.replace("'", "&#39;") in part and NUMBER.findall(number)[0] in part


def _listed():
    return [f"book/{file.name}" for file in (ROOT / "book").glob("*.md")] + [
        f"notebooks/{file.name}" for file in (ROOT / "notebooks").glob("*.ipynb")
    ]


def test_a_default_run_fills_the_digits_of_the_chapters_without_claims(tmp_path):
    """The stored photographs, given as if they were the chapter's own run, must give the same rows."""
    run = tmp_path / "comparison"
    run.mkdir()
    pd.read_parquet(RESULTS / "comparison_photographs.parquet").to_parquet(run / "pairs.parquet")
    (run / "run.json").write_text(json.dumps({"chapter": "comparison", "parameters": {}}))
    from cam_utils.runs import Run

    found = evidence.Evidence(ROOT, [Run(run, json.loads((run / "run.json").read_text()))], pd.DataFrame())
    for name in ("everywhere", "agree"):
        finding = landing.FINDINGS[name]
        assert finding.drawn(found) == finding.photographs(found) != []
    assert landing.FINDINGS["head"].drawn(found) == []


def test_the_readme_shows_the_findings_of_the_stored_results(found):
    text = (ROOT / "README.md").read_text()
    assert landing.README.findall(text) == [landing.readme_part(found)]
    first = "\n".join(text.splitlines()[:15])
    assert first.count("assets/landing/") == 2 and first.count("](book/") == 5 and first.count("- **") == 4
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert files.DATA.parent.joinpath(link).exists(), link
