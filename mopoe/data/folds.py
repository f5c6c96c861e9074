"""Folds: a data set split anew for cross-validation, each time with another part to validate on.

The folds are of the samples of the training and the validation split that have all modalities, as only these
are measured; all others are trained on. Axes: F feature, N sample.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mopoe.cache import short_hash
from mopoe.data.container import MultimodalData, Split, stratified_order
from mopoe.data.covariates import of_modalities, rescaled
from mopoe.data.features import COUNTS, described
from mopoe.data.registry import COVARIATES, ModalitySpec
from mopoe.data.table_files import refuse_constant
from mopoe.errors import DataError


def check_folds(data: MultimodalData, folds: int) -> None:
    """Check that each of so many folds can be trained on and measured.

    Raises:
        DataError: there are too few samples, or a feature is constant among the training samples of a fold.
    """
    for number in range(folds):
        fold(data, number, folds)


def fold(data: MultimodalData, number: int, folds: int) -> MultimodalData:
    """Return the data set whose validation split is one of several folds; the test split's samples stay.

    The folds are of equal size, and classes have like shares of each; what is left over is always trained on.
    Standardised features are standardised by the fold's own training samples.

    Args:
        data: the data set.
        number: which fold, from 0.
        folds: how many there are.

    Raises:
        DataError: there are not two samples for each fold, or a feature is constant among the training
            samples of this one.
    """
    pool = _joined(data.train, data.validation)
    whole = torch.arange(len(pool)) if pool.present is None else pool.present.all(1).nonzero().flatten()
    if len(whole) < 2 * folds:
        raise DataError(
            f"{folds} folds need {2 * folds} samples or more, but only {len(whole)} of the training and "
            "validation splits have all modalities"
        )
    rng, labels = np.random.default_rng(0), pool.labels[whole].numpy()
    order = whole.numpy()[stratified_order(labels, rng) if labels.ndim == 1 else rng.permutation(len(whole))]
    order = np.delete(order, rng.choice(len(order), len(order) % folds, replace=False))
    chosen: NDArray[np.int64] = order[number::folds]
    rest = np.setdiff1d(np.arange(len(pool)), chosen)
    splits = {"train": pool.shuffled(rest, rng), "validation": pool.shuffled(chosen, rng), "test": data.test}
    specs, where = [], f"fold {number} of {folds}"
    for m, spec in enumerate(data.modalities):
        own, splits = _scaled(spec, m, splits, f"{where}: {spec.name!r}")
        specs.append(own)
    if known := of_modalities(data.modalities):
        own_covariates, mean_C, deviation_C = rescaled(
            known, splits["train"].x[COVARIATES], f"{where}: covariates"
        )
        specs = [replace(spec, covariates=own_covariates) for spec in specs]
        splits = {
            name: replace(s, x={**s.x, COVARIATES: (s.x[COVARIATES] - mean_C) / deviation_C})
            for name, s in splits.items()
        }
    name, (train, validation, test) = short_hash(["fold", data.fingerprint, number, folds]), splits.values()
    return replace(
        data, fingerprint=name, modalities=tuple(specs), train=train, validation=validation, test=test
    )


def to_other_scale(was: ModalitySpec, now: ModalitySpec) -> tuple[Tensor, Tensor]:
    """Return factor and summand, each [F], that turn features standardised as `now` into those of `was`."""
    (old_F, old_scale_F), (new_F, new_scale_F) = _scale(was), _scale(now)
    return (new_scale_F / old_scale_F).float(), ((new_F - old_F) / old_scale_F).float()


def _scale(spec: ModalitySpec) -> tuple[Tensor, Tensor]:
    """Return what was subtracted from each feature and by what it was then divided, float64 [F]."""
    return torch.tensor(spec.offset, dtype=torch.float64), torch.tensor(spec.scale, dtype=torch.float64)


def _joined(one: Split, other: Split) -> Split:
    """Return the samples of both splits; values that samples share are copied."""
    everything, present = slice(None), None
    if one.present is not None or other.present is not None:
        present = torch.cat(
            [
                torch.ones(len(s), len({*s.x} - {COVARIATES}), dtype=torch.bool)
                if s.present is None
                else s.present
                for s in (one, other)
            ]
        )
    x = {name: torch.cat([s.stored(name, everything) for s in (one, other)]) for name in one.x}
    return Split(x, torch.cat([one.labels, other.labels]), present=present)


def _scaled(
    spec: ModalitySpec, m: int, splits: dict[str, Split], what: str
) -> tuple[ModalitySpec, dict[str, Split]]:
    """Return a modality's spec and the splits, its features in the scale of the training split's samples."""
    train = splits["train"]
    x_NF = train.x[spec.name] if train.present is None else train.x[spec.name][train.present[:, m]]
    if spec.likelihood in COUNTS:
        own = described(spec.name, [x_NF], spec.likelihood, sized=spec.median_total > 0)
        return replace(spec, scale=own.scale, median_total=own.median_total), splits
    if not spec.offset:
        return spec, splits
    refuse_constant(what, spec.features, x_NF, " among its training samples")
    mean_F, deviation_F = x_NF.double().mean(0), x_NF.double().std(0, correction=0)
    offset_F, scale_F = _scale(spec)

    def scaled(split: Split) -> Split:
        x_NF = ((split.x[spec.name].double() - mean_F) / deviation_F).float()
        if split.present is not None:
            x_NF[~split.present[:, m]] = 0
        return replace(split, x={**split.x, spec.name: x_NF})

    offset, scale = (offset_F + scale_F * mean_F).tolist(), (scale_F * deviation_F).tolist()
    return replace(spec, offset=tuple(offset), scale=tuple(scale)), {
        name: scaled(split) for name, split in splits.items()
    }
