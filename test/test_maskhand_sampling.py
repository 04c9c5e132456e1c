"""MaskHand's sampling: which codes are hidden, which are drawn, and what stands for many draws."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the torch extra is not installed")

import torch

from hand_mesh_ros.networks.layers.token_masking import (
    drawn_codes,
    least_confident,
    num_masked,
    random_masks,
    ranks,
)
from hand_mesh_ros.networks.maskhand_sampling import (
    TokenPrediction,
    drawn_hands,
    group_means,
    groups,
    likeliest_codes,
)

# Masks.


def test_the_schedule_is_a_cosine_from_all_to_none():
    assert [num_masked(t / 5, 64) for t in range(6)] == [64, 61, 52, 38, 20, 0]
    assert [num_masked(t, 30) for t in (0.0, 0.5, 1.0)] == [30, 22, 0]
    assert num_masked(1.0, 1000) == 0  # the cosine of a right angle is not quite 0
    with pytest.raises(ValueError, match=r"progress is 1.2, expected 0 to 1"):
        num_masked(1.2, 5)


def test_random_masks_hide_what_the_schedule_says():
    progress = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0])
    order = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    hidden = random_masks(progress, order)
    expected = [num_masked(p, 64) for p in (0.0, 0.25, 0.5, 0.9)]
    assert hidden.sum(1).tolist() == [*expected, 1]  # something is always to be learned
    assert (order[1][hidden[1]].max() < order[1][~hidden[1]].min()).item()


def test_ranks_are_those_of_a_stable_sort():
    values = torch.tensor([[0.3, 0.1, 0.3, 0.9, 0.1], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert ranks(values).tolist() == [[2, 0, 3, 4, 1], [0, 1, 2, 3, 4]]
    many = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ranks(many), many.argsort(1).argsort(1))


def test_the_least_confident_are_hidden_again():
    confidence = torch.tensor([[0.9, 0.2, 0.5, 0.1]])
    assert least_confident(confidence, 2).tolist() == [[False, True, False, True]]
    assert not least_confident(confidence, 0).any()


def test_draws_follow_the_probabilities_and_temperature():
    share = torch.tensor([0.1, 0.6, 0.0, 0.3])
    logits = share.log().clamp_min(-1e4).expand(1, 10_000, 4)
    draws = ((torch.arange(10_000) + 0.5) / 10_000)[None]
    counts = torch.bincount(drawn_codes(logits, draws, 1.0)[0], minlength=4) / 10_000
    torch.testing.assert_close(counts, share, atol=2e-3, rtol=0)
    assert (drawn_codes(logits, draws, 0.0) == 1).all()
    colder = torch.bincount(drawn_codes(logits, draws, 0.5)[0], minlength=4) / 10_000
    expected = share**2 / (share**2).sum()
    torch.testing.assert_close(colder, expected, atol=2e-3, rtol=0)
    last = drawn_codes(logits, torch.full((1, 10_000), 1.0 - 1e-7), 1.0)
    assert last.max() == 3


# Sampling.


class Scripted:
    """A transformer that says the same at every pass and remembers what it was shown."""

    def __init__(self, logits):
        self.logits, self.shown = logits, []

    def __call__(self, codes, masked):
        self.shown.append((codes.clone(), masked.clone()))
        n = len(codes)
        return TokenPrediction(self.logits.expand(n, -1, -1), torch.full((n, 3), len(self.shown)))


def scripted_sampling(steps, *, tokens=8, codes=6):
    generator = torch.Generator().manual_seed(4)
    logits = 3.0 * torch.randn(1, tokens, codes, generator=generator)
    codebook = torch.randn(codes, 2, generator=generator)
    model = Scripted(logits)
    index = torch.zeros(1, tokens, dtype=torch.int64)
    return model, codebook, likeliest_codes(model, codebook, index, steps=steps)


def test_each_pass_keeps_the_most_confident_codes():
    model, codebook, found = scripted_sampling(4)
    share = torch.softmax(model.logits, 2)[0]
    best = share.max(1)
    assert [m.sum().item() for _, m in model.shown] == [num_masked(t / 4, 8) for t in range(4)]
    kept = ~model.shown[2][1][0]
    assert best.values[kept].min() >= best.values[~kept].max()
    # What is shown of the likeliest hand are mean codes.
    torch.testing.assert_close(model.shown[2][0][0][kept], (share @ codebook)[kept])
    # What was kept once is never hidden again.
    for (_, before), (_, after) in zip(model.shown, model.shown[1:], strict=False):
        assert not (after & ~before).any()
    assert torch.equal(found.index[0], best.indices)
    assert found.hand.unique().item() == 4.0  # of the last pass
    assert torch.equal(found.first_logits, model.logits)
    torch.testing.assert_close(found.embedding[0], share @ codebook)


def test_what_is_explained_goes_from_nothing_to_all_with_certainty():
    codebook = torch.randn(6, 2, generator=torch.Generator().manual_seed(4))

    def explained(logits):
        index = torch.zeros(1, 8, dtype=torch.int64)
        return likeliest_codes(Scripted(logits), codebook, index, steps=3).explained.item()

    sure = torch.zeros(1, 8, 6)
    sure[..., 2] = 30.0
    assert explained(sure) == pytest.approx(1.0, abs=1e-5)
    assert explained(torch.zeros(1, 8, 6)) == pytest.approx(0.001, abs=1e-4)  # as good as nothing
    between = torch.zeros(1, 8, 6)
    between[:, :4, 2] = 30.0
    assert explained(between) == pytest.approx(0.5, abs=1e-3)
    # Codes that mean the same are as good as one code.
    codebook[3] = codebook[2]
    alike = torch.full((1, 8, 6), -30.0)
    alike[..., 2:4] = 0.0
    assert explained(alike) == pytest.approx(1.0, abs=1e-5)


class Answering:
    """A transformer that expects other codes where others are shown."""

    def __init__(self, codes=6, width=2):
        generator = torch.Generator().manual_seed(4)
        self.codebook = torch.randn(codes, width, generator=generator)
        self.shown = []

    def __call__(self, codes, masked):
        self.shown.append((codes.clone(), masked.clone()))
        known = torch.where(masked[..., None], 0.0, codes).sum(1)  # (N, D)
        logits = (known @ self.codebook.T)[:, None].expand(-1, codes.shape[1], -1)
        return TokenPrediction(logits, known)


def drawn(draws, *, tokens=3, temperature=1.0):
    model = Answering()
    logits = 2.0 * torch.randn(1, draws.shape[2], 6, generator=torch.Generator().manual_seed(5))
    logits = logits.expand(len(draws), -1, -1)
    how = {"tokens": tokens, "temperature": temperature}
    return model, logits, drawn_hands(model, model.codebook, logits, draws, **how)


def test_a_drawn_hand_is_a_few_codes_and_what_is_likely_beside_them():
    draws = torch.rand(40, 2, 8, generator=torch.Generator().manual_seed(0))
    model, logits, found = drawn(draws)
    ((codes, masked),) = model.shown
    assert ((~masked).sum(1) == 3).all()
    # Which ones is up to chance alone, which codes up to their probabilities.
    taken = draws[:, 1].topk(3, dim=1).indices
    assert not masked.gather(1, taken).any()
    expected = model.codebook[drawn_codes(logits, draws[:, 0], 1.0)]
    torch.testing.assert_close(codes[~masked], expected[~masked])
    torch.testing.assert_close(found.embedding[~masked], expected[~masked])
    share = torch.softmax(found.hand @ model.codebook.T, 1)  # of what was shown
    means = (share @ model.codebook)[:, None].expand(-1, 8, -1)
    torch.testing.assert_close(found.embedding[masked], means[masked])
    assert torch.equal(drawn(draws)[2].embedding, found.embedding)
    likely = drawn(draws, temperature=0.0)
    torch.testing.assert_close(
        likely[2].embedding[~masked], model.codebook[logits.argmax(2)][~masked]
    )


def test_which_codes_are_taken_does_not_depend_on_how_probable_they_are():
    """By confidence, improbable codes would be drawn again until all hands are alike."""
    draws = torch.rand(4000, 2, 8, generator=torch.Generator().manual_seed(0))
    model, logits, _ = drawn(draws)
    ((_, masked),) = model.shown
    chosen = drawn_codes(logits, draws[:, 0], 1.0)
    share = torch.softmax(logits, 2).gather(2, chosen[..., None])[..., 0]
    assert share[~masked].mean().item() == pytest.approx(share.mean().item(), abs=0.01)
    assert share.std() > 0.1


def slow_groups(points, number, rounds):
    """K-means by loops: the first centre stays at the origin."""
    centres = [np.zeros(points.shape[1]), *points[: number - 1]]
    for _ in range(rounds):
        names = [int(np.argmin([((p - c) ** 2).sum() for c in centres])) for p in points]
        for k in range(1, number):
            own = [p for p, name in zip(points, names, strict=True) if name == k]
            centres[k] = np.mean(own, axis=0) if own else np.zeros(points.shape[1])
    return np.array(names)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_groups_are_those_of_k_means_about_the_origin(rounds):
    points = torch.randn(3, 40, 4, generator=torch.Generator().manual_seed(0))
    members = groups(points, 6, rounds=rounds)
    assert members.shape == (3, 6, 40)
    assert (members.sum(1) == 1.0).all()
    for row in range(3):
        expected = slow_groups(points[row].double().numpy(), 6, rounds)
        np.testing.assert_array_equal(members[row].argmax(0), expected)


def test_points_that_are_alike_leave_groups_empty_and_one_group_takes_all():
    points = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [2.2, 0.0], [0.1, 0.0], [-0.1, 0.1]]])
    members = groups(points, 3, rounds=3)
    assert members.argmax(1).tolist() == [[1, 1, 1, 0, 0]]
    means = group_means(members, points, torch.tensor([[7.0, 8.0]]))
    torch.testing.assert_close(means, torch.tensor([[[7.0, 8.0], [6.2 / 3, 0.0], [7.0, 8.0]]]))
    assert (groups(points, 1, rounds=2) == 1.0).all()


def test_means_of_groups_are_nearer_to_another_draw_than_as_many_draws():
    generator = torch.Generator().manual_seed(0)
    wide = torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.5])
    points = wide * torch.randn(200, 64, 6, generator=generator)
    truth = wide * torch.randn(200, 1, 6, generator=generator)
    origin = torch.zeros(200, 6)
    means = group_means(groups(points, 8, rounds=5), points, origin)
    draws = torch.cat([origin[:, None], points[:, :7]], dim=1)
    of_means, of_draws = (
        (hands - truth).norm(dim=2).amin(1).mean().item() for hands in (means, draws)
    )
    assert of_means < 0.93 * of_draws


def test_one_step_takes_all_codes_at_once():
    model, _, found = scripted_sampling(1)
    assert len(model.shown) == 1
    assert model.shown[0][1].all()
    assert torch.equal(found.index[0], model.logits[0].argmax(1))
