"""Selection, layers and fusion: cases small enough to do by hand."""

import pytest
import torch

from cam_utils.representative import fusion, selection
from cam_utils.representative.similarity import similarity_matrix
from tests.representative.published import GROUPS, from_clusters, random_b


def test_similarity_sums_probabilities_by_class():
    p = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    b = similarity_matrix(p, torch.tensor([0, 1, 0, 2]), 3)
    torch.testing.assert_close(b[0], torch.tensor([1.1, 0.55, 0.35]))
    torch.testing.assert_close(similarity_matrix(p, torch.tensor([0, 1, 0, 2]), 3, per_image=True)[0], b[0] / 2)
    # a class's own images sum to their number
    assert b.sum(1).tolist() == pytest.approx([2, 1, 1])


def test_ranks_are_the_papers_positions():
    b = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    for c, chosen in enumerate(selection.by_rank(b, selection.RANK_B)):
        order = sorted((j for j in range(20) if j != c), key=lambda j: -b[c, j])
        assert chosen == [order[2], order[7], order[12], order[17]]


def test_positions_scale_to_other_numbers_of_classes():
    b = torch.arange(80.0, 0, -1).expand(80, 80)  # class j+1 stands at place j of the list of class 0
    assert selection.by_rank(b)[0] == [round(p * 79 / 19) for p in selection.RANK_A]
    for n in range(5, 30):
        for chosen in selection.by_rank(torch.rand(n, n)):
            assert len(set(chosen)) == 4


def test_other_numbers_of_representatives_span_the_same_range():
    b = torch.arange(20.0, 0, -1).expand(20, 20)
    for count in range(2, 20):
        chosen = selection.by_rank(b, selection.spread(selection.RANK_A, count))[0]
        assert len(set(chosen)) == count
    assert selection.by_rank(b, selection.spread(selection.RANK_A, 2))[0] == [3, 17]


def test_random_representatives_are_others_and_differ():
    drawn = selection.by_chance(10, 4, seed=1)
    assert drawn == selection.by_chance(10, 4, seed=1) != selection.by_chance(10, 4, seed=2)
    for c, chosen in enumerate(drawn):
        assert c not in chosen
        assert len(set(chosen)) == 4


def test_one_representative_of_each_cluster():
    b = from_clusters()
    for c, chosen in enumerate(selection.by_cluster(b, GROUPS, 2)):
        for members, one in zip(GROUPS, chosen, strict=True):
            others = sorted((j for j in members if j != c), key=lambda j: -b[c, j])
            assert one == others[1]


def test_a_small_cluster_gives_its_last_class():
    b = torch.tensor([[0.0, 3, 2, 1], [0] * 4, [0] * 4, [0] * 4])
    assert selection.by_cluster(b, [[0, 1], [2, 3]], 1)[0] == [1, 2]
    assert selection.by_cluster(b, [[0, 1], [2, 3]], 2)[0] == [1, 3]  # the own cluster holds one other class
    assert selection.by_cluster(b, [[0], [1, 2, 3]], 9)[0] == [3]  # and here none


def test_bad_selections_say_what_is_wrong():
    b = random_b(4, 0)
    with pytest.raises(ValueError, match="expected 1 to 3 representatives, got 4: each of 4 classes has 3 others"):
        selection.by_rank(b)
    with pytest.raises(ValueError, match="expected 1 to 3 representatives, got 5"):
        selection.by_chance(4, 5)
    with pytest.raises(ValueError, match="4 classes do not fill 4 clusters of at least 4"):
        selection.cluster(b)
    with pytest.raises(ValueError, match="unknown rule of clustering 'printed'"):
        selection.cluster(b, rule="printed")
    with pytest.raises(ValueError, match="expected restarts >= 1, got 0"):
        selection.cluster(b, smallest=1, restarts=0)
    with pytest.raises(ValueError, match="k >= 1"):
        selection.by_cluster(b, [[0, 1], [2, 3]], 0)
    with pytest.raises(ValueError, match="each of 4 classes once"):
        selection.by_cluster(b, [[0, 1], [2]], 1)
    with pytest.raises(ValueError, match="ascending positions from 1 to 19"):
        selection.by_rank(random_b(20, 0), (0, 3))
    with pytest.raises(ValueError, match="no image of class 1"):
        similarity_matrix(torch.ones(1, 2), torch.tensor([0]), 2)
    with pytest.raises(ValueError, match=r"expected probabilities \[1, 3\]"):
        similarity_matrix(torch.ones(1, 2), torch.tensor([0]), 3)
    with pytest.raises(ValueError, match="finite similarity matrix"):
        selection.cluster(torch.full((20, 20), torch.nan))
    with pytest.raises(ValueError, match="unknown stage of normalisation 'layers'"):
        fusion.fuse(torch.ones(1, 1, 2, 2), normalise=("layers",))


def test_layers_by_hand():
    low = torch.tensor([[[[2.0, 0.0], [0.0, 4.0]]]])
    last = torch.tensor([[[[5.0, 0.0], [0.0, 0.0]]]])
    # hats: low / 4, last / 5; sum [[1.5, 0], [0, 1]] times last's hat [[1, 0], [0, 0]], over its maximum
    both = fusion.layered([low, last], (2, 2))
    assert both.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]
    adding = fusion.layered([low, last], (2, 2), multiply=False)
    torch.testing.assert_close(adding, torch.tensor([[[[1.0, 0.0], [0.0, 2 / 3]]]]))
    raw = fusion.layered([low, last], (2, 2), normalise=())
    assert raw.tolist() == [[[[35.0, 0.0], [0.0, 0.0]]]]  # (2 + 5) * 5
    assert fusion.layered([last], (2, 2)).tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]  # one layer: no product


def test_fusion_weighs_every_representative_alike():
    maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.5]], [[0.0, 0.0]]]])
    torch.testing.assert_close(fusion.fuse(maps, normalise=()), torch.tensor([[[1 / 3, 0.5 / 3]]]))
    assert fusion.fuse(maps).tolist() == [[[1.0, 0.5]]]
    assert fusion.fuse(torch.zeros(1, 2, 3, 3)).abs().sum() == 0  # a zero map stays zero


def test_one_images_classes_are_those_of_its_row_of_the_matrix():
    p = torch.rand(12, generator=torch.Generator().manual_seed(0))
    p[5] = p[7]  # of equal ones the first class comes first, in both
    for label in range(12):
        b = p.expand(12, 12)
        for rule in (selection.RANK_A, selection.RANK_B):
            assert selection.comparison_classes(p, label, positions=rule) == selection.by_rank(b, rule)[label]
    assert len(selection.comparison_classes(p, 0, 11)) == 11
    with pytest.raises(ValueError, match="expected 1 to 11 representatives, got 12"):
        selection.comparison_classes(p, 0, 12)
    for bad in ((p, 12), (p[None], 0)):
        with pytest.raises(ValueError, match=r"expected probabilities \[L\] and one of their labels"):
            selection.comparison_classes(*bad)
