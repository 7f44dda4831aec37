"""The fast paths equal the plain ones, on real images: heads without a backward, batched backwards, masks."""

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_images
from torch import nn

from cam_utils import data
from cam_utils.front.explain import explain
from cam_utils.methods import closed_forms, query, registry, scorecam
from cam_utils.methods.weighted_sums import weighted_sum
from cam_utils.networks import capture, gradients, models
from cam_utils.networks.gradients import head_gradients
from cam_utils.pairs import Pairs, pairs_of, rank_within_image

ASKED = [[3, 5, 900], [7]]


@pytest.fixture(scope="module")
def photos():
    pixels = torch.stack([torch.as_tensor(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images])
    return nn.functional.interpolate(pixels.float() / 255, (160, 160), mode="bilinear") - 0.45


@pytest.fixture(scope="module")
def squeezenet(squeezenet_weights):
    return models.pretrained("squeezenet1_0", squeezenet_weights).eval()


def largest_difference(first, second):
    return float((first - second).abs().max())


@pytest.mark.parametrize("method", sorted(name for name in registry.METHODS if "grad" in name))
def test_a_rectified_convolutional_head_equals_its_backward_on_real_images(
    squeezenet, coco_root, method, monkeypatch
):
    photographs = data.load("coco2017", "val", root=coco_root, size=224)
    x = squeezenet.preprocess(torch.stack([photographs[i].image for i in range(3)]))
    labels = squeezenet(x).topk(4).indices
    how = {"method": method, "layer": squeezenet.features}
    asked = [row[: i + 1].tolist() for i, row in enumerate(labels)]  # sets of one, two and three labels
    monkeypatch.setattr(query, "head_gradients", lambda *_: pytest.fail("took a backward"))
    fast = explain(squeezenet, x, asked, **how).maps
    monkeypatch.undo()
    monkeypatch.setattr(query, "pixel_head", lambda *_: None)
    slow = explain(squeezenet, x, asked, **how).maps
    assert fast.flatten(1).amax(1).min() > 0.5, "maps that say something"
    assert largest_difference(fast, slow) < 1e-5


def test_the_gradient_of_a_pixel_head_is_its_weight_where_the_score_is_positive():
    head = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head[0].weight.data.fill_(3.0)
    head[0].bias.data.fill_(-3.0)
    a = torch.tensor([[[[0.0, 1.0], [0.5, 2.0]]]])  # scores -3, 0, -1.5, 3
    found = closed_forms.pixel_head(head, capture.Capture(head(a), a), pairs_of(torch.tensor([[True]])))
    assert found.active.tolist() == [[[False, False], [False, True]]] and found.fraction.tolist() == [0.25]
    assert found.summed.tolist() == [[0.75]]


@pytest.mark.parametrize("form", closed_forms.FORMS, ids=lambda form: form.__name__)
def test_a_closed_form_equals_its_backward_before_maps_are_normalised(form):
    """What a whole map is multiplied by would be lost by normalising."""
    torch.manual_seed(0)
    a = torch.rand(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    head = nn.Sequential(nn.Conv2d(5, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    pairs = pairs_of(torch.tensor([[True, True, True], [False, True, True]]))
    captured = capture.Capture(head(a), a)
    found = closed_forms.without_backward(form, a.detach(), closed_forms.pixel_head(head, captured, pairs), pairs)
    expected = form(a.detach(), head_gradients(captured, pairs), pairs)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "after",
    [
        [nn.Sigmoid(), nn.AdaptiveAvgPool2d(1)],
        [nn.ReLU(), nn.AdaptiveMaxPool2d(1)],
        [nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(1)],
    ],
)
def test_other_convolutional_heads_are_not_taken_for_one(after):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(4, 6, 1), *after, nn.Flatten())
    a = torch.rand(2, 4, 6, 6)
    assert closed_forms.pixel_head(head, capture.Capture(head(a), a), pairs_of(torch.ones(2, 6) > 0)) is None


def test_equal_numbers_do_not_prove_a_head_that_leaves_pixels_out():
    """Of equal pixels any sample has the same mean, but a gradient of its own."""
    a = torch.ones(1, 2, 4, 4)
    for stride, known in ((1, True), (2, False)):
        head = nn.Sequential(nn.Conv2d(2, 3, 1, stride), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        nn.init.ones_(head[0].weight)
        captured = capture.Capture(head(a), a)
        assert (closed_forms.pixel_head(head, captured, pairs_of(torch.ones(1, 3) > 0)) is not None) == known


def test_logits_of_zero_prove_no_head():
    head = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(head[0].bias, -100.0)
    a = torch.rand(1, 4, 6, 6)
    assert closed_forms.pixel_head(head, capture.Capture(head(a), a), pairs_of(torch.ones(1, 6) > 0)) is None


def test_fully_connected_heads_take_all_backwards_at_once_with_the_same_result(photos, monkeypatch):
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None)
    captured = capture.capture(network, photos, network.features, grads=True)
    present = torch.zeros(2, 1000, dtype=torch.bool)
    for row, labels in zip(present, ASKED, strict=True):
        row[labels] = True
    pairs = pairs_of(present)
    assert not gradients._convolves(captured.logits)
    at_once = head_gradients(captured, pairs)
    monkeypatch.setattr(gradients, "_convolves", lambda _: True)
    one_by_one = head_gradients(captured, pairs)
    assert at_once.abs().max() > 0
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-5 * float(one_by_one.abs().max()))


def test_a_head_with_convolutions_is_known_by_its_graph(photos):
    network = torchvision.models.resnet18(weights=None)
    assert gradients._convolves(capture.capture(network, photos, network.layer3, grads=True).logits)
    assert not gradients._convolves(capture.capture(network, photos, network.layer4, grads=True).logits)


def test_pairs_in_any_order_take_their_own_images_maps():
    a, alpha = torch.rand(3, 5, 4, 4), torch.rand(6, 5)
    image = torch.tensor([2, 0, 2, 1, 0, 2])
    pairs = Pairs(image, torch.arange(6), image)
    expected = torch.einsum("pk,pkij->pij", alpha, a[image])
    torch.testing.assert_close(weighted_sum(a, alpha, pairs), expected)
    assert rank_within_image(image).tolist() == [0, 0, 1, 0, 1, 2]
    nothing = Pairs.one().take([])
    assert weighted_sum(a, alpha[:0], nothing).shape == (0, 4, 4)


@pytest.mark.parametrize("image", [[1, 1, 1], [0, 1, 1]])
def test_shown_images_are_images_times_masks(photos, image):
    image, masks = torch.tensor(image), torch.rand(3, 160, 160)
    expected = torch.stack([photos[i] * mask for i, mask in zip(image, masks, strict=True)])
    assert torch.equal(scorecam.masked(photos, image, masks), expected)
    ordered = photos.contiguous(memory_format=torch.channels_last)
    found = scorecam.masked(ordered, image, masks)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)


