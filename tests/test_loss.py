"""Eq. 1 against the literal double loop."""

import math

import pytest
import torch
from torch import Tensor

from paper_unet.loss import weighted_cross_entropy


def literal_energy(scores: Tensor, labels: Tensor, weights: Tensor) -> float:
    """E = - sum over x of w(x) log p_l(x)(x), p_k = exp(a_k) / sum over k' of exp(a_k')."""
    energy = 0.0
    count, classes, rows, columns = scores.shape
    for n in range(count):
        for y in range(rows):
            for x in range(columns):
                label = int(labels[n, y, x])
                if 0 <= label < classes:
                    a = [float(scores[n, k, y, x]) for k in range(classes)]
                    p = math.exp(a[label]) / sum(math.exp(value) for value in a)
                    energy -= float(weights[n, y, x]) * math.log(p)
    return energy


def example(classes: int = 3, count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    scores = 3 * torch.randn(count, classes, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (count, 5, 7), generator=generator)
    weights = 10 * torch.rand(count, 5, 7, generator=generator, dtype=torch.float64)
    return scores, labels, weights


@pytest.mark.parametrize("classes", [1, 2, 3, 6])
def test_the_literal_sum(classes: int) -> None:
    scores, labels, weights = example(classes)
    energy = weighted_cross_entropy(scores, labels, weights, normalise=False)
    assert energy.dtype == torch.float64
    assert energy.item() == pytest.approx(literal_energy(scores, labels, weights), rel=1e-13)


@pytest.mark.parametrize("classes", [2, 3])
def test_normalised_by_the_sum_of_the_weights(classes: int) -> None:
    scores, labels, weights = example(classes)
    expected = literal_energy(scores, labels, weights) / float(weights.sum())
    assert weighted_cross_entropy(scores, labels, weights).item() == pytest.approx(expected)
    # so the scale of the weights does not matter
    assert weighted_cross_entropy(scores, labels, 7 * weights).item() == pytest.approx(expected)


def test_the_minus_sign() -> None:
    """The printed equation has none; a sure and right network has the lower energy."""
    labels, weights = torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1)
    right = weighted_cross_entropy(torch.tensor([9.0, -9.0]).view(1, 2, 1, 1), labels, weights)
    wrong = weighted_cross_entropy(torch.tensor([-9.0, 9.0]).view(1, 2, 1, 1), labels, weights)
    assert 0 <= right.item() < 1e-6
    assert wrong.item() == pytest.approx(18, rel=1e-6)


@pytest.mark.parametrize("normalise", [True, False])
def test_gradient(normalise: bool) -> None:
    scores, labels, weights = example(count=1)
    labels[0, 0, 0] = 255
    weights[0, 1] = 0
    scores.requires_grad_()
    torch.autograd.gradcheck(
        lambda a: weighted_cross_entropy(a, labels, weights, normalise=normalise), scores
    )


def test_the_gradient_is_probability_minus_truth() -> None:
    scores, labels, weights = example()
    scores.requires_grad_()
    weighted_cross_entropy(scores, labels, weights, normalise=False).backward()
    truth = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2)
    expected = weights[:, None] * (scores.detach().softmax(1) - truth)
    torch.testing.assert_close(scores.grad, expected, rtol=1e-12, atol=1e-12)


def test_pixels_of_weight_zero_are_ignored() -> None:
    scores, labels, weights = example()
    weights[0, 2:] = 0
    scores.requires_grad_()
    before = weighted_cross_entropy(scores, labels, weights)
    before.backward()
    assert not scores.grad[0, :, 2:].any()  # type: ignore[index]
    labels[0, 2:] = (labels[0, 2:] + 1) % 3
    assert weighted_cross_entropy(scores, labels, weights).item() == before.item()


@pytest.mark.parametrize("outside", [-100, -1, 3, 255])
@pytest.mark.parametrize("normalise", [True, False])
def test_labels_out_of_range_count_nothing_whatever_their_weight(
    outside: int, normalise: bool
) -> None:
    scores, labels, weights = example()
    labels[0, :3], labels[1, 4, 4] = outside, outside
    inside = weights.clone()
    inside[labels == outside] = 0
    found = weighted_cross_entropy(scores, labels, weights, normalise=normalise)
    expected = literal_energy(scores, labels, weights) / (inside.sum() if normalise else 1)
    assert found.item() == pytest.approx(float(expected), rel=1e-12)
    ignored = weighted_cross_entropy(scores, labels, inside, normalise=normalise)
    assert found.item() == pytest.approx(ignored.item(), rel=1e-12)


@pytest.mark.parametrize("normalise", [True, False])
def test_nothing_to_learn_from_is_zero_with_a_zero_gradient(normalise: bool) -> None:
    scores, labels, weights = example()
    scores.requires_grad_()
    energy = weighted_cross_entropy(scores, labels, 0 * weights, normalise=normalise)
    energy.backward()
    assert energy.item() == 0
    assert not scores.grad.any()  # type: ignore[union-attr]


def test_large_scores_do_not_overflow() -> None:
    scores = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1)
    labels, weights = torch.ones(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1)
    assert weighted_cross_entropy(scores, labels, weights).item() == pytest.approx(2e4)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_narrow_scores_are_widened(narrow: torch.dtype) -> None:
    scores, labels, weights = example()
    rounded = scores.to(narrow)
    energy = weighted_cross_entropy(rounded, labels, weights.float())
    assert energy.dtype == torch.float32
    assert energy.item() == weighted_cross_entropy(rounded.float(), labels, weights.float()).item()
    expected = weighted_cross_entropy(rounded.double(), labels, weights)
    assert energy.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.exact
def test_the_same_twice_bit_for_bit() -> None:
    scores, labels, weights = (value.repeat(1, *[20] * (value.ndim - 1)) for value in example(1))
    results = []
    for _ in range(2):
        leaf = scores.float().requires_grad_()
        energy = weighted_cross_entropy(leaf, labels, weights.float())
        energy.backward()
        results.append((energy.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])  # type: ignore[arg-type]


def test_no_operation_without_a_deterministic_cuda_kernel() -> None:
    """The indexed 2-D cross-entropy and the gradients of gather and index are not."""
    scores, labels, weights = example()
    energy = weighted_cross_entropy(scores.requires_grad_(), labels, weights)
    names, nodes = set(), [energy.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.add(node.name())
            nodes += [following for following, _ in node.next_functions]
    assert any("LogSoftmax" in name for name in names)  # the walk reached the scores
    assert not [name for name in names if any(bad in name for bad in ("Nll", "Gather", "Index"))]
