"""What a distribution asks of the numbers of a modality, how they are stored, and what its networks need."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mopoe.data.registry import Distribution, ModalitySpec

COUNTS = ("poisson", "negative_binomial")
MOST_SYMBOLS = 127
"""The most symbols whose numbers an int8 holds."""


def impossible(distribution: Distribution, x: Tensor) -> tuple[Tensor, str]:
    """Return which numbers a distribution cannot give, shaped like x, and which it can, as words.

    Categorical samples of two axes and more, [N, symbols, places], are one-hot.
    """
    if distribution in COUNTS:
        return ~((x >= 0) & (x == x.floor()) & x.isfinite()), "whole numbers of at least 0"
    if distribution == "categorical" and x.dim() == 2:
        words = f"whole numbers from 0 to {MOST_SYMBOLS - 1}"
        return ~((x >= 0) & (x < MOST_SYMBOLS) & (x == x.floor())), words
    if distribution in ("bernoulli", "categorical"):
        return ~((x >= 0) & (x <= 1)), "numbers from 0 to 1"
    return ~x.isfinite(), "finite numbers"


def stored(distribution: Distribution, x: Tensor) -> Tensor:
    """Return possible numbers of a distribution in the type in which a split holds them."""
    return x.to(torch.int8) if distribution == "categorical" and x.dim() == 2 else x.to(torch.float32)


def described(
    name: str, samples: Sequence[Tensor], distribution: Distribution | None, *, sized: bool = False
) -> ModalitySpec:
    """Return what the default networks need to know of a modality.

    Args:
        name: the modality.
        samples: its samples as they are stored, first those of the training split, then the others.
        distribution: what was asked for.
        sized: whether the means of counts are given a row's total.
    """
    train = samples[0]
    symbols = 0
    if train.dtype == torch.int8:
        symbols = 1 + max(int(x.max()) for x in samples if x.numel())
    rate = torch.empty(0)
    if distribution in COUNTS:  # an element that is 0 in all of training may be 1 later
        rate = train.double().mean(0).clamp(min=1 / max(1, len(train))).flatten()
    total_N = train.double().flatten(1).sum(1) if sized else torch.empty(0)
    counted = total_N[total_N > 0]
    return ModalitySpec(
        name=name,
        shape=tuple(train.shape[1:]),
        likelihood=distribution,
        symbols=symbols,
        scale=tuple(rate.tolist()),
        median_total=float(counted.quantile(0.5)) if len(counted) else float(sized),
    )