def test_score_cam_of_a_model_in_training_mode_is_that_of_its_evaluation(model):
    x, how = torch.randn(1, 3, 96, 96), {"method": "score-cam", "chunk": 64}
    expected = explain(model.eval(), x, [[1, 2]], **how).maps
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = explain(model.train(), x, [[1, 2]], **how).maps
    assert torch.equal(found, expected) and model.training
    model.eval()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()), "batch statistics were touched"


def test_bfloat16_is_an_approximation_that_one_asks_for(squeezenet, coco_root):
    photographs = data.load("coco2017", "val", root=coco_root, size=96)
    x = squeezenet.preprocess(photographs[0].image[None])
    how = {"method": "score-cam", "layer": squeezenet.features, "activation": "softmax"}
    exact, again, rough = (
        explain(squeezenet, x, **how, precision=p).maps for p in ("float32", "float32", "bfloat16")
    )
    assert torch.equal(exact, again) and rough.dtype == torch.float32
    assert 0 < largest_difference(exact, rough) < 0.2
    with pytest.raises(ValueError, match=r"unknown precision 'bfloat32'; did you mean .*'bfloat16'"):
        explain(squeezenet, x, **how, precision="bfloat32")


def test_a_chunk_grows_only_while_the_gpu_has_room(monkeypatch):
    """A pretended GPU: the loop's sizes follow what `_room` says, and none is larger than the largest chunk."""

    class Pretended(torch.Tensor):
        is_cuda = True

    like, sizes, room = torch.zeros(1, 3).as_subclass(Pretended), [], iter([True, True, False, True])
    monkeypatch.setattr(scorecam, "_room", lambda _: next(room))
    for index, _ in scorecam.batched_scores(
        lambda x: x, lambda i: torch.zeros(len(i), 3, 1, 1), 1000, like=like, chunk=None
    ):
        sizes.append(len(index))
    assert sizes[:4] == [64, 128, 256, 256] and sum(sizes) == 1000
