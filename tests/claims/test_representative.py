"""Verdicts on hand-made runs of representative-class CAM: the chapter's, and those of its study of photographs."""

import numpy as np
import pandas as pd
import pytest

from cam_utils import claims, runs
from cam_utils.claims import representative
from cam_utils.claims.photographs import LEAST_IMAGES
from cam_utils.evaluation import miou
from tests.claims.chapter_runs import verdicts, write

RULES = {
    "Baseline": 50, "Baseline+A": 60, "Random+F": 40, "Random+A+F": 55, "S-1+F": 52, "S-1+A+F": 54, "All+F": 50,
    "Rank-a+A+F": 58, "Rank-b+A+F": 53, "S-2+A+F": 50, "S-3+A+F": 50, "S-4+A+F": 50, "vs a": 30, "vs b": 70,
}  # fmt: skip
MIN, RELU = "min-max, as its authors' code", "ReLU and maximum"


def counted(hits, n=24, classes="ab"):
    """Return a table of pixel counts: every method's maps have these hits out of 100 true pixels, up to 2 more."""
    rows = [
        {"image_index": i, "image": str(i), "label": c, "class": name, "method": method, "truth": 100,
         "area_0.15": 100, "hit_0.15": hit + i % 3}
        for i in range(n) for c, name in enumerate(classes) for method, hit in hits.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def run_of(folder, table, facts=None, **changed):
    """Return a run of the chapter."""
    given = {"dataset": "digits", "architecture": "digits", "seed": 0, "threshold": 0.15, "split": "val"}
    return write(folder, "representative_cam", given | {"finetune": "heads"} | changed, facts, pairs=table)


def study(folder, table, selections=None, complements=None, **changed):
    """Return a run of the study of photographs: counts as it stores them, single pairs in a file of their own."""
    given = {"dataset": "voc2012", "architecture": "efficientnet_lite0", "threshold": 0.15, "split": "val"}
    words = ["image", "class", "method"]
    table = table.astype(dict.fromkeys(words, "category") | dict.fromkeys(["truth", "area_0.15"], "uint16"))
    single = table["method"].str.startswith("vs ")
    tables = {"pairs": table[~single], "single": table[single]}
    if complements is not None:
        tables["complements"] = complements
    facts = {"selections": selections or {}}
    return write(
        folder, "representative_photographs", given | {"finetune": "heads"} | changed, facts, **tables
    )  # fmt: skip


def rows_of(judged, claim):
    return judged[judged["claim"] == claim].set_index("part")


def test_rules_are_compared_by_their_miou(tmp_path):
    judged = claims.judge([run_of(tmp_path / "a", counted(RULES))])
    assert verdicts(judged, "R4") == {"A helps Random+F": "holds", "A helps S-1+F": "holds"}
    assert verdicts(judged, "R4'") == {"A helps the baseline as well": "holds"}
    assert verdicts(judged, "R5") == {"Random+F beats the baseline": "fails", "S-1+F beats the baseline": "holds"}
    assert verdicts(judged, "R6") == {"S-1+A+F is the best rule": "fails"}
    assert list(verdicts(judged, "R7").values()) == ["fails"]
    assert list(verdicts(judged, "R1").values()) == ["holds"]
    found = rows_of(judged, "R3").loc["most single pairs beat Grad-CAM"]
    assert (found["verdict"], found["value"], found["reason"]) == ("undecided", 50, "of 4 pairs")
    assert set(judged.loc[judged["claim"].isin(["R8", "R10", "R11"]), "verdict"]) == {"not run"}
    expected = miou.differences(counted(RULES), [("S-1+A+F", "Baseline")]).iloc[0]
    found = judged[judged["part"] == "S-1+A+F beats the baseline"].iloc[0]
    np.testing.assert_allclose([found["value"], found["low"]], [100 * expected["value"], 100 * expected["low"]])


def test_the_best_of_several_is_chosen_on_the_images_that_do_not_judge_it(tmp_path):
    """Every method is the best on even images by its noise alone: on the others it has nothing to show."""
    lucky = {"Rank-a+A+F": 90, "vs a": 90, "vs b": 10}
    table = counted(RULES | {"S-1+A+F": 60, "Rank-b+A+F": 55, "Rank-a+A+F": 40, "All+F": 50})
    even = table["image_index"] % 2 == 0
    for name, hit in lucky.items():
        table.loc[even & (table["method"] == name), "hit_0.15"] = hit
    for name in ("vs a", "vs b"):
        table.loc[~even & (table["method"] == name), "hit_0.15"] = {"vs a": 20, "vs b": 80}[name]
    judged = claims.judge([run_of(tmp_path / "a", table)])
    best = rows_of(judged, "R6").loc["S-1+A+F is the best rule"]
    assert best["verdict"] == "holds" and best["reason"].endswith("Rank-a+A+F") and best["n_images"] == 12
    # Odd images have 60 and 40 hits, and up to 2 more, alike: their IoU is hits / (200 - hits).
    hits = np.array([i % 3 for i in range(1, 24, 2)])
    iou = [(hits + h).sum() / (200 * 12 - (hits + h).sum()) for h in (60, 40)]
    assert best["value"] == pytest.approx(100 * (iou[0] - iou[1]))
    spread = rows_of(judged, "R1").loc["the map depends on the comparison class: best against worst"]
    assert spread["value"] == pytest.approx(100 * (20 / 180 - 80 / 120))
    assert verdicts(judged, "R2")["the best comparison alone is better than All"] == "fails"


def test_rules_that_choose_the_same_are_one_experiment(tmp_path):
    hits = {f"{rule}{step}": 50 for rule in ("S-1", "S-2", "S-3", "S-4", "Rank-a") for step in ("+F", "+A+F")}
    chosen = {"S-1": [[1, 2], [0, 2]], "S-2": [[2, 1], [2, 0]], "S-3": [[3], [0]], "S-4": [[3], [1]]}
    judged = claims.judge([run_of(tmp_path / "a", counted(hits), {"selections": chosen})])
    found = rows_of(judged, "R4")["reason"]
    assert found.to_dict() == {
        "A helps Rank-a+F": "", "A helps S-1+F": "S-2: the same choice", "A helps S-3+F": "", "A helps S-4+F": "",
    }  # fmt: skip
    two = {name: hit for name, hit in hits.items() if name.startswith(("S-1", "S-2"))}
    alone = claims.judge([run_of(tmp_path / "b", counted(two), {"selections": chosen})])
    assert set(rows_of(alone, "R6")["verdict"]) == {"not run"}, "S-1 is no better than itself"


def test_networks_are_compared_across_runs(tmp_path):
    options = {"dataset": "coco2017", "weights": "imagenet"}
    small = run_of(tmp_path / "small", counted(RULES), architecture="resnet18", **options)
    fewer = counted(RULES | {"Baseline": 45, "Rank-a+A+F": 50, "Rank-b+A+F": 50})
    large = run_of(tmp_path / "large", fewer, architecture="resnet101", **options)
    other = run_of(tmp_path / "other", counted(RULES), architecture="resnet152", dataset="voc2012")
    judged = claims.judge([large, other, small])
    assert verdicts(judged, "R11") == {"the baseline of resnet101 beats that of resnet18": "fails"}
    assert set(verdicts(judged, "R8").values()) == {"holds"} and len(verdicts(judged, "R8")) == 2
    assert judged.loc[judged["claim"] == "R8", "network"].eq("resnet18, resnet101").all()
    assert judged.loc[judged["claim"] == "R8", "n_images"].eq(12).all(), "those of odd index"
    assert judged.loc[judged["claim"] == "R10", "dataset"].eq("coco2017").all()
    assert set(claims.judge([small])[lambda t: t["claim"].isin(["R8", "R11"])]["verdict"]) == {"not run"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # The chapter's, before and after it has both, and the study's; CAM has 60, ACoL 56 or 50, CBAM 70.
        ({"CAM": 60, "ACoL": 50}, {f"CAM ({RELU})": "fails", f"ACoL ({MIN})": "holds"}),
        (
            {"CAM": 60, "CAM, min-max": 40, "ACoL": 50, "ACoL, relu-max": 56},
            {f"CAM ({RELU})": "fails", f"CAM ({MIN})": "holds", f"ACoL ({MIN})": "holds",
             f"ACoL ({RELU})": "fails"},
        ),
        ({"CAM, relu-max": 60, "CAM, min-max": 40}, {f"CAM ({RELU})": "fails", f"CAM ({MIN})": "holds"}),
    ],
)  # fmt: skip
def test_cam_and_acol_are_beaten_under_a_named_normalisation(names, expected, tmp_path):
    judged = claims.judge([run_of(tmp_path / "a", counted({"S-1+A+F": 54, "CBAM": 70} | names))])
    found = verdicts(judged, "R9")
    own = {part.removeprefix("S-1+A+F beats "): v for part, v in found.items() if part.startswith("S-1")}
    assert own == expected | {"CBAM": "fails"}
    both = {part: verdict for part, verdict in found.items() if part.startswith("CAM")}
    assert both[f"CAM beats CBAM (both: {RELU})"] == "fails"
    wanted = {f"CAM beats ACoL (both: {MIN})": "fails", f"CAM beats ACoL (both: {RELU})": "holds"}
    compared = wanted if len(names) == 4 else {}
    assert {part: v for part, v in both.items() if "ACoL" in part} == compared, "no min-max beside ReLU"


