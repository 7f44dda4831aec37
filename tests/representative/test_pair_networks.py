"""One network per pair: alone or stacked the same, stopping by the paper's rule, going on after a kill."""

import copy

import pytest
import torch

from cam_utils import data, runs
from cam_utils.data.single import SingleLabel, single_label_counts
from cam_utils.networks import models, schedules
from cam_utils.representative import pair_networks
from cam_utils.representative.pair_networks import PairSchedule, train_pairs, training_rows

SHORT = PairSchedule(lr=1e-3, batch_size=8, epochs=2, accuracy=2.0, augment="digits")  # never accurate enough
PAIRS = [(0, 1), (2, 5), (3, 8)]


@pytest.fixture(scope="module")
def scenes():
    return data.load("digits", "train", n=90, size=48, objects=(1.0,))


@pytest.fixture(scope="module")
def start():
    return models.build("digits", 10, seed=4)


def run(start, scenes, folder, pairs=PAIRS, **options):
    options = {"schedule": SHORT, "network": "digits", "progress": False, **options}
    return train_pairs(start, scenes, pairs, folder=folder, **options)


def test_stacked_networks_learn_what_each_learns_alone(start, scenes, tmp_path):
    precise = copy.deepcopy(start).double()  # in single precision, rounding grows from step to step
    alone, stacked = run(precise, scenes, tmp_path / "a"), run(precise, scenes, tmp_path / "b", stack=3)
    x = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for pair in PAIRS:
        facts = [torch.load(found.path(*pair), weights_only=True)["facts"] for found in (alone, stacked)]
        assert facts[0]["epochs"] == facts[1]["epochs"] == 2
        torch.testing.assert_close(alone(*pair)(x), stacked(*pair)(x), rtol=1e-4, atol=1e-4)
        untrained = pair_networks.untrained(start, pair, 0).eval()
        learnt = (alone(*pair)(x) - untrained(x)).abs().max()
        assert learnt > 0.01  # against which the tolerance is small


