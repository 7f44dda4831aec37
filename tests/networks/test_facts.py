"""The table of facts against the networks themselves, torchvision's own counts, and the papers' tables."""

import pandas as pd
import pytest
import torch
import torchvision

from cam_utils import files
from cam_utils.networks import models
from cam_utils.networks.facts import NETWORKS


def test_every_network_is_in_the_table():
    assert {*models.NAMES, *models.ACOL, *models.PRETRAINED} == set(NETWORKS)


@pytest.mark.parametrize("name", [*models.NAMES, *models.ACOL])
def test_sizes_are_those_of_the_built_network(name):
    with torch.device("meta"):  # shapes without values
        features = models.build(name, 3).features.eval()
        channels = features(torch.zeros(1, 3, 96, 96)).shape[1]
    count = sum(parameter.numel() for parameter in features.parameters())
    assert (count / 1e6, channels) == (pytest.approx(NETWORKS[name].millions, abs=0.06), NETWORKS[name].channels)


def test_costs_are_torchvisions_own_counts():
    for name in {*NETWORKS} - {"acol-vgg19", "vgg16-gap", "cbam_resnet50"}:  # as vgg19, vgg16 and resnet50
        if not name.startswith(("digits", "efficientnet_lite")):  # timm has no table of costs
            weights = torchvision.models.get_model_weights(name).DEFAULT
            expected = weights.meta["_ops"] * (224 / weights.transforms().crop_size[0]) ** 2
            assert NETWORKS[name].gmacs == pytest.approx(expected, rel=0.05), name


def test_names_in_the_papers_are_found_there():
    tables = map(pd.read_csv, sorted((files.DATA / "paper_tables").glob("*.csv")))
    found = {name for table in tables if "architecture" in table for name in table["architecture"]}
    assert {name for facts in NETWORKS.values() for name in facts.papers} <= found