def test_a_run_of_the_study_is_a_setting_with_its_single_pairs(tmp_path):
    run = study(tmp_path / "a", counted(RULES))
    (setting,) = representative.photograph_settings([run])
    assert setting.scenes == "voc2012 val, heads on photographs" and setting.network == "efficientnet_lite0"
    assert set(setting.found) == set(RULES)
    judged = claims.judge([run])
    theirs = claims.judge([run_of(tmp_path / "b", counted(RULES))])
    own, chapters = (t[t["claim"].str.startswith("R")].reset_index(drop=True) for t in (judged, theirs))
    pd.testing.assert_frame_equal(*(t[["claim", "part", "value", "low", "verdict"]] for t in (own, chapters)))
    assert set(own.loc[own["verdict"] != "not run", "setting"]) == {"voc2012 val, heads on photographs"}
    assert own["n_seeds"].isna().all(), "heads that are convex optima have no seeds"


def test_rare_classes_are_in_no_mean_of_a_run_of_the_study(tmp_path):
    rare = counted({"Baseline": 0, "S-1+F": 100, "vs a": 100}, LEAST_IMAGES - 1, "abc")
    rare = rare[rare["class"] == "c"]
    unexplained = counted({"Baseline": 0, "vs a": 90}, classes="abcd")  # by S-1, which has too few pairs for it
    unexplained = unexplained[unexplained["class"] == "d"]
    common = counted({"Baseline": 50, "S-1+F": 40, "vs a": 60, "vs b": 30})
    judged = [
        rows_of(claims.judge([study(tmp_path / name, pd.concat(tables))]), "R5")
        for name, tables in (("a", [common]), ("b", [common, rare, unexplained]))
    ]
    part, ends = "S-1+F beats the baseline", ["value", "low", "high"]
    assert judged[0].loc[part, ends].tolist() == pytest.approx(judged[1].loc[part, ends].tolist())
    assert judged[1].loc[part, "verdict"] == "fails"
    few = study(tmp_path / "few", counted(RULES, LEAST_IMAGES - 1))
    assert representative.photograph_settings([few]) == []