def test_a_kill_costs_only_the_pair_it_hit(start, scenes, tmp_path, monkeypatch):
    whole = run(start, scenes, tmp_path / "whole")
    trained, save = [], pair_networks.save_checkpoint

    def killed(path, *rest, **facts):
        trained.append(path.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        save(path, *rest, **facts)

    monkeypatch.setattr(pair_networks, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        run(start, scenes, tmp_path / "cut")
    resumed = run(start, scenes, tmp_path / "cut")
    assert trained == ["000-001.pt", "002-005.pt", "002-005.pt", "003-008.pt"]
    for pair in PAIRS:
        for a, b in zip(whole(*pair).parameters(), resumed(*pair).parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.fixture(scope="module")
def busy():
    return data.load("digits", "train", n=60, size=48, objects=(0.3, 0.7))  # one digit or two


def test_a_pair_trains_on_images_of_exactly_one_of_its_classes(busy):
    for c, s in PAIRS:
        shown = [{c, s} & {int(k) for k in sample.labels.nonzero()[:, 0]} for sample in busy]
        expected = [i for i, which in enumerate(shown) if len(which) == 1]
        assert training_rows(busy.labels, (c, s)).tolist() == expected
        few = training_rows(busy.labels, (c, s), most=2, seed=1).tolist()
        assert set(few) <= set(expected)
        assert sorted(next(iter(shown[i])) for i in few) == [c, c, s, s]
    group = training_rows(busy.labels, (0, 2, 5), most=2, seed=1).tolist()
    pairs = [training_rows(busy.labels, pair, most=2, seed=1).tolist() for pair in ((0, 2), (0, 5), (2, 5))]
    assert group == sorted({i for rows in pairs for i in rows})
    with pytest.raises(ValueError, match=r"no image shows class 1 of the pair \(0, 1\) without the other"):
        training_rows(torch.tensor([[1, 1], [1, 0]]), (0, 1))


def test_a_snapshot_is_the_network_that_fewer_epochs_give(start, busy, tmp_path):
    options = {"pairs": PAIRS[:2], "several": True, "most": 6}
    stopped = PairSchedule(lr=1e-3, batch_size=8, epochs=2, accuracy=0.0, augment="digits")  # after one epoch
    found = run(start, busy, tmp_path / "all", schedule=stopped, snapshots=(1, 3), **options)
    for epochs in (1, 3):
        forced = PairSchedule(lr=1e-3, batch_size=8, epochs=epochs, accuracy=2.0, augment="digits")
        alone = run(start, busy, tmp_path / str(epochs), schedule=forced, **options)
        for pair in PAIRS[:2]:
            expected, got = alone(*pair).state_dict(), found.at(epochs)(*pair).state_dict()
            assert all(torch.equal(expected[name], got[name]) for name in expected)
            assert torch.load(found.at(epochs).path(*pair), weights_only=True)["facts"]["epochs"] == epochs
    for pair in PAIRS[:2]:
        early, late = found.at(1)(*pair).head.weight, found.at(3)(*pair).head.weight
        assert torch.equal(found(*pair).head.weight, early)
        assert not torch.equal(early, late)
    assert len({found.identity, found.at(1).identity, found.at(3).identity}) == 3


def test_a_pair_that_lacks_a_snapshot_trains_again(start, busy, tmp_path, monkeypatch):
    options = {"several": True, "snapshots": (1,)}
    found = run(start, busy, tmp_path, **options)
    lost = found.at(1).path(*PAIRS[1])
    before = torch.load(lost, weights_only=True)["state"]
    lost.unlink()
    saved, save = [], pair_networks.save_checkpoint
    monkeypatch.setattr(
        pair_networks, "save_checkpoint", lambda path, *a, **k: (saved.append(path.name), save(path, *a, **k))
    )
    run(start, busy, tmp_path, **options)
    assert sorted(saved) == ["002-005-epoch01.pt", "002-005.pt"]
    after = torch.load(lost, weights_only=True)["state"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_group_learns_equal_shares_of_an_images_labels(start, busy, tmp_path):
    group, precise = (0, 1, 2, 5), copy.deepcopy(start).double()
    rows = training_rows(busy.labels, group)
    shares = busy.labels[rows][:, group].double()
    assert {1, 2} <= set(shares.sum(1).tolist())
    step = PairSchedule(lr=1e-3, batch_size=len(rows), epochs=1, accuracy=2.0, augment="none")  # all images at once
    found = run(precise, busy, tmp_path, pairs=[group, (0, 1)], schedule=step, several=True)
    net = pair_networks.untrained(precise, group, 0).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.stack([busy[int(i)].image for i in rows]).double()
    log_p = net(net.preprocess(x)).log_softmax(1)
    torch.stack([-row[share > 0].mean() for row, share in zip(log_p, shares, strict=True)]).mean().backward()
    optimizer.step()
    torch.testing.assert_close(found(*group).double().head.weight, net.head.weight, rtol=1e-4, atol=1e-6)
    right = shares.gather(1, log_p.argmax(1, keepdim=True)) > 0
    saved = torch.load(found.path(*group), weights_only=True)
    assert saved["facts"]["accuracy"] == pytest.approx(float(right.double().mean()))
    assert saved["classes"] == [busy.classes[k] for k in group]
    assert found(0, 1).num_classes == 2


def test_images_in_another_order_of_memory_teach_the_same(start, busy, tmp_path):
    precise = copy.deepcopy(start).double()
    options = {"pairs": PAIRS[:1], "several": True}
    plain = run(precise, busy, tmp_path / "a", **options)(*PAIRS[0])
    other = run(precise, busy, tmp_path / "b", channels_last=True, **options)(*PAIRS[0])
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_training_stops_once_it_is_accurate(start, scenes, tmp_path):
    easy = PairSchedule(lr=1e-3, batch_size=8, epochs=3, accuracy=0.0, augment="none")
    found = run(start, scenes, tmp_path, pairs=PAIRS[:1], schedule=easy)
    facts = torch.load(found.path(0, 1), weights_only=True)["facts"]
    assert facts["epochs"] == 1  # at least one epoch, and no more than needed
    assert 0 <= facts["accuracy"] <= 1


def test_memory_that_does_not_suffice_halves_the_stack(start, scenes, tmp_path, monkeypatch):
    sizes, forward = [], pair_networks._forward

    def small(template, parameters, buffers, x):
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.cuda.OutOfMemoryError
        return forward(template, parameters, buffers, x)

    monkeypatch.setattr(pair_networks, "_forward", small)
    found = run(start, scenes, tmp_path, stack=3)
    assert sizes[0] == 3
    assert set(sizes[1:]) == {1}
    assert all(found.path(*pair).exists() for pair in PAIRS)


def test_few_images_fill_their_batches(start, scenes, tmp_path):
    few = SingleLabel(data.load("digits", "train", n=30, size=48, objects=(1.0,)))
    counts = torch.bincount(few.target)
    c, s = sorted(counts.argsort()[:2].tolist())
    assert counts[c] + counts[s] < 8
    assert run(start, few, tmp_path, pairs=[(c, s)]).path(c, s).exists()


def test_bad_requests_say_what_is_wrong(start, scenes, tmp_path):
    with pytest.raises(ValueError, match=r"0 <= c < s < 10, got \(3, 3\)"):
        run(start, scenes, tmp_path, pairs=[(3, 3)])
    several = data.load("digits", "train", n=8, objects=(0.0, 1.0))
    with pytest.raises(ValueError, match="exactly one label each"):
        run(start, several, tmp_path)
    with pytest.raises(ValueError, match="unknown augmentation 'flips'"):
        run(start, scenes, tmp_path, schedule=PairSchedule(augment="flips"))
    with pytest.raises(RuntimeError, match="not finite: lower the rate"):
        run(start, scenes, tmp_path, schedule=PairSchedule(lr=1e30, batch_size=8, augment="none", accuracy=2.0))


def test_single_label_images_are_those_of_one_class_alone():
    scenes = data.load("digits", "val", n=60)
    alone = SingleLabel(scenes, [name for name, count in single_label_counts(scenes).items() if count])
    assert 0 < len(alone) < len(scenes)
    for i in range(len(alone)):
        original = scenes[scenes.ids.index(alone.ids[i])]
        assert original.labels.sum() == 1
        assert alone.classes[alone.target[i]] == scenes.classes[int(original.labels.argmax())]
        assert torch.equal(alone[i].image, original.image)
    assert len(alone.fingerprint()) == 16
    assert alone.fingerprint() != scenes.fingerprint()


def test_a_class_without_its_own_images_is_named():
    scenes = data.load("digits", "val", n=8, objects=(1.0,))
    bare = [name for name, count in single_label_counts(scenes).items() if not count]
    with pytest.raises(ValueError, match=f"of 10 classes have no single-label image in digits val: {bare[0]}"):
        SingleLabel(scenes)
    with pytest.raises(ValueError, match="expected two or more of the dataset's classes, got 3"):
        SingleLabel(scenes, ["3"])
    assert len(SingleLabel(scenes, strict=False)) == 8
    assert len(SingleLabel(scenes, bare, strict=False) if len(bare) > 1 else ()) == 0


def test_loaded_networks_stay_within_their_budget(start, scenes, tmp_path):
    found = run(start, scenes, tmp_path)
    found.budget = 2 * found.path(0, 1).stat().st_size
    nets = [found(*pair) for pair in PAIRS]
    assert list(found._loaded) == PAIRS[1:]
    assert found(*PAIRS[2]) is nets[2]
    assert found(*PAIRS[0]) is not nets[0]  # read again


def test_a_network_of_the_real_sample_trains_although_validation_lacks_classes(
    coco_root, squeezenet_weights, tmp_path, monkeypatch
):
    monkeypatch.setitem(
        schedules.SCHEDULES, "one", (schedules.Stage(1, 1e-4, batch_size=24, optimizer="adam", loss="softmax"),)
    )

    def load(split, **options):
        images = data.load("coco2017", split, root=coco_root, size=64, resize="crop", **options)
        return SingleLabel(images, ("elephant", "giraffe", "dog"), strict=split == "train")

    model, path = runs.trained(
        load, network="squeezenet1_0", head="linear", schedule="one", weights=str(squeezenet_weights),
        folder=tmp_path, progress=False,
    )  # fmt: skip
    assert path.exists()
    assert model.head.out_features == 3
    found = run(model, load("train"), tmp_path / "pairs", pairs=[(0, 1), (1, 2)], network="squeezenet1_0")
    assert found(0, 1)(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
