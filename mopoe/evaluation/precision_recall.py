"""Precision and recall of generated samples in the features of a network (PRD, Sajjadi et al. 2018).

Precision: how much of what is generated looks real; recall: how much of what is real is generated. Both sets
are clustered together, and the two histograms over the clusters compared. Axes: D feature, N sample, T slope.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    """The curve of attainable pairs, by three numbers from 0 to 1."""

    recall: float
    """Greatest F_8 on the curve, which weighs recall."""
    precision: float
    """Greatest F_1/8, which weighs precision."""
    mean: float
    """Mean of all precisions and recalls on the curve: what the released MoPoE code reports."""


def precision_recall(
    real_ND: Tensor,
    generated_ND: Tensor,
    *,
    clusters: int = 20,
    angles: int = 1001,
    runs: int = 10,
    seed: int = 0,
) -> PrecisionRecall:
    """Return the precision and recall of generated samples; the curve is the mean over clusterings.

    Args:
        real_ND: features of real samples; of the larger set only the first count, as many as of the other.
        generated_ND: features of generated ones.
        clusters: clusters of the two sets together.
        angles: points of the curve.
        runs: clusterings.
        seed: fixes them.

    Raises:
        DataError: there are fewer samples than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    n = min(len(real_ND), len(generated_ND))
    if 2 * n < clusters:
        raise DataError(f"{n} real and {n} generated samples are too few for {clusters} clusters")
    both = torch.cat([real_ND[:n], generated_ND[:n]]).cpu().double().numpy()
    curves = []
    for run in range(runs):
        labels = MiniBatchKMeans(clusters, n_init=10, random_state=seed + run).fit(both).labels_
        real, generated = (np.bincount(part, minlength=clusters) / n for part in (labels[:n], labels[n:]))
        curves.append(curve(real, generated, angles))
    precision_T, recall_T = np.mean(curves, 0)

    def greatest(beta: float) -> float:
        weighed_T = beta**2 * precision_T + recall_T + 1e-10
        return float(((1 + beta**2) * precision_T * recall_T / weighed_T).max())

    mean = float(np.mean([precision_T, recall_T]))
    return PrecisionRecall(recall=greatest(8), precision=greatest(1 / 8), mean=mean)


def curve(
    real: NDArray[np.float64], generated: NDArray[np.float64], angles: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precisions and recalls [T] of two histograms, at equally spaced angles.

    At the slope s, the angle's tangent, the precision is sum min(s real, generated), the recall that over s.

    >>> [p_or_r.round(3).tolist() for p_or_r in curve(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 3)]
    [[0.0, 0.5, 1.0], [0.5, 0.5, 0.0]]
    """
    slope_T = np.tan(np.linspace(1e-6, np.pi / 2 - 1e-6, angles))
    precision_T = np.minimum(slope_T[:, None] * real, generated).sum(1)
    return precision_T.clip(0, 1), (precision_T / slope_T).clip(0, 1)
