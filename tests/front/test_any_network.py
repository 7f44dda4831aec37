"""Networks as people write them: explained rightly, against plain autograd, or refused in one sentence."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cam_utils import explain, maps
from cam_utils.methods.registry import METHODS, SIGNED

LABELS = [[0, 3], [1]]


def images(size=(32, 32), channels=3, count=2, seed=0):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


class Small(nn.Module):
    """A convolution, a head of two layers, and what a test does between them."""

    def __init__(self, between=None, around=None, channels=3, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width * 256, 16), nn.ReLU(), nn.Linear(16, 5))
        self.between, self.around = between or (lambda x: x), around or (lambda function, x: function(x))

    def forward(self, x):
        return self.head(self.between(self.around(self.conv, x)))


def by_hand(net, x, labels, form):
    """The masks of plain autograd at net.conv: the whole graph, one ordinary backward per label."""
    found = []
    for b, row in enumerate(labels):
        activations = net.conv(x[b : b + 1])
        logits = net.head(activations)[0]
        g = {c: torch.autograd.grad(logits[c], activations, retain_graph=True)[0][0].sum((-2, -1)) for c in row}
        for c in row:
            others = [g[n] for n in row if n != c]
            minus = sum(others) / len(others) if others and form == "minmax-grad-cam" else 0
            alpha = g[c] - minus
            found.append((alpha[:, None, None] * activations[0]).sum(0).relu().detach())
    return maps.upsample(maps.normalise(torch.stack(found)), x.shape[-2:])


@pytest.mark.parametrize("form", ["grad-cam", "minmax-grad-cam"])
@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.view(x.size(0), -1).view(x.shape),  # refuses channels last
        lambda x: x.clone().mul_(1.0),
        lambda x: checkpoint(torch.clone, x, use_reentrant=False),
        lambda x: checkpoint(torch.clone, x, use_reentrant=True),
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    ],
)
def test_whatever_lies_behind_the_layer(between, form):
    net, x = Small(between).eval(), images()
    expected = by_hand(Small().eval(), x, LABELS, form)
    assert expected.amax((-2, -1)).min() > 0.5
    torch.testing.assert_close(explain(net, x, LABELS, method=form, layer=net.conv).maps, expected)


def without(mode):
    def around(function, x):
        with mode():
            return function(x)

    return around


@pytest.mark.parametrize(
    "around",
    [
        without(torch.no_grad),
        without(torch.inference_mode),
        lambda function, x: checkpoint(function, x, use_reentrant=False),
        lambda function, x: checkpoint(function, x, use_reentrant=True),
    ],
)
def test_whatever_lies_around_the_layer(around):
    net, x = Small(around=around).eval(), images()
    expected = by_hand(Small().eval(), x, LABELS, "grad-cam")
    torch.testing.assert_close(explain(net, x, LABELS, method="grad-cam", layer=net.conv).maps, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_whatever_lies_around_the_call(mode):
    net, x = Small().eval(), images()
    expected = by_hand(net, x, LABELS, "grad-cam")
    with mode():
        inside = images()  # an inference tensor, in inference mode
        for given in (x, inside):
            torch.testing.assert_close(
                explain(net, given, LABELS, method="grad-cam", layer=net.conv).maps, expected
            )


@pytest.mark.parametrize("between", [torch.Tensor.detach, lambda x: x.long().float(), torch.no_grad()(torch.relu)])
def test_no_gradient_is_told(between):
    net = Small(between).eval()
    with pytest.raises(ValueError, match="no gradient leads from the logits"):
        explain(net, images(), LABELS, layer=net.conv)
    assert not any(module._forward_hooks for module in net.modules())


def test_compiled_networks_and_compiled_parts_give_the_same_maps():
    net, x = Small().eval(), images()
    expected = by_hand(net, x, LABELS, "minmax-grad-cam")
    compiled = torch.compile(net, backend="aot_eager")
    compiled(x)
    for model, layer in ((compiled, net.conv), (compiled, compiled.conv), (compiled, "conv")):
        torch.testing.assert_close(explain(model, x, LABELS, layer=layer).maps, expected)
    inside = Small().eval()
    inside.conv.compile(backend="aot_eager")
    inside.head = torch.compile(inside.head, backend="aot_eager")
    inside(x)
    torch.testing.assert_close(explain(inside, x, LABELS, layer=inside.conv).maps, expected)
    assert torch.allclose(compiled(x), net(x))  # still compiled, and right


def test_exported_programs_are_read_by_their_layers():
    net, x = Small().eval(), images(count=1)
    program = torch.export.export(net, (x,))
    expected = by_hand(net, x, [[0, 3]], "grad-cam")
    torch.testing.assert_close(explain(program, x, [[0, 3]], method="grad-cam", layer="conv").maps, expected)


def test_an_operator_that_knows_no_batches_of_gradients():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 1.0

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * torch.from_numpy((x >= 0).numpy())  # numpy sees no batch of gradients

    net, x = Small(Own.apply).eval(), images()
    expected = by_hand(Small().eval(), x, LABELS, "grad-cam")
    torch.testing.assert_close(explain(net, x, LABELS, method="grad-cam", layer=net.conv).maps, expected)


def test_one_logit_is_read_by_sigmoid():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net, flipped = (nn.Sequential(*body, nn.Linear(8, 1)).eval() for _ in range(2))
    flipped[4].load_state_dict({key: -value for key, value in net[4].state_dict().items()})
    x = images((16, 16))
    found, other = (explain(each, x, method="score-cam", layer=each[1]) for each in (net, flipped))
    torch.testing.assert_close(found.probabilities, net(x).sigmoid().detach())
    torch.testing.assert_close(found.probabilities + other.probabilities, torch.ones(2, 1))
    assert not torch.allclose(found.maps, other.maps)
    assert found.pairs.label.tolist() == [0, 0]
    with pytest.raises(ValueError, match="softmax of one logit is 1"):
        explain(net, x, layer=net[1], activation="softmax")


@pytest.mark.parametrize("where", ["weights", "activations", "logits", "infinite"])
@pytest.mark.parametrize("method", ["grad-cam", "minmax-grad-cam", "score-cam"])
def test_a_network_that_gives_nan_is_refused(where, method):
    net = Small().eval()
    if where == "weights":
        net.conv[0].weight.data[0, 0, 0, 0] = torch.nan
    if where == "activations":
        net.around = lambda function, x: function(x / 0)
        net.conv.register_forward_hook(lambda _m, _i, output: output * torch.nan)
    if where == "logits":
        net.between = lambda x: x * torch.nan
    if where == "infinite":
        net.between = lambda x: (x + 1) * 1e38 * 1e38
    with pytest.raises(ValueError, match="of Small have NaN or infinity"):
        explain(net, images(), LABELS, method=method, layer=net.conv)


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
