"""A linear probe of the latents: logistic regression from each subset's posterior mean to the labels.

As in the released MoPoE code it is trained on few samples and measured by held-out accuracy; where samples
have attributes, by their mean average precision. Axes: A attribute, B batch, N sample, S subset, Z shared
latent.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.evaluation.diagnostics import subset_posteriors
from mopoe.model import MoPoE
from mopoe.random_streams import generator

ROWS = 512
"""Samples encoded at a time."""
TRAINING = 500
"""Samples on which the probe is trained, as in the released MoPoE code."""


def linear_probe(model: MoPoE, train: Split, held_out: Split, n: int, seed: int) -> Tensor:
    """Return how well each subset's posterior mean predicts the labels of held-out samples: float64 [S].

    This is the accuracy for classes [N], and for attributes [N, A] the average precision, averaged over the
    attributes that some held-out sample has.

    Args:
        model: the model, in eval mode.
        train: the training split; in both splits samples with a missing modality are skipped.
        held_out: the split to predict.
        n: the number of its samples, from the first.
        seed: determines the training samples, which are drawn without replacement.
    """
    train, held_out = train.complete(), held_out.complete()
    few = train.take(torch.randperm(len(train), generator=generator(seed, "linear probe"))[:TRAINING])
    some = held_out.take(torch.arange(min(n, len(held_out))))
    labels, truth = few.labels.numpy(), some.labels.numpy()
    latents = zip(posterior_means(model, few), posterior_means(model, some), strict=True)
    scores = [_score(a_NZ.numpy(), b_NZ.numpy(), labels, truth) for a_NZ, b_NZ in latents]
    return torch.tensor(scores, dtype=torch.float64)


def posterior_means(model: MoPoE, split: Split) -> Tensor:
    """Return the mean of every subset's posterior for all samples: [S, N, Z], on the CPU."""
    with torch.inference_mode():
        means = [
            subset_posteriors(model, model.encode(split.batch(slice(*rows), model.device)))[0].cpu()
            for rows in chunks(len(split), ROWS)
        ]
    return torch.cat(means, 1)


Array = NDArray[np.float32] | NDArray[np.int64]


def _score(train_NZ: Array, held_out_NZ: Array, labels: Array, truth: Array) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    def fit(y: Array) -> LogisticRegression:
        return LogisticRegression(max_iter=1000, random_state=0).fit(train_NZ, y)

    if labels.ndim == 1:
        one_class = labels.min() == labels.max()  # the regression needs two
        predicted = labels[0] if one_class else fit(labels).predict(held_out_NZ)
        return float((predicted == truth).mean())
    precisions = []
    for y, has in zip(labels.T, truth.T, strict=True):
        if has.any():
            score = np.zeros(len(has)) if y.min() == y.max() else fit(y).decision_function(held_out_NZ)
            precisions.append(average_precision_score(has, score))
    return float(np.mean(precisions)) if precisions else float("nan")
