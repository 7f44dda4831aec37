"""The explorer's photographs: what is stored against the networks, the library's front door and the annotations."""

import numpy as np
import pytest
import torch
from PIL import Image

from cam_utils import explain, load_model
from cam_utils.methods import controls
from workflow.site import explorer_page, explorer_photographs
from workflow.studies import explorer_photographs as study


@pytest.fixture(scope="module")
def photographs():
    return {each.name: each for each in explorer_photographs.stored()}


@pytest.fixture(scope="module")
def networks():
    return study.networks()


def tile(photograph, label, method):
    """The stored map of a label by a method, in levels of 255."""
    with Image.open(photograph.tiles) as picture:
        whole = np.asarray(picture.convert("L"))
    width, height = photograph.size
    row, column = photograph.labels.index(label), photograph.methods.index(method)
    return whole[row * height : (row + 1) * height, column * width : (column + 1) * width].astype(float)


@pytest.mark.parametrize("method", ["minmax-cam", "grad-cam++", controls.area_matched_cam])
def test_the_maps_are_those_of_explain(photographs, method):
    """The whole way anew: the file of the photograph, the letterbox, the network and the map."""
    shown = photographs["imagenet-000000000599"]
    found = explain(load_model("efficientnet_lite0", "imagenet"), shown.file, shown.labels, method=method)
    name = method if isinstance(method, str) else "area-matched-cam"
    view = next(view for view in study.views() if view.name == shown.name)
    top, left, rows, columns = study.frame(view)
    for each in found:
        expected = 255 * each.mask[top : top + rows, left : left + columns].numpy()
        assert np.abs(tile(shown, each.name, name) - expected).max() < 1.01
        row = shown.table[(shown.table["class"] == each.name) & (shown.table["method"] == name)]
        assert row["p"].item() == pytest.approx(each.probability, abs=2e-4)


def test_the_numbers_are_those_of_the_evaluation(photographs, networks):
    view = next(view for view in study.views() if view.name == "voc2012-000000000599")
    table, _ = study.measured(view, networks[view.network], study.CHEAP)
    stored = photographs[view.name].table.set_index(["class", "method"])
    for row in table.to_dict("records"):
        for column in (column for group in explorer_page.METRICS.values() for column in group):
            assert stored.loc[(row["class"], row["method"]), column] == pytest.approx(
                row[column], abs=2e-4, nan_ok=True
            )


def test_the_pictures_give_the_energy_of_the_table(photographs):
    """Every stored map, the dear ones too, against COCO's outlines: a tile in the wrong place would show."""
    views, checked = {view.name: view for view in study.views()}, 0
    for name, each in photographs.items():
        view = views[name]
        top, left, rows, columns = study.frame(view)
        stored = each.table.set_index(["class", "method"])
        assert set(stored.index) == {(label, method) for label in each.labels for method in each.methods}
        for label, outline in zip(each.labels, each.outlines, strict=True):
            own = view.batch.objects[0] == view.classes.index(label)
            assert bool(outline) == bool(own.any())
            region = view.batch.masks[0][own].any(0)
            inside = region[top : top + rows, left : left + columns].numpy()
            for method in each.methods:
                row = stored.loc[(label, method)]
                if outline and not row["is_zero"]:
                    # The energy in the bars is in the table and not in the tile.
                    energy = row["energy_in_mask"] * row["mask_area"] * study.SIZE**2
                    got = tile(each, label, method)[inside].sum() / 255
                    assert got == pytest.approx(energy, abs=0.003 * inside.sum() + 1)
                    checked += 1
    assert checked > 100


def test_the_labels_were_chosen_as_the_page_says(photographs, networks):
    for view in study.views():
        each = photographs[view.name]
        assert len(each.labels) > 1
        if view.network != "imagenet":
            continue
        network = networks["imagenet"]
        with torch.no_grad():
            p = network(network.preprocess(view.batch.images)).softmax(1)[0]
        ten = [view.classes[i] for i in p.topk(10).indices]
        assert set(each.labels) <= set(ten)
        assert each.labels == [label for label in ten if label in each.labels], "the most probable first"


def test_a_link_by_photograph_and_label_is_of_one_view(photographs):
    links = [(each.number, label) for each in photographs.values() for label in each.labels]
    assert len(links) == len(set(links))


def test_every_photograph_has_a_licence(photographs):
    for each in photographs.values():
        assert each.credit["licence"] in ("CC BY 2.0", "No known copyright restrictions") and each.file.is_file()


def test_a_record_of_other_views_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"views": {"imagenet-1": {"labels": ["tabby"], "methods": []}}}')
    with pytest.raises(ValueError, match=r"expected the views .* in .*run.json, got .*tabby"):
        explorer_photographs.stored(tmp_path)
