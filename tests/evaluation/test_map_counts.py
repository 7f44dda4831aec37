"""The table of pixel counts: over batches and after a kill, with ignored pixels and classes outside the choice."""

import copy

import pytest
import torch
from torch.utils.data import Dataset

from cam_utils import data
from cam_utils.evaluation import map_counts
from cam_utils.networks import models
from cam_utils.representative.fusion import Recipe
from cam_utils.representative.sources import DirectSource, HeadSource

RECIPES = [Recipe("x")]
ONES = DirectSource(lambda x, pairs: torch.ones(len(pairs), *x.shape[-2:]), "ones")
EVERY = [[j for j in range(10) if j != c] for c in range(10)]


class Listed(Dataset):
    """Scenes of digits as they are given."""

    name, classes = "digits", tuple("0123456789")

    def __init__(self, scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]

    def fingerprint(self):
        return str(len(self))


@pytest.fixture(scope="module")
def heads():
    model = models.build("digits", 10, seed=1).eval()
    weights = torch.randn(10, 10, 64, generator=torch.Generator().manual_seed(3))
    return HeadSource(model, [model.features], weights), model.preprocess


def counted(source, dataset, recipes=RECIPES, preprocess=lambda x: x, **options):
    return map_counts.evaluate_maps(
        source, dataset, recipes, preprocess=preprocess, thresholds=(0.5,), progress=False, **options
    )


def test_rows_name_their_own_image_whatever_the_batches(heads):
    scenes = data.load("digits", "val", n=7)
    whole, parts = (counted(heads[0], scenes, [Recipe("All", EVERY)], heads[1], batch_size=n) for n in (7, 3))
    assert [scenes.ids[i] for i in parts["image_index"]] == parts["image"].tolist()
    keys, facts = ["image_index", "label"], ["image_index", "label", "class", "truth", "image"]
    assert parts[facts].sort_values(keys).values.tolist() == whole[facts].sort_values(keys).values.tolist()
    for i, label, true in parts.loc[parts["label"] >= 0, ["image_index", "label", "truth"]].to_numpy():
        scene = scenes[i]
        assert true == int(scene.masks[scene.objects == label].any(0).sum())


def test_an_ignored_pixel_and_a_class_outside_the_choice_count_nowhere():
    scenes = list(data.load("digits", "val", n=4))
    ignore = torch.zeros(96, 96, dtype=torch.bool)
    ignore[:, :48] = True
    scenes = [scene._replace(ignore=ignore) for scene in scenes]
    chosen = tuple(c for c in Listed.classes if c != str(int(scenes[0].objects[0])))
    truth = map_counts.truths(data.collate(scenes), Listed.classes, chosen)
    assert not truth.valid[:, :, :48].any()
    rows = counted(ONES, Listed(scenes), classes=chosen)
    real = rows[rows["class"] != "background"]
    assert set(real["class"]) <= set(chosen)
    assert (real["area_0.5"] == 96 * 48).all()  # the valid half
    assert real["truth"].tolist() == [int(mask[:, 48:].sum()) for mask in truth.masks]
    assert real["hit_0.5"].tolist() == real["truth"].tolist()


def test_evaluation_resumes_without_a_second_pass(heads, tmp_path):
    source, preprocess = heads
    scenes = data.load("digits", "val", n=7)
    recipes = [Recipe("All", EVERY), Recipe("vs 1", [[1] if c != 1 else [] for c in range(10)])]
    run = {"preprocess": preprocess, "batch_size": 3}
    whole = counted(source, scenes, recipes, **run)
    calls, interrupted = [], copy.copy(source)

    class Killed(Exception):
        pass

    def dies(images, *rest):
        calls.append(len(images))
        if len(calls) == 2:
            raise Killed
        return source.layer_maps(images, *rest)

    interrupted.layer_maps = dies
    with pytest.raises(Killed):
        counted(interrupted, scenes, recipes, folder=tmp_path, **run)
    resumed = counted(interrupted, scenes, recipes, folder=tmp_path, **run)
    assert calls == [3, 3, 3, 1]  # the first part was not made again
    assert resumed.equals(whole)
    explained = resumed[resumed["class"] != "background"].groupby("method")["class"]
    assert set(explained.unique()["All"]) - set(explained.unique()["vs 1"]) == {"1"}  # never against itself
    fewer = counted(source, scenes, recipes[:1], folder=tmp_path, **run)  # other recipes: another evaluation
    assert set(fewer["method"]) == {"All"}


def test_bad_questions_say_what_is_wrong():
    scenes = data.load("digits", "val", n=1, objects=(1.0,))
    for recipes in ([], [Recipe("a"), Recipe("a")]):
        with pytest.raises(ValueError, match="recipes with different names"):
            counted(ONES, scenes, recipes)
    absent = [name for name in scenes.classes if name != scenes.classes[int(scenes.labels[0].argmax())]]
    with pytest.raises(ValueError, match="no annotated pixel of 9 classes in 1 images of digits"):
        counted(ONES, scenes, classes=absent)
