"""The sum of N maps at T is their mean at T / N: written out on maps of a few pixels."""

import pandas as pd
import pytest
import torch

from cam_utils.evaluation import map_counts, miou, sums
from cam_utils.representative.fusion import fuse


def test_a_sums_mask_is_the_means_at_a_fraction_of_the_threshold():
    maps = torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(0)) / 8
    truth = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    everywhere = torch.ones_like(truth)
    mean, steps = fuse(maps, normalise=()), sums.thresholds(4, 0.15)
    area, hit = map_counts.counts(mean, truth, everywhere, steps)
    names = [f"{kind}_{t:g}" for kind in ("area", "hit") for t in steps]
    counted = pd.DataFrame(torch.cat([area, hit], 1).numpy(), columns=names)
    facts = {"image_index": [0, 1], "label": 0, "class": "a", "truth": truth.flatten(1).sum(1).numpy()}
    table = pd.DataFrame(facts | {"method": "N = 4, nowhere, draw 0", "image": ["x", "y"]}).join(counted)
    found = sums.of_sums(table, 4)
    mask = maps.sum(1) >= 0.15
    assert found["area_sum"].tolist() == mask.flatten(1).sum(1).tolist()
    assert found["hit_sum"].tolist() == (mask & truth).flatten(1).sum(1).tolist()
    drawn = sums.curves(found).set_index("form")["value"]
    for form, own in (("sum", mask), ("mean", maps.mean(1) >= 0.15)):
        assert drawn[form] == pytest.approx(float((own & truth).sum() / (own | truth).sum()))


def test_classes_with_too_few_others_are_left_out_of_every_row():
    others = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0]]
    found = {recipe.name: recipe.selection for recipe in sums.recipes(others, least=2)}
    assert all(chosen[3] == [] for chosen in found.values())
    assert all(len(chosen[0]) == 2 for name, chosen in found.items() if name.startswith("N = 2"))
    assert found["N = all, nowhere, draw 0"][:3] == others[:3]
    assert not any(name.startswith("N = 4") for name in found)  # nobody has four others
    assert {recipe.normalise for recipe in sums.recipes(others)} == set(sums.NORMALISED.values())


def test_the_mean_over_draws_keeps_their_range():
    rows = [
        {"image_index": 0, "label": 0, "class": "a", "image": "x", "method": f"N = 1, pairs, draw {k}", "truth": 4,
         "area_0.15": 4, "hit_0.15": hit, "area_sum": 4, "hit_sum": hit}
        for k, hit in enumerate((4, 0, 4))
    ]  # fmt: skip
    row = sums.curves(pd.DataFrame(rows)).set_index("form").loc["mean"]
    assert [row["value"], row["low"], row["high"]] == pytest.approx([2 / 3, 0, 1])
    assert miou.PAPER_THRESHOLD == 0.15


def test_where_the_fusion_has_its_maximum_the_sum_is_no_row_of_its_own():
    facts = {"image_index": 0, "label": 0, "class": "a", "image": "x", "truth": 4}
    counts = {"area_0.15": 4, "hit_0.15": 2, "area_sum": 8, "hit_sum": 4}
    rows = [facts | counts | {"method": f"N = 4, {where}, draw 0"} for where in sums.NORMALISED]
    found = sums.curves(pd.DataFrame(rows)).groupby("normalised")["form"].apply(set).to_dict()
    assert found == {
        "pairs and fusion": {"mean"}, "fusion": {"mean"}, "pairs": {"mean", "sum"}, "nowhere": {"mean", "sum"},
    }  # fmt: skip
