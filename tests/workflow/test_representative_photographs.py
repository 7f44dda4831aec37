"""The study of representative classes on a few photographs: its parts by hand, its files, and what is done once."""

import json

import pandas as pd
import pytest
import torch

from cam_utils.evaluation import sums
from cam_utils.networks import models
from cam_utils.representative import selection
from workflow.studies import representative_cells as cells
from workflow.studies import representative_photographs as study

PENALTIES = (1.0, 0.01)
COUNT, LEAST = 20, 5  # images of each part, and of a class: of seven classes four have fewer than four others


@pytest.fixture(scope="module")
def place(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAM_UTILS_CACHE", str(folder / "cache"))
        patch.setattr(cells, "PENALTIES", PENALTIES)
        patch.setattr(study, "code_fingerprint", lambda: "code")  # who edits it meanwhile changes no test
        yield shared / "data", folder / "out"


@pytest.fixture(scope="module")
def run(place, squeezenet_weights):
    how = {"limit": COUNT, "least": LEAST, "progress": False}
    return study.run_cell("msrc", "squeezenet1_0", str(squeezenet_weights), *place, **how)


@pytest.fixture(scope="module")
def pairs(run):
    return pd.read_parquet(run / "pairs.parquet")


# Every class has four others but 5, which has three: it has no pair with 0 and 4.
OTHERS = [[1, 2, 3, 4], [0, 2, 3, 4, 5], [0, 1, 3, 4, 5], [0, 1, 2, 4, 5], [0, 1, 2, 3], [1, 2, 3]]


def test_classes_meet_those_that_they_have_a_pair_with():
    assert cells.allowed(torch.tensor([[0, 1], [1, 3]]), 4) == [[1], [0, 3], [], [1]]


def test_a_rule_chooses_among_the_classes_that_a_class_has_a_pair_with():
    """A rule that chooses the last four of its own numbers, whichever class asks; 5 has fewer than four others."""
    found = cells.among(lambda kept: [list(range(len(kept) - 4, len(kept)))] * len(kept), OTHERS)
    assert found == [[1, 2, 3, 4], [2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5], [1, 2, 3, 4], []]
    seen = []
    cells.among(lambda kept: seen.append(kept) or [[]] * len(kept), OTHERS)
    assert seen == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]


def test_every_rule_stays_among_a_classs_pairs_and_leaves_none_out_alone():
    generator = torch.Generator().manual_seed(0)
    b = torch.rand(6, 6, generator=generator)
    chosen, clusters = cells.selections(b, OTHERS)
    assert sorted(c for group in clusters.members for c in group) == list(range(6))
    rules = {"Rank-a", "Rank-b", "S-1", "S-2", "S-3", "S-4", "All", *(f"Random {k}" for k in range(10))}
    assert set(chosen) == rules and chosen["All"] == [*OTHERS[:5], []]
    for rule, picked in chosen.items():
        assert all(set(mine) <= set(others) for mine, others in zip(picked, OTHERS, strict=True)), rule
        assert [bool(mine) for mine in picked] == [True] * 5 + [False], rule
        assert rule[:2] == "S-" or all(len(set(mine)) == len(mine) >= 4 for mine in picked[:5]), rule
    assert sorted(chosen["Rank-a"][0]) == OTHERS[0], "four of four are all"


def test_where_all_classes_meet_the_rules_are_the_librarys_own():
    b = torch.rand(8, 8, generator=torch.Generator().manual_seed(1))
    others = [[s for s in range(8) if s != c] for c in range(8)]
    chosen, clusters = cells.selections(b, others)
    for k in (1, 2, 3, 4):
        assert chosen[f"S-{k}"] == selection.by_cluster(b, clusters, k)
    assert chosen["Rank-a"] == selection.by_rank(b, selection.RANK_A)
    assert chosen["Random 0"] != chosen["Random 1"]


def test_random_classes_are_drawn_from_those_with_enough_others():
    draws = [sums.drawn(OTHERS, 4, seed=100 * k) for k in range(300)]
    assert all(not picked[5] and len(set(picked[1])) == 4 for picked in draws)
    left_out = [({*OTHERS[1]} - {*picked[1]}).pop() for picked in draws]
    counts = [left_out.count(s) for s in OTHERS[1]]
    assert min(counts) > 30 and max(counts) < 90, "each of five is left out in about 60 of 300"


def test_a_sum_of_maps_is_judged_at_a_part_of_the_threshold():
    columns = [f"{kind}_{t}" for kind in ("area", "hit") for t in ("0.0375", "0.05", "0.15")]
    rows = [["N = 4, both, draw 0", 9, 8, 5, 4, 3, 2], ["N = all, both, draw 0", 90, 80, 50, 40, 30, 20]]
    found = sums.of_sums(pd.DataFrame(rows, columns=["method", *columns]), 3)
    assert found.set_index("method").to_dict("index") == {
        "N = 4, both, draw 0": {"area_0.15": 5, "area_sum": 9, "hit_0.15": 2, "hit_sum": 4},
        "N = all, both, draw 0": {"area_0.15": 50, "area_sum": 80, "hit_0.15": 20, "hit_sum": 30},
    }


