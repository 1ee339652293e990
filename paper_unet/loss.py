"""The energy of Eq. 1: pixel-wise softmax and cross-entropy, weighted by the map of Eq. 2.

Networks with one score have the binary form of it, with a sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (its usual name)


def weighted_cross_entropy(
    scores: Tensor, labels: Tensor, weights: Tensor, *, normalise: bool = True
) -> Tensor:
    """Return E = - sum_x w(x) log p_l(x)(x) (Eq. 1; the paper prints it without its minus sign).

    Parameters
    ----------
    scores : Tensor of float, shape (N, K, H, W)
        Raw scores a_k(x). They are widened to float32 if narrower.
    labels : Tensor of int, shape (N, H, W)
        True class l(x). Pixels outside 0..K-1 count nothing, whatever their weight.
    weights : Tensor of float, shape (N, H, W)
        w(x), at least 0; 0 where a pixel is to be ignored.
    normalise : bool
        Divide by the sum of the weights, as the authors' later software does. ``False`` gives
        the literal sum, whose learning rate has to be smaller by the number of pixels.

    Returns
    -------
    Tensor of float, shape ()
        0 where all weights are 0.

    Notes
    -----
    Written with a comparison in place of an index, because PyTorch's indexed 2-D cross-entropy
    has no deterministic CUDA kernel.
    """
    wide = scores if scores.dtype == torch.float64 else scores.float()
    log_p = torch.log_softmax(wide, dim=1)  # N K H W
    classes = torch.arange(scores.shape[1], device=scores.device).view(1, -1, 1, 1)
    counted = (labels >= 0) & (labels < scores.shape[1])
    weights = torch.where(counted, weights.to(wide.dtype), 0.0)
    of_true_class = torch.where(labels.unsqueeze(1) == classes, log_p, 0.0).sum(dim=1)  # N H W
    return _total(-of_true_class, weights, normalise)


def weighted_binary_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, *, normalise: bool = True
) -> Tensor:
    """Return - sum_x w(x) [l(x) log s(a(x)) + (1 - l(x)) log(1 - s(a(x)))], s the sigmoid.

    Parameters
    ----------
    logits : Tensor of float, shape (N, 1, H, W)
        Raw scores a(x) of class 1. They are widened to float32 if narrower.
    labels : Tensor of int, shape (N, H, W)
        0 or 1. Other pixels count nothing, whatever their weight.
    weights : Tensor of float, shape (N, H, W)
        w(x), at least 0; 0 where a pixel is to be ignored.
    normalise : bool
        Divide by the sum of the weights.

    Returns
    -------
    Tensor of float, shape ()
        0 where all weights are 0.
    """
    wide = (logits if logits.dtype == torch.float64 else logits.float())[:, 0]  # N H W
    weights = torch.where((labels == 0) | (labels == 1), weights.to(wide.dtype), 0.0)
    losses = F.binary_cross_entropy_with_logits(
        wide, (labels == 1).to(wide.dtype), reduction="none"
    )
    return _total(losses, weights, normalise)


def _total(losses: Tensor, weights: Tensor, normalise: bool) -> Tensor:
    energy = (weights * losses).sum()
    if not normalise:
        return energy
    total = weights.sum()
    return energy / torch.where(total > 0, total, 1.0)
