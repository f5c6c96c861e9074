"""How linearly the classes can be read from the latents: logistic regression on each subset's posterior mean.

As in the released MoPoE code: 500 training samples, held-out accuracy; for several attributes per sample the
mean of their average precisions. Axes: A attribute, B batch, N sample, S subset, Z shared latent.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.data.container import Split
from mopoe.model import Encoded, MoPoE
from mopoe.random_streams import generator

ROWS = 512
"""Samples encoded at a time."""


def linear_probe(
    model: MoPoE,
    train: Split,
    held_out: Split,
    n: int,
    seed: int,
    device: torch.device,
    *,
    n_train: int = 500,
) -> Tensor:
    """Return how well each subset's posterior mean tells the labels of n held-out samples: float64 [S].

    Accuracy for labels [N], mean average precision for labels [N, A] of 0 and 1, over the attributes that
    some held-out sample has.

    Args:
        model: the model, in eval mode.
        train: the training split; samples with a missing modality are left out, here and below.
        held_out: the split to judge on.
        n: how many of its samples, the first ones.
        seed: fixes which training samples are drawn, without replacement.
        device: where to encode.
        n_train: how many of them.
    """
    train, held_out = train.complete(), held_out.complete()
    few = train.take(torch.randperm(len(train), generator=generator(seed, "linear probe"))[:n_train])
    some = held_out.take(torch.arange(min(n, len(held_out))))
    labels, truth = few.labels.numpy(), some.labels.numpy()
    latents = zip(posterior_means(model, few, device), posterior_means(model, some, device), strict=True)
    scores = [_score(a_NZ.numpy(), b_NZ.numpy(), labels, truth) for a_NZ, b_NZ in latents]
    return torch.tensor(scores, dtype=torch.float64)


def posterior_means(model: MoPoE, split: Split, device: torch.device) -> Tensor:
    """Return the mean of every subset's posterior for all samples: [S, N, Z], on the CPU."""
    with torch.inference_mode():
        means = [
            _means(model, model.encode(split.batch(slice(start, start + ROWS), device))).cpu()
            for start in range(0, len(split), ROWS)
        ]
    return torch.cat(means, 1)


def _means(model: MoPoE, q: Encoded) -> Tensor:
    """Return the means [S, B, Z]; that of a mixture of experts is the mean of its members'."""
    if model.bound.mixture_of_experts:
        share_SM = model.members_SM / model.members_SM.sum(1, keepdim=True)
        return torch.einsum("sm,mbz->sbz", share_SM, q.mu_MBZ)
    return model.posteriors(q)[0]


Array = NDArray[np.float32] | NDArray[np.int64]


def _score(train_NZ: Array, held_out_NZ: Array, labels: Array, truth: Array) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    def fit(y: Array) -> LogisticRegression:
        return LogisticRegression(max_iter=1000, random_state=0).fit(train_NZ, y)

    if labels.ndim == 1:
        one_class = labels.min() == labels.max()  # the regression wants two
        predicted = labels[0] if one_class else fit(labels).predict(held_out_NZ)
        return float((predicted == truth).mean())
    precisions = []
    for y, has in zip(labels.T, truth.T, strict=True):
        if has.any():
            score = np.zeros(len(has)) if y.min() == y.max() else fit(y).decision_function(held_out_NZ)
            precisions.append(average_precision_score(has, score))
    return float(np.mean(precisions)) if precisions else float("nan")
