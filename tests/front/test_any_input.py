"""What people do with a network: number types, threads, channels, signed maps, targets, layers, forms of logits."""

import threading

import pytest
import torch
from torch import nn

from cam_utils import explain, maps
from cam_utils.methods.registry import METHODS, SIGNED
from tests.front.small import LABELS, Small, by_hand, images


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"ss-cam", "ss-cam-mean"}))
def test_networks_of_every_number_type_take_pictures_and_tensors(kind, method, photo):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    net = nn.Sequential(*body).eval()
    expected = explain(net, photo, [1, 2], method=method, layer="1", size=64).maps
    found = explain(net.to(kind), photo, [1, 2], method=method, layer="1", size=64).maps
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    digits = 0.1 if kind == torch.bfloat16 else 0.02
    assert (found - expected).abs().mean() < digits
    assert explain(net, images((64, 64)), LABELS, method=method, layer="1").maps.shape == (3, 64, 64)


def test_two_threads_explain_one_model_and_a_third_only_runs_it():
    net, x = Small().train(), images()
    net.conv.append(nn.Dropout(0.5))
    expected = explain(net, x, LABELS, layer=net.conv, method="score-cam").maps
    failures, found = [], []

    def explains():
        for _ in range(10):
            found.append(explain(net, x, LABELS, layer=net.conv, method="score-cam").maps)

    def runs():
        for _ in range(200):
            with torch.no_grad():
                failures.append(net(x).requires_grad)

    threads = [threading.Thread(target=each) for each in (explains, explains, runs)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 20 and len(failures) == 200 and not any(failures)
    assert all(torch.equal(each, expected) for each in found)
    assert net.training and net.conv[2].training and not any(m._forward_hooks for m in net.modules())


def test_hooks_leave_another_thread_alone():
    inside, go_on = threading.Event(), threading.Event()

    def waits(x):
        if threading.current_thread().name == "explains":
            inside.set()
            go_on.wait(10)
        return x

    net, x = Small(waits).eval(), images()
    thread = threading.Thread(target=explain, args=(net, x, LABELS), kwargs={"layer": net.conv}, name="explains")
    thread.start()
    assert inside.wait(10)
    with torch.no_grad():
        assert not net(x).requires_grad
    go_on.set()
    thread.join()


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_images_of_any_number_of_channels(channels, photo):
    net, x = Small(channels=channels).eval(), images(channels=channels)
    expected = by_hand(net, x, LABELS, "grad-cam")
    found = explain(net, x, LABELS, method="grad-cam", layer=net.conv)
    torch.testing.assert_close(found.maps, expected)
    assert explain(net, x, LABELS, method="score-cam", layer=net.conv).maps.shape == (3, 32, 32)
    if channels == 1:
        assert explain(net, photo, 1, layer=net.conv, size=32).maps.shape == (1, 32, 32)
    else:
        with pytest.raises(ValueError, match="channels"):
            explain(net, photo, 1, layer=net.conv, size=32)


@pytest.mark.parametrize("method", SIGNED)
def test_signed_maps_are_the_rectified_ones_where_they_are_positive(method):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    x = images()
    signed = explain(net, x, LABELS, method=method, layer="0", relu=False).maps
    assert signed.min() < -0.1 and signed.abs().amax((-2, -1)).max() <= 1
    if method == "grad-cam":  # linear in the logit: what speaks against a label is the map of its negative
        against = explain(net, x, LABELS, method=method, layer="0", relu=False, target=lambda s: -s).maps
        torch.testing.assert_close(signed, -against)
        plain = explain(net, x, LABELS, method=method, layer="0").maps
        assert (plain > 0).any() and torch.equal(plain > 0, signed > 0)


def test_a_method_without_a_signed_form_says_so():
    net = Small().eval()
    with pytest.raises(ValueError, match="representative-cam has no signed form"):
        explain(net, images(), LABELS, method="representative-cam", layer=net.conv, relu=False)


def test_any_answer_any_target_and_further_inputs():
    class Two(Small):
        def forward(self, x, shift, *, name=None):
            return {"extra": name, "scores": super().forward(x) + shift}

    x, shift = images(), torch.tensor([[0.0], [3.0]])
    net, plain = Two().eval(), Small().eval()
    expected = by_hand(plain, x, LABELS, "minmax-grad-cam")
    for inputs in ((shift,), {"shift": shift, "name": "x"}):
        found = explain(net, x, LABELS, layer=net.conv, output="scores", inputs=inputs)
        torch.testing.assert_close(found.maps, expected)
        torch.testing.assert_close(found.probabilities, (plain(x) + shift).softmax(1).detach())
        masked = explain(net, x, LABELS, layer=net.conv, output="scores", inputs=inputs, method="score-cam")
        same = explain(plain, x, LABELS, layer=plain.conv, method="score-cam").maps
        torch.testing.assert_close(masked.maps, same)  # softmax does not see what all logits share
    with pytest.raises(ValueError, match=r"returns a dict \(extra: NoneType, scores: tensor"):
        explain(net, x, LABELS, layer=net.conv, inputs=(shift,))
    difference = explain(plain, x, layer=plain.conv, method="grad-cam", target=lambda s: s[:, 0] - s[:, 3])
    minmax = explain(plain, x, [[0, 3], [0, 3]], layer=plain.conv, method="minmax-grad-cam")
    torch.testing.assert_close(difference.maps, minmax.maps[[0, 2]])  # J_0 of two labels is that difference
    assert [each.name for each in difference] == ["target"] * 2
    with pytest.raises(ValueError, match="gives 5 numbers per image: say with labels="):
        explain(plain, x, layer=plain.conv, target=lambda s: -s)


def test_several_layers_are_averaged():
    net, x = Small().eval(), images()
    one, two = (explain(net, x, LABELS, layer=layer).maps for layer in ("conv.0", "conv.1"))
    both = explain(net, x, LABELS, layer=["conv.0", net.conv[1]])
    torch.testing.assert_close(both.maps, (one + two) / 2)
    assert both.layer == [net.conv[0], net.conv[1]]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("conv9", "unknown layer 'conv9'; did you mean 'conv"),
        (3, "a layer as a module or a name, got 3"),
        ([], "at least one layer"),
        (["conv", "conv"], "named twice"),
        (nn.ReLU(), "never reached the layer ReLU"),
        ("head.1", r"got \(2, 16\) from head.1 \(Linear\)"),
        ("", "unknown layer ''"),
    ],
)
def test_layers_that_are_none_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        explain(Small().eval(), images(), LABELS, layer=layer)


