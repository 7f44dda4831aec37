"""Equal masks are found by their bytes, and no forward is made twice."""

import numpy as np
import pytest
import torch

from cam_utils import data, maps
from cam_utils.evaluation import evaluate
from cam_utils.methods import registry, repeats, scorecam
from cam_utils.networks import models


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_are_one_where_their_bytes_and_owners_are(kind):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 2, (300, 2, 3), generator=generator).to(kind) / 3
    owner = torch.randint(0, 3, (300,), generator=generator)
    first, which = repeats.distinct(owner, values)
    by_bytes = {}
    for i, row in enumerate(values.float().numpy()):
        by_bytes.setdefault((int(owner[i]), row.tobytes()), []).append(i)
    assert first.tolist() == [rows[0] for rows in by_bytes.values()]
    for number, rows in enumerate(by_bytes.values()):
        assert (which[rows] == number).all()


def test_the_last_bit_tells_rows_apart_and_the_sign_of_zero_does_not():
    one = torch.tensor([[1.0, 0.0], [1.0, -0.0], [np.nextafter(np.float32(1), np.float32(2)), 0.0]])
    assert repeats.distinct(torch.zeros(3, dtype=torch.long), one)[1].tolist() == [0, 0, 1]
    close = torch.tensor([[1.0], [1.0 + 2**-52]], dtype=torch.float64)
    assert len(repeats.distinct(torch.zeros(2, dtype=torch.long), close)[0]) == 2


@torch.no_grad()
def test_channels_of_one_mask_share_its_forward(net, scene):
    images, activations, _ = scene
    twice = torch.cat([activations, 2 * activations, activations.flip(-1)], 1)  # s(U(2 A)) = s(U(A))
    seen = []

    def score(x):
        seen.append(len(x))
        return net(x).sigmoid()

    found = scorecam.channel_scores(images, twice, score)
    k = activations.shape[1]
    live = twice.flatten(0, 1)[twice.flatten(2).amax(-1).flatten() > 0]
    owner = torch.arange(len(images)).repeat_interleave(3 * k)[twice.flatten(2).amax(-1).flatten() > 0]
    shown = {(int(b), each.numpy().tobytes()) for b, each in zip(owner, maps.normalise(live), strict=True)}
    assert sum(seen) == len(shown) <= 2 * len(live) / 3
    assert torch.equal(found[:, :k], found[:, k : 2 * k])
    torch.testing.assert_close(found[:, :k], scorecam.channel_scores(images, activations, score))
    assert not torch.allclose(found[:, :k], found[:, 2 * k :])


@torch.no_grad()
def test_a_label_that_stands_alone_is_scored_once_for_methods_that_agree_on_it():
    scenes = data.load("digits", "val", n=6, objects=(1.0,), size=48)
    batch = data.collate([scenes[i] for i in range(6)])
    model = models.build("digits", 10, seed=0, bias=0.0).eval()
    seen = []
    model.head.register_forward_hook(lambda _module, _given, out: seen.append(len(out)))
    methods = ["cam", "minmax-cam", "grad-cam", "d-minmax-cam"]
    both = evaluate.evaluate_batch(model, batch, registry.resolved(methods), scenes.classes, explained="annotated")
    masked = sum(seen) - 6  # the batch itself
    assert masked == 2 * int(batch.labels.sum()) == 12
    for _, rows in both.groupby(["image_index", "label"]):
        assert rows["p_masked"].nunique() == 1 and len(rows) == len(methods)
