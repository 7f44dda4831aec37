import pytest
import torch
import torchvision

from cam_utils.networks import models


@pytest.mark.parametrize(("name", "head"), [("digits", "linear"), *((n, "kernel-usage") for n in models.NAMES)])
def test_logits_are_pooled_features_times_class_weights(name, head):
    model = models.build(name, 4, head=head, bias=-1.0).eval()
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = model.features(images).mean((2, 3))
        torch.testing.assert_close(model(images), pooled @ model.head.class_weights().T - 1.0)


def test_kernel_usage_is_eq_15_with_a_softmax_over_labels_by_hand():
    head = models.KernelUsageHead(1, 2)
    head.weight.data = torch.tensor([[0.0], [torch.log(torch.tensor(3.0)).item()]])  # softmax 1/4, 3/4
    expected = torch.tensor([[0.0], [0.75 * torch.log(torch.tensor(3.0)).item()]])
    torch.testing.assert_close(head.class_weights().detach(), expected)
    head.bias.data[:] = 0.5
    torch.testing.assert_close(head(torch.tensor([[2.0]])).detach(), 2 * expected.T + 0.5)


def test_kernel_usage_gradient_flows_through_the_softmax():
    head = models.KernelUsageHead(3, 4).double()
    features = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight, bias = head.weight.detach().clone().requires_grad_(), head.bias.detach()
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(head, {"weight": w, "bias": bias}, (features,)), (weight,)
    )
    detached = head.weight * head.weight.softmax(0).detach()  # what a stopped gradient would give
    (full,) = torch.autograd.grad(head.class_weights().square().sum(), head.weight)
    (stopped,) = torch.autograd.grad(detached.square().sum(), head.weight)
    assert (full - stopped).abs().max() > 1e-3


def test_build_leaves_the_global_generator_alone_and_repeats():
    state = torch.random.get_rng_state()
    first, second = models.build("digits", 3, seed=5), models.build("digits", 3, seed=5)
    other = models.build("digits", 3, seed=6)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_pretrained_backbone_computes_what_torchvision_computes(squeezenet_weights):
    reference = torchvision.models.squeezenet1_0(weights=None)
    reference.load_state_dict(torch.load(squeezenet_weights, weights_only=True))
    model = models.build("squeezenet1_0", 7, weights=squeezenet_weights)
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in models.IMAGENET)
    with torch.no_grad():
        expected = reference.eval().features((images - mean) / std)
        torch.testing.assert_close(model.eval().features(model.preprocess(images)), expected)


def test_checkpoint_round_trip_and_refusals(tmp_path):
    model = models.build("digits", 3, head="kernel-usage", seed=1)
    path = tmp_path / "deep" / "model.pt"
    models.save_checkpoint(path, model, name="digits", head="kernel-usage", classes=["a", "b", "c"])
    loaded = models.load_checkpoint(path, ["a", "b", "c"])
    images = torch.rand(1, 3, 96, 96)
    assert torch.equal(model.eval()(images), loaded(images))
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]
    with pytest.raises(
        ValueError, match=r"was trained for 3 classes \(a, b, c, ...\), but the dataset has 2 \(x, y"
    ):
        models.load_checkpoint(path, ["x", "y"])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged or cut"):
        models.load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="no checkpoint of this book"):
        models.load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="no weights file at"):
        models.load_checkpoint(tmp_path / "none.pt")


def test_a_digits_network_may_start_from_another(tmp_path):
    first = models.build("digits", 4, seed=1)
    models.save_checkpoint(tmp_path / "a.pt", first, name="digits", head="linear", classes="abcd")
    for name in ("digits", "digits-acol"):
        second = models.build(name, 3, seed=2, weights=tmp_path / "a.pt")
        for a, b in zip(first.features.parameters(), second.features.parameters(), strict=True):
            assert torch.equal(a, b)
    with pytest.raises(ValueError, match="does not fit the features of digits-cbam"):
        models.build("digits-cbam", 3, weights=tmp_path / "a.pt")


def test_names_and_weights_that_do_not_fit_are_refused(tmp_path, squeezenet_weights):
    with pytest.raises(ValueError, match="unknown network 'resnet5'; did you mean 'resnet50'"):
        models.build("resnet5", 3)
    with pytest.raises(ValueError, match="unknown head 'kernel_usage'; did you mean 'kernel-usage'"):
        models.build("digits", 3, head="kernel_usage")
    with pytest.raises(ValueError, match=r"does not fit torchvision\.models\.resnet18: it lacks"):
        models.build("resnet18", 3, weights=squeezenet_weights)
    with pytest.raises(ValueError, match="digits network has no pretrained backbone"):
        models.build("digits", 3, weights="imagenet")
    with pytest.raises(ValueError, match="expected num_classes >= 1"):
        models.build("digits", 0)


def test_imagenet_without_a_network_says_what_to_pass_instead(monkeypatch):
    from urllib.error import URLError

    def offline(*_args, **_kwargs):
        raise URLError("no route")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(ConnectionError, match=r"could not be downloaded .* pass weights=<path of a torchvision"):
        models.build("resnet18", 3, weights="imagenet")
