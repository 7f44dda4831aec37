"""The schedule's rules on networks small enough to follow, and a training that must learn."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from cam_utils.networks import augmentation, models, training
from cam_utils.networks.schedules import Stage


class Dots(Dataset):
    """Bright squares in the left or right half: two labels, learnable in seconds."""

    name, classes, size = "dots", ("left", "right"), 24

    def __init__(self, split, n=96, **_):
        self.split = split
        generator = torch.Generator().manual_seed({"train": 0, "val": 1}[split])
        self.labels = torch.randint(0, 2, (n, 2), generator=generator).float()
        images = torch.randint(0, 60, (n, 3, 24, 24), generator=generator)
        images[:, 0, 8:16, 2:10] += (150 * self.labels[:, 0]).long()[:, None, None]  # red on the left
        images[:, 2, 8:16, 14:22] += (150 * self.labels[:, 1]).long()[:, None, None]  # blue on the right
        self.images_uint8 = images.to(torch.uint8)

    def __len__(self):
        return len(self.labels)

    def fingerprint(self):
        return f"{self.split}-{len(self)}"


def tiny(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()
        )
        return models.Classifier(features, models.LinearHead(8, 2), normalisation=models.HALF)


def fit(model, *stages, **options):
    return training.train(model, Dots, stages, progress=False, accelerator="cpu", **options)


def test_training_learns_and_repeats_with_its_seed():
    stage = Stage(16, 0.02, optimizer="adamw", one_cycle=True, augment="none", keep="last")
    first, second = tiny(), tiny()
    history = fit(first, stage, seed=3)
    fit(second, stage, seed=3)
    assert history["val_f1"].iloc[-1] > 0.95
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, 17))
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_frozen_layers_and_their_batch_statistics_stay():
    model = tiny()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fit(model, Stage(2, 0.1, unfrozen=0.0, augment="none", keep="last"))
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"}
    fit(
        model, Stage(2, 0.1, unfrozen=0.34, augment="none", keep="last")
    )  # one of three layers: the last convolution
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias", "features.3.weight", "features.3.bias"}
    assert all(p.requires_grad for p in model.parameters())


def test_layers_that_train_again_take_their_batch_statistics_again():
    model = tiny().eval()
    frozen, free = (Stage(1, 0.1, unfrozen=share, augment="none", keep="last") for share in (0.0, 1.0))
    before = model.features[1].running_mean.clone()
    fit(model, frozen)
    assert torch.equal(model.features[1].running_mean, before)
    fit(model, frozen, free)
    assert not torch.allclose(model.features[1].running_mean, before, atol=1e-3)


def test_the_papers_sixty_percent_of_resnet101_reaches_into_layer3():
    model = models.build("resnet101", 2)
    training.unfreeze_top(model.features, 0.6)
    assert not any(p.requires_grad for p in model.features[:6].parameters())  # stem, layer1, layer2
    layer3 = [all(p.requires_grad for p in block.parameters()) for block in model.features[6]]
    assert layer3 == sorted(layer3) and layer3.index(True) in (6, 7)  # dev-unfrozen-layers: from layer3[6] up
    assert all(p.requires_grad for p in model.features[7].parameters())
    with pytest.raises(ValueError, match=r"expected a fraction of layers in \[0, 1\], got 60.0"):
        training.unfreeze_top(model.features, 60.0)


class FakeTrainer:
    sanity_checking = False

    def __init__(self, rate):
        self.optimizers = [torch.optim.SGD([nn.Parameter(torch.zeros(1))], rate)]
        self.callback_metrics = {}


def test_plateau_halves_the_rate_and_restores_the_best_weights():
    model, trainer = nn.Linear(1, 1, bias=False), FakeTrainer(0.8)
    module = type("Module", (), {"model": model})()
    rule = training.PlateauRestore(patience=3)
    rates, weights = [], []
    for loss in [3.0, 2.0, 2.5, 2.4, 2.3, 1.9, 2.0, 2.0, 2.0]:
        model.weight.data.fill_(loss)  # the weights of that epoch
        trainer.callback_metrics["val_loss"] = torch.tensor(loss)
        rule.on_validation_end(trainer, module)
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        weights.append(round(model.weight.item(), 3))
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2])
    assert weights == [3.0, 2.0, 2.5, 2.4, 2.0, 1.9, 2.0, 2.0, 1.9]


def test_early_stopping_ends_a_stage_and_the_best_epoch_is_kept():
    model = tiny()
    history = fit(model, Stage(40, 3.0, augment="none", early_stop=2))  # a rate too high to keep improving
    assert len(history) < 40
    labels, images = Dots("val").labels, Dots("val").images_uint8 / 255
    loss = nn.functional.binary_cross_entropy_with_logits(model(model.preprocess(images)), labels).item()
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-3)


def test_a_loss_that_is_not_finite_is_an_error():
    model = tiny()
    model.head.weight.data.fill_(math.inf)
    with pytest.raises(RuntimeError, match="training loss is not finite in stage 1"):
        fit(model, Stage(1, 0.1, augment="none", keep="last"))


def test_mixed_precision_and_two_devices_run():
    stage = Stage(2, 0.01, optimizer="adamw", augment="none", keep="last")
    assert math.isfinite(fit(tiny(), stage, precision="bf16-mixed")["val_loss"].iloc[-1])
    history = fit(tiny(), stage, devices=2, strategy="ddp_fork")
    assert math.isfinite(history["val_loss"].iloc[-1])


def test_photo_augmentation_flips_each_image_on_its_own_and_keeps_grey_grey():
    images = torch.zeros(64, 3, 4, 4)
    images[:, :, 0, 0] = 1.0
    changed = augmentation.photo(images, torch.Generator().manual_seed(0))
    corners = {tuple(image[0].flatten().argmax().reshape(1).tolist()) for image in changed}
    assert corners == {(0,), (3,), (12,), (15,)}
    torch.testing.assert_close(changed[:, 0], changed[:, 1])


def test_digits_augmentation_shifts_without_mirroring():
    images = torch.zeros(32, 3, 16, 16)
    images[:, :, 8, 6:10] = torch.tensor([0.2, 0.4, 0.6, 0.8])  # rises to the right
    changed = augmentation.digits(images, torch.Generator().manual_seed(0), shift=3)
    places = set()
    for image in changed:
        y, x = divmod(int(image[0].argmax()), 16)
        places.add((y, x))
        assert 5 <= y <= 11 and image[0, y, x] > image[0, y, x - 1] > image[0, y, x - 2]
    assert len(places) > 10