def test_counts_are_those_of_cams_made_here(run, pairs, place, squeezenet_weights):
    """CAM of the softmax head, normalised, upsampled and thresholded by hand: the first rows of three methods."""
    of = cells.cell("msrc", place[0], least=LEAST, limit=COUNT)
    model = models.build("squeezenet1_0", len(of.classes), head="linear", weights=str(squeezenet_weights)).eval()
    weight = cells.fitted(model, of, progress=False).softmax.weight.detach()
    for method in ("Baseline", "CAM, relu-max", "CAM, min-max"):
        for row in pairs[pairs["method"] == method].head(4).to_dict("records"):
            sample = of.judged[row["image_index"]]
            a = model.features(model.preprocess(sample.image[None])).detach()
            raw = torch.einsum("k,bkhw->bhw", weight[row["label"]], a)
            lowest = raw.min() if method == "CAM, min-max" else 0.0
            made = (raw.clamp(min=lowest) - lowest)[None]
            size = sample.image.shape[-2:]
            if method == "Baseline":  # which divides by the maximum of what it has upsampled
                shown = torch.nn.functional.interpolate(made, size, mode="bilinear")
                shown = shown / shown.max()
            else:
                shown = torch.nn.functional.interpolate(made / made.max(), size, mode="bilinear")
            valid = torch.ones(size, dtype=torch.bool) if sample.ignore is None else ~sample.ignore
            area = int(((shown[0, 0] >= 0.15) & valid).sum())
            assert row["area_0.15"] == pytest.approx(area, abs=20), (method, row["image_index"])


def test_a_run_holds_what_its_readers_expect(run, pairs):
    names = {"pairs", "single", "sums", "complements"}
    assert {f.name for f in run.iterdir()} == {
        *(f"{n}.parquet" for n in names),
        "means.csv",
        "facts.json",
        "run.json",
    }
    record, facts = json.loads((run / "run.json").read_text()), json.loads((run / "facts.json").read_text())
    assert record["chapter"] == "representative_photographs" and record["n_test"] == COUNT
    assert run.name == f"representative-msrc-squeezenet1_0-{len(facts['classes'])}"
    methods, single = set(pairs["method"]), pd.read_parquet(run / "single.parquet")
    assert {"Baseline", "S-1+F", "S-1+A+F", "Random+A+F", "CAM, min-max", "CAM, relu-max", "All+F"} <= methods
    assert single["method"].str.startswith("vs ").all() and not any(m.startswith("vs ") for m in methods)
    for table in (pairs, single):
        assert (table["hit_0.15"] <= table[["area_0.15", "truth"]].min(axis=1)).all()
    assert set(record["parameters"]["penalties"]) == set(PENALTIES)
    explained = {facts["classes"][c] for c, mine in enumerate(facts["selections"]["All"]) if mine}
    assert set(pairs.loc[pairs["method"] == "S-1+F", "class"]) <= explained
    first = pairs[pairs["method"].isin(["Random+F", "Random 0+F"])].drop(columns="method")
    assert first.duplicated(keep=False).all(), "the paper's row is the first draw"
    found = pd.read_parquet(run / "complements.parquet")
    assert set(found["rule"]) == {"S-1", "All", *(f"Random {k}" for k in range(3))}
    assert (found["union"] >= found["best"] - 1e-3).all(), "a union holds its best part"


def test_what_is_done_is_not_done_again(run, place, squeezenet_weights, capsys):
    before = {file: file.stat().st_mtime_ns for file in run.iterdir()}
    how = {"limit": COUNT, "least": LEAST, "progress": False}
    assert study.run_cell("msrc", "squeezenet1_0", str(squeezenet_weights), *place, **how) == run
    assert f"{run.name}: done before" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in run.iterdir()} == before


def test_means_are_of_the_classes_that_are_judged_in_enough_images():
    rows = [
        {"image_index": i, "label": c, "class": "ab"[c], "method": method, "truth": 100, "area_0.15": 100,
         "hit_0.15": hit if c == 0 else 0}
        for c, n in ((0, 10), (1, 9)) for i in range(n) for method, hit in (("Baseline", 50), ("S-1+F", 80))
    ]  # fmt: skip
    found = study.means(study.compact(pd.DataFrame(rows)))
    table2 = found[found["table"] == "repcam_table2"].set_index("method")
    assert table2["value"].to_dict() == pytest.approx({"Baseline": 100 * 50 / 150, "S-1+F": 100 * 80 / 120})
    assert set(found["n_images"]) == {10}
    few = study.means(pd.DataFrame(rows)[lambda t: t["class"] == "b"])
    assert len(few) == 0 and list(few) == list(found)
