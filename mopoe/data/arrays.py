"""Data sets from plain arrays, and the validation of data sets that users' functions return."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mopoe.data.container import (
    SPLITS,
    MultimodalData,
    Split,
    fingerprint,
    held_out,
    stratified_order,
    type_and_shape,
)
from mopoe.data.covariates import of_modalities, width
from mopoe.data.features import described, impossible, stored
from mopoe.data.registry import COVARIATES, Distribution, ModalitySpec, Option
from mopoe.errors import ConfigError, DataError

RESERVED = ("labels", "all", "prior", COVARIATES)
"""Names that no modality may have, because arrays and commands use them."""
_DTYPES = (torch.uint8, torch.float32, torch.int8)


def data_from_arrays(
    train: Mapping[str, Any],
    validation: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    *,
    networks: Mapping[str, str] | None = None,
    likelihoods: Mapping[str, Distribution] | None = None,
    n_classes: int | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> MultimodalData:
    """Return a data set made of plain arrays; a split that is not given is a tenth of `train`.

    Args:
        train: one array [N, ...] by modality name, in the order of the bits of a subset mask, and, unless
            there are no labels, "labels": the class of each sample [N], or its attributes of 0 and 1
            [N, n_classes]. Samples are uint8 (0 to 255 becomes 0 to 1), floats in any unit, or int8 (numbers
            of symbols).
        validation: the same arrays of other samples, for comparing trials.
        test: the same arrays of further samples, for measuring the chosen trials.
        networks: the function that builds a modality's networks, by its name; see `ModalitySpec.network`.
            Others have networks that fit the samples: images [N, channels, height, width], symbols
            [N, places] (int8), else vectors.
        likelihoods: the distribution of those other modalities, by name; see `ModalitySpec.likelihood`. With
            one, samples of any numbers are taken as they are, counts and 0 or 1 too.
        n_classes: number of classes; by default that of their names, or one more than the largest label.
        classes: the names of the classes, or of the attributes, in the order of their numbers.
        seed: determines which samples of `train` are held out for a split that is not given.

    Raises:
        ConfigError: `networks` names a modality that does not exist, or `likelihoods` one without default
            networks or a distribution that does not exist.
        DataError: the arrays do not fit together; the message names the split and the array.
    """
    given = {"train": train, "validation": validation, "test": test}
    splits = {name: _split(name, arrays) for name, arrays in given.items() if arrays is not None}
    names = tuple(splits["train"].x)
    networks = networks or {}
    for name in networks:
        if name not in names:
            raise ConfigError(f"networks are given for {name!r}, but the modalities are: {', '.join(names)}")
    likelihoods = likelihoods or {}
    for name, distribution in likelihoods.items():
        own, known = [name for name in names if name not in networks], get_args(Distribution)
        if name not in own or distribution not in known:
            possible = f"of {', '.join(known)} for modalities of default networks: {', '.join(own) or 'none'}"
            raise ConfigError(f"likelihoods has {distribution!r} for {name!r}, but must have some {possible}")
    _check_images(splits["train"], likelihoods)
    splits = {where: _as_given(where, split, likelihoods) for where, split in splits.items()}
    modalities = tuple(
        ModalitySpec(name=name, shape=tuple(x.shape[1:]), network=networks[name])
        if name in networks
        else described(name, [s.x[name] for s in splits.values() if name in s.x], likelihoods.get(name))
        for name, x in splits["train"].x.items()
    )
    if n_classes is None:
        labels = splits["train"].labels
        highest = max((int(s.labels.max()) for s in splits.values() if s.labels.numel()), default=0)
        n_classes = len(classes) or (labels.shape[1] if labels.dim() == 2 else highest + 1)
    for name, split in splits.items():
        _check_split(name, split, modalities, n_classes)
        _check_like_train(name, split, splits["train"])
    splits |= _held_out(splits["train"], [name for name in SPLITS if name not in splits], seed)
    data = MultimodalData(
        name="arrays",
        options={},
        fingerprint=fingerprint(splits),
        modalities=modalities,
        n_classes=n_classes,
        classes=tuple(classes),
        **splits,
    )
    return checked(data, data.name, {}, ())


def checked(
    data: object, name: str, options: Mapping[str, Option], told: tuple[ModalitySpec, ...]
) -> MultimodalData:
    """Return a data set that a user's function returned, if it is valid, with its name and options set.

    Args:
        data: what the function returned.
        name: the name by which the data set was asked for.
        options: the options that the function was called with.
        told: the modalities that the function declared before it was called, if any.

    Raises:
        DataError: it is not a MultimodalData, or its parts do not fit together.
    """
    if not isinstance(data, MultimodalData):
        raise DataError(f"its function returned a {type(data).__name__}, but must return a MultimodalData")
    names = [m.name for m in data.modalities]
    if not names or len(set(names)) < len(names):
        raise DataError(f"its modalities are {names}, but must be at least one, with distinct names")
    for m in names:
        # torch stores networks by modality name, beside its own attributes.
        if not re.fullmatch("[A-Za-z0-9_-]{1,100}", m) or hasattr(nn.ModuleDict(), m) or m in RESERVED:
            raise DataError(
                f"a modality is named {m!r}, but must have letters, digits, '_' and '-', and not be "
                f"{', '.join(RESERVED)} or the name of a method of torch's modules"
            )
    if told and told != data.modalities:
        raise DataError(f"its modalities are {data.modalities}, but were declared as {told}")
    if any(m.covariates != data.modalities[0].covariates for m in data.modalities):
        raise DataError("its modalities differ in their covariates, but must have the same")
    if len(data.classes) not in (0, data.n_classes) or not all(isinstance(c, str) for c in data.classes):
        raise DataError(f"classes must be {data.n_classes} names as text, or none, but are {data.classes}")
    for split in SPLITS:
        _check_split(split, data.split(split), data.modalities, data.n_classes)
        _check_covariates(split, data.split(split), data.modalities)
        _check_like_train(split, data.split(split), data.train)
    return replace(data, name=name, options=dict(options))


def _split(where: str, arrays: Mapping[str, Any]) -> Split:
    if not set(arrays) - {"labels"}:
        raise DataError(f"{where} has the arrays {list(arrays)}, but must have one for each modality")
    tensors: dict[str, Tensor] = {}
    for name, array in arrays.items():
        try:
            with warnings.catch_warnings():
                # A memory-mapped file may be read-only; nothing here writes to it.
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")
                x = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
        except (TypeError, ValueError) as error:
            hint = "; np.unique(names, return_inverse=True)[1] numbers classes" if name == "labels" else ""
            raise DataError(f"{where}: {name!r} is not an array of numbers ({error}){hint}") from error
        tensors[name] = x.float() if x.is_floating_point() else x
    first = next(x for name, x in tensors.items() if name != "labels")
    labels = tensors.pop("labels", torch.zeros(*first.shape[:1], 0, dtype=torch.int64))
    return Split(tensors, labels if labels.is_floating_point() else labels.long())


def _as_given(where: str, split: Split, likelihoods: Mapping[str, Distribution]) -> Split:
    """Return a split whose modalities of a named likelihood are stored as numbers of it, if they can be."""
    x = dict(split.x)
    for name, distribution in likelihoods.items():
        if name in x:
            wrong, possible = impossible(distribution, x[name])
            for found in x[name][wrong][:1].tolist():
                raise DataError(f"{where}: {name!r} has {found:g}, but {distribution} has {possible}")
            x[name] = stored(distribution, x[name])
    return replace(split, x=x)


def _check_images(train: Split, likelihoods: Mapping[str, Distribution]) -> None:
    """Refuse images whose channels come last, and floats on the scale of bytes, which no loss is fit for."""
    for name, x in train.x.items():
        if x.dim() != 4:
            continue
        if x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
            raise DataError(
                f"train: {name!r} has samples of shape {list(x.shape[1:])}, but images are [channels, "
                "height, width]; x.transpose(0, 3, 1, 2) makes them so"
            )
        if name not in likelihoods and x.is_floating_point() and x.min() >= 0 and 32 < x.max() <= 255:
            raise DataError(
                f"train: {name!r} has floats from {float(x.min()):g} to {float(x.max()):g}, but images are "
                "bytes, or floats of about 0 to 1; give x.astype(numpy.uint8), or x / 255"
            )


def _check_split(where: str, split: Split, modalities: tuple[ModalitySpec, ...], n_classes: int) -> None:
    n = len(split)
    _check_labels(where, split.labels, n_classes)
    if split.present is not None:
        _check_present(where, split.present, [n, len(modalities)])
    for m in modalities:
        x = split.x.get(m.name)
        if x is None:
            raise DataError(f"{where}: there is no {m.name!r}; there are: {', '.join(split.x)}")
        if x.dtype not in _DTYPES:
            raise DataError(
                f"{where}: {m.name!r} is {type_and_shape(x)}, but must be uint8 (0 to 255, becomes 0 to "
                "1), float32, or int8 (numbers of symbols)"
            )
        if tuple(x.shape[1:]) != m.shape:
            raise DataError(
                f"{where}: {m.name!r} has samples of shape {list(x.shape[1:])}, but must have {list(m.shape)}"
            )
        if len(split.rows.get(m.name, x)) != n:
            others = f"there are {n} labels" if split.labels.numel() else f"{modalities[0].name!r} has {n}"
            raise DataError(f"{where}: {m.name!r} has {len(x)} samples, but {others}")


def _check_covariates(where: str, split: Split, modalities: tuple[ModalitySpec, ...]) -> None:
    due = [len(split), width(of_modalities(modalities))]
    c_NC = split.x.get(COVARIATES, torch.zeros(len(split), 0))
    if list(c_NC.shape) != due or c_NC.dtype != torch.float32:
        raise DataError(f"{where}: the covariates are {type_and_shape(c_NC)}, but must be float32 {due}")


def _check_like_train(where: str, split: Split, train: Split) -> None:
    """Check that a split has the modalities and types of the training split, and only finite numbers."""
    if set(split.x) != set(train.x):
        different = ", ".join(sorted(set(split.x) ^ set(train.x)))
        raise DataError(f"{where}: the modalities differ from those of train in: {different}")
    for name, x in split.x.items():
        if x.dtype != train.x[name].dtype:
            kind, of_train = (str(t.dtype).removeprefix("torch.") for t in (x, train.x[name]))
            raise DataError(f"{where}: {name!r} is {kind}, but {of_train} in train")
        if x.is_floating_point() and not (finite_N := x.isfinite().flatten(1).all(1)).all():
            raise DataError(
                f"{where}: {name!r} has a number that is not finite in row {int(finite_N.int().argmin())}; "
                "where a sample lacks a modality, use zeros and mark it in `present`"
            )


def _check_labels(where: str, labels: Tensor, n_classes: int) -> None:
    if labels.dim() == 2 and labels.shape[1] == 1:
        raise DataError(f"{where}: the labels have shape [N, 1]; flatten them with labels.reshape(-1)")
    if labels.dtype != torch.int64 or labels.shape[1:] not in ((), (n_classes,)):
        raise DataError(
            f"{where}: the labels are {type_and_shape(labels)}, but must be whole numbers [N], or "
            f"[N, {n_classes}] for attributes"
        )
    if len(labels) == 0:
        raise DataError(f"{where}: there are no samples")
    highest = 1 if labels.dim() == 2 else n_classes - 1
    if not labels.numel():
        return
    if labels.min() < 0 or labels.max() > highest:
        raise DataError(
            f"{where}: the labels are from {labels.min()} to {labels.max()}, but must be 0 to {highest}"
        )


def _check_present(where: str, present: Tensor, shape: list[int]) -> None:
    if present.dtype != torch.bool or list(present.shape) != shape:
        raise DataError(f"{where}: `present` is {type_and_shape(present)}, but must be bool {shape}")
    for axis, what in ((1, "a sample has no modality"), (0, "a modality is in no sample")):
        if not present.any(axis).all():
            raise DataError(f"{where}: according to `present`, {what}")


def _held_out(train: Split, missing: list[str], seed: int) -> dict[str, Split]:
    """Return a tenth of the training split for each missing split, and the training split without them."""
    if not missing:
        return {}
    rng = np.random.default_rng(seed)
    labels = train.labels.numpy()
    order = stratified_order(labels, rng) if labels.ndim == 1 else rng.permutation(len(labels))
    return {name: train.shuffled(index, rng) for name, index in held_out(order, missing).items()}
