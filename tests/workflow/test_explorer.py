"""What the explorer shows: its scenes by their rule, its numbers and its stored pictures against the evaluation."""

import base64
import io
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils import data, files, plots, runs
from cam_utils.data import Batch
from cam_utils.evaluation.evaluate import evaluate
from cam_utils.pairs import Pairs
from workflow.site import explorer, explorer_page, explorer_pictures, explorer_script

PAGE = "book/explorer.html"
METRICS = {column: metric for group in explorer_page.METRICS.values() for column, metric in group.items()}


@pytest.fixture(scope="module")
def found():
    return explorer.explore()


def decoded(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_the_spread_is_the_range_of_the_energy_in_the_own_object():
    empty = torch.zeros(1, 2, dtype=torch.bool)
    masks = torch.stack([empty.clone(), empty.clone()])
    masks[0, 0, 0], masks[1, 0, 1] = True, True  # label 0 left, label 1 right
    batch = Batch(
        torch.zeros(1, 3, 1, 2), torch.ones(1, 2), [torch.tensor([0, 1])], [torch.zeros(2, 4)], [masks], [None],
        [torch.zeros(2)], ["a"],
    )  # fmt: skip
    pairs = Pairs(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    first = torch.tensor([[[0.9, 0.1]], [[0.0, 0.0]]])  # label 0: 90% inside; label 1: no map, so nothing
    second = torch.tensor([[[0.5, 0.5]], [[0.8, 0.2]]])  # 50%, 20%
    assert explorer.spread([first, second], pairs, batch).tolist() == pytest.approx([(0.4 + 0.2) / 2])


def test_an_outline_encloses_the_region_with_its_hole():
    region = np.zeros((6, 7), bool)
    region[0:5, 1:6] = True  # touches the border
    region[2, 3] = False
    paths = [
        np.array([[float(v) for v in point.split()] for point in path.split("L")])
        for path in explorer_pictures.outline_path(region).strip("MZ").split("ZM")
    ]
    areas = [abs((p[:, 0] * np.roll(p[:, 1], 1) - p[:, 1] * np.roll(p[:, 0], 1)).sum()) / 2 for p in paths]
    assert sorted(areas) == [0.5, 24.5]  # a pixel as a diamond; 25 pixels without half a pixel at each corner
    assert min(p.min() for p in paths) == 0 and max(p[:, 0].max() for p in paths) == 6


def test_the_scenes_follow_the_rule(found):
    counts = [len(group) for group in found.groups.values()]
    assert counts == [explorer.MOST, explorer.TYPICAL] and len(found.batch.ids) == sum(counts)
    assert len({tuple(row.tolist()) for row in found.batch.labels}) == sum(counts)
    assert (found.batch.labels.sum(1) > 1).all()
    most, typical = (found.spreads[group] for group in found.groups.values())
    assert most[0] == found.candidates.max() and (most.diff() <= 0).all()
    far = (typical - found.candidates.median()).abs()
    assert (far.diff() >= 0).all() and far.max() < (most - found.candidates.median()).abs().min()


def test_the_numbers_are_those_of_the_evaluation(found):
    """The scenes among the first 40, evaluated in other batches and read from the stored table."""
    numbers = explorer_page.table(found).set_index(["image", "label", "head", "method"])
    names = {"cam": "CAM", "score-cam": "Score-CAM", "d-minmax-cam": "D-MinMax-CAM"}
    scenes, checked = data.load("digits", "val", limit=40), 0
    for head in found.masks:
        network, path = runs.trained(partial(data.load, "digits"), network="digits", head=head)
        assert path.parent == files.DATA / "checkpoints", "no network is trained for the page"
        rows = evaluate(network, scenes, list(names), explained="annotated", progress=False)
        for row in rows[rows["image"].isin(found.batch.ids)].to_dict("records"):
            shown = numbers.loc[(row["image"], row["class"], head, names[row["method"]])]
            for column, text in zip(METRICS, shown, strict=True):
                if column == "increase_in_confidence":
                    assert text == ("yes" if row[column] else "no")
                else:  # half of the last digit, and the float error of another batch
                    assert float(text.rstrip("%")) == pytest.approx(100 * row[column], abs=0.06)
                checked += 1
    assert checked > 2 * len(names) * 4 * len(METRICS)


def test_the_stored_pictures_give_the_energy_of_the_table(found):
    """Every map of the page, decoded, against the annotated objects: a tile in the wrong place would show."""
    script = explorer_script.scripts(found)["explorer-data.js"]
    stored = json.loads(script.removeprefix("window.CAM_EXPLORER = ").removesuffix(";\n"))
    energies = found.table.set_index(["image", "class", "head", "method"])["energy_in_mask"]
    assert list(stored["scenes"])[: len(found.batch.ids)] == found.batch.ids
    for k, name in enumerate(found.batch.ids):
        scene = stored["scenes"][name]
        photo = decoded(scene["pictures"]["photo"])
        assert np.abs(photo / 255 - found.batch.images[k].permute(1, 2, 0).numpy()).max() < 1 / 255
        for head, sprite in scene["pictures"]["maps"].items():
            tiles = decoded(sprite)[..., 0].reshape(len(scene["labels"]), 96, -1, 96).astype(float)
            for i, label in enumerate(scene["labels"]):
                region = plots.outline(found.batch, k, int(label)).numpy()
                for j, method in enumerate(found.methods):
                    tile = tiles[i, :, j]
                    share = tile[region].sum() / tile.sum()
                    assert share == pytest.approx(energies[name, label, head, method], abs=0.01)


def test_the_explorer_is_small(site, found):
    files = [site / PAGE, *site.glob("_static/explorer*")]
    assert len(files) == 5 + len(found.photographs)
    assert sum(file.stat().st_size for file in files) < 4_000_000
    assert max(file.stat().st_size for file in site.glob("_static/explorer-*-*.js")) < 200_000
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 29_000_000


def test_every_metric_links_to_its_definition(site):
    metrics = (site / "book" / "metrics.html").read_text()
    wanted = {
        heading: re.findall(rf'<section id="{heading}">.*?</section>', metrics, re.S)
        for heading in {metric.heading for metric in METRICS.values()}
    }
    assert all(wanted.values())
    for metric in METRICS.values():
        if metric.wanted and "others" not in metric.title:
            word = {1: "High", -1: "Low"}[metric.wanted]
            assert f"{word} is better" in wanted[metric.heading][0], metric.title
