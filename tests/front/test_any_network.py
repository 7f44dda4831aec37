"""Networks as people write them: explained rightly, against plain autograd, or refused in one sentence."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cam_utils import explain
from tests.front.small import LABELS, Small, by_hand, images


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