def test_thresholds_are_chosen_on_the_other_half_where_a_run_has_several(tmp_path):
    """At T the pairs are ahead; but each at its own threshold, the baseline is."""
    table = counted({"S-1+F": 50, "Baseline": 40, "vs a": 30})
    table["area_0.3"], table["hit_0.3"] = 100, table["method"].map({"S-1+F": 60, "Baseline": 80, "vs a": 0})
    part = "the selected pairs beat the baseline, each at a threshold chosen on the other half"
    run = study(tmp_path / "a", table)
    single = pd.read_parquet(run.folder / "single.parquet").drop(columns=["area_0.3", "hit_0.3"])
    runs.save(run.folder / "single.parquet", single)
    run = run._replace(record={name: value for name, value in run.record.items() if name not in ("seal", "files")})
    judged = claims.judge([run])
    found = rows_of(judged, "R9'").loc[part]
    assert found["verdict"] == "fails" and found["n_images"] == 24
    assert found["value"] == pytest.approx(100 * (60 / 140 - 80 / 120))
    assert verdicts(judged, "R5")["S-1+F beats the baseline"] == "holds"
    without = claims.judge([study(tmp_path / "b", counted({"S-1+F": 50, "Baseline": 40}))])
    assert part not in verdicts(without, "R9'")


def test_what_the_union_of_masks_finds_is_a_mean_over_classes(tmp_path):
    """Class a is in 24 images and b in 12 of them; c, in 2 images, is in no mean."""
    rows = []
    for image in range(24):
        for label in [0, 1][: 1 + (image < 12)] + [2] * (image < 2):
            for rule, more in (("S-1", 0.1), ("Random 0", 0.0), ("Random 1", 0.3), ("All", 0.9)):
                off = {0: more, 1: 0.5 * more, 2: -0.4}[label]
                rows.append({"image_index": image, "label": label, "class": "abc"[label], "rule": rule,
                             "union": 0.5 + off, "whole_at_area": 0.5, "best_at_area": 0.55})  # fmt: skip
    complements = pd.DataFrame(rows).astype(dict.fromkeys(["class", "rule"], "category"))
    complements = complements.astype(dict.fromkeys(["union", "whole_at_area", "best_at_area"], "float32"))
    judged = claims.judge([study(tmp_path / "a", counted(RULES), complements=complements)])
    found = rows_of(judged, "R5'")
    assert found["value"].tolist() == pytest.approx([7.5, 2.5, 7.5 - (0 + 22.5) / 2], abs=1e-4)
    assert found["verdict"].tolist() == ["holds", "holds", "fails"] and set(found["n_images"]) == {24}
    assert "R5'" not in set(claims.judge([study(tmp_path / "b", counted(RULES))])["claim"])
