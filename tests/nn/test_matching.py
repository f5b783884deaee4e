import torch

from segue.nn.matching import BELOW, BETWEEN, gather_rows, match, sample


def test_match_follows_the_thresholds_and_keeps_the_best_box_of_every_object() -> None:
    #                 box 0  box 1  box 2  box 3
    overlaps = torch.tensor([[[0.80, 0.50, 0.10, 0.00], [0.20, 0.60, 0.00, 0.00]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert match(overlaps, valid, 0.3, 0.7, keep_best=False).tolist() == [[0, BETWEEN, BELOW, BELOW]]
    assert match(overlaps, valid, 0.3, 0.7, keep_best=True).tolist() == [[0, 1, BELOW, BELOW]]


def test_what_hardly_touches_an_object_can_be_left_out() -> None:
    overlaps = torch.tensor([[[0.8, 0.4, 0.19, 0.0]]])
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert match(overlaps, valid, 0.5, 0.5, False, ignored=0.2).tolist() == [[0, BELOW, BETWEEN, BETWEEN]]
    assert match(overlaps[..., 2:], valid, 0.5, 0.5, True, ignored=0.2).tolist() == [[0, BETWEEN]]
    assert match(overlaps[:, :0], valid[:, :0], 0.5, 0.5, False, ignored=0.2).tolist() == [[BETWEEN] * 4]


def test_padding_never_matches_and_an_object_without_overlap_claims_no_box() -> None:
    overlaps = torch.tensor([[[0.9, 0.0], [0.0, 0.0]]])
    assert match(overlaps, torch.tensor([[False, True]]), 0.3, 0.7, keep_best=True).tolist() == [[BELOW, BELOW]]


def test_match_without_objects_is_all_background() -> None:
    answer = match(torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.bool), 0.3, 0.7, keep_best=True)
    assert answer.shape == (2, 5)
    assert bool((answer == BELOW).all())


def test_sample_draws_positives_first_fills_with_background_and_takes_nothing_twice() -> None:
    torch.manual_seed(0)
    matched = torch.full((3, 100), BELOW)
    matched[0, :40], matched[1, :4], matched[2, :] = 0, 1, BETWEEN
    index, positive, filled = sample(matched, torch.ones(3, 100, dtype=torch.bool), count=32, positives=8)
    assert positive.sum(1).tolist() == [8, 4, 0]
    assert filled.sum(1).tolist() == [32, 32, 0]
    assert bool(positive[0, :8].all())
    for row in range(2):
        assert len(set(index[row].tolist())) == 32
        assert bool((gather_rows(matched, index)[row][positive[row]] >= 0).all())
        assert bool((gather_rows(matched, index)[row][~positive[row]] == BELOW).all())


def test_sample_never_draws_what_is_not_valid() -> None:
    valid = torch.zeros(1, 50, dtype=torch.bool)
    valid[0, 10:15] = True
    index, positive, filled = sample(torch.zeros(1, 50, dtype=torch.int64), valid, count=20, positives=20)
    assert sorted(index[filled].tolist()) == [10, 11, 12, 13, 14]
    assert bool((positive == filled).all())


def test_sample_of_fewer_boxes_than_slots() -> None:
    index, _, filled = sample(torch.full((1, 3), BELOW), torch.ones(1, 3, dtype=torch.bool), count=8, positives=4)
    assert index.shape == filled.shape == (1, 3)
