"""The study of forgetting networks on photographs: heads that share forwards, a cascade, and its stored table."""

import json

import pandas as pd
import pytest
import torch

from cam_utils import files
from cam_utils.evaluation import sanity, sanity_rule
from cam_utils.networks import models
from cam_utils.pairs import Pairs
from workflow.studies import sanity_photographs as study

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def model():
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return sanity.randomised(models.pretrained(study.NETWORK, None), ["net"], seed=0, statistics=images)


def test_heads_that_share_forwards_give_score_cam_of_each(model, monkeypatch):
    other = sanity.randomised(model, study.STAGES["head"], seed=1)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    both = study.score_cams([model, other], image, 7)
    pair = Pairs(torch.tensor([0]), torch.tensor([7]), torch.tensor([0]))
    for found, net in zip(both, (model, other), strict=True):
        expected = sanity.masks_of(["score-cam"], net, image, pair, activation="softmax")["score-cam"][0]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_cascade_ends_where_nothing_is_left_and_starts_at_the_head(model):
    images = torch.randn(2, 3, 64, 64)
    made = {(stage, draw): make for stage, draw, make in study.networks(model, images)}
    assert {draw for stage, draw in made if stage == "head"} == set(range(study.MORE_DRAWS))
    before = dict(model.named_parameters())

    def drawn(net):
        return {n for n, p in net.named_parameters() if p.dim() > 1 and not torch.equal(p, before[n])}

    assert drawn(made["head", 0]()) == {"net.classifier.weight"}
    assert drawn(made["all", 1]()) == {n for n, p in before.items() if p.dim() > 1}


def test_the_stored_table_is_of_the_recorded_run():
    table = pd.read_csv(files.data_file("results", "sanity_photographs.csv"))
    record = json.loads(files.data_file("results", "sanity_photographs.json").read_text())
    assert len(record["images"]) == table["image_index"].nunique() >= sanity_rule.FEWEST
    assert {"command", "git", "versions", "dataset", "weights", "wall_s"} <= record.keys()
    assert set(table["stage"]) == {sanity.TRAINED, sanity.OTHER, *study.STAGES}
    assert set(study.CHEAP) | set(study.SLOW) <= set(table["method"])
    own = table[table["stage"] == sanity.TRAINED]
    assert (own[["spearman", "ssim", "hog"]].round(3) == 1).all(axis=None), "a map is like itself"
    for stage in (*study.STAGES, sanity.OTHER):
        said = sanity_rule.overall(sanity_rule.judge(table, stage)).set_index("method")["verdict"]
        assert (said[list(sanity.CONTROLS)] == "fails").all(), "the rule rejects what does not use the network"