@pytest.mark.parametrize("shape", ["(B,L,1,1)", "probabilities", "log probabilities", "(B,)"])
def test_logits_of_other_forms(shape):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    ends = {
        "(B,L,1,1)": [nn.Conv2d(8, 5, 1)],
        "probabilities": [nn.Flatten(), nn.Linear(8, 5), nn.Softmax(1)],
        "log probabilities": [nn.Flatten(), nn.Linear(8, 5), nn.LogSoftmax(1)],
        "(B,)": [nn.Flatten(), nn.Linear(8, 1), nn.Flatten(0)],
    }
    net, x = nn.Sequential(*body, *ends[shape]).eval(), images()
    found = explain(net, x, layer="1")
    numbers = net(x).detach()
    expected = {
        "(B,L,1,1)": numbers.flatten(1).softmax(1) if shape == "(B,L,1,1)" else None,
        "probabilities": numbers,
        "log probabilities": numbers.exp(),
        "(B,)": numbers.sigmoid()[:, None],
    }[shape]
    torch.testing.assert_close(found.probabilities, expected)
    assert found.pairs.label.tolist() == expected.argmax(1).tolist()


def test_parts_that_torch_would_fuse_are_reached():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 16, 8, 8)
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 5)

        def forward(self, x):
            return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    net, x = Encoder().eval(), images()
    name = "encoder.layers.1.norm1"
    kept = []
    handle = net.get_submodule(name).register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = net(x.requires_grad_())
    handle.remove()
    g = torch.autograd.grad(logits[0, 3], kept[0])[0][0]
    expected = (g.mean(0) * kept[0][0]).sum(1).relu().reshape(1, 4, 4).detach()
    found = explain(net, x.detach(), [[3], [1]], layer=name, method="grad-cam")
    torch.testing.assert_close(found.maps[:1], maps.upsample(maps.normalise(expected), (32, 32)))
