"""A data set from plain arrays, and the check of what a function of your own returns."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mopoe.data.container import SPLITS, MultimodalData, Split, fingerprint, stratified_order
from mopoe.data.registry import ModalitySpec, Option
from mopoe.errors import ConfigError, DataError

RESERVED = ("labels", "all", "prior")
"""What no modality may be named: arrays and commands use these words."""
_DTYPES = (torch.uint8, torch.float32, torch.int8)


def data_from_arrays(
    train: Mapping[str, Any],
    validation: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    *,
    networks: Mapping[str, str] | None = None,
    n_classes: int | None = None,
    seed: int = 0,
) -> MultimodalData:
    """Return a data set made of plain arrays; a tenth of `train` each stands in for a missing split.

    Args:
        train: one array [N, ...] by modality name, in the order of the bits of a subset mask, and "labels":
            the class [N] of each sample, or a row [N, n_classes] of attributes, each 0 or 1. Samples are
            uint8 (0 to 255 becomes 0 to 1), floats in a unit of your own, or int8 (numbers of symbols).
        validation: the same arrays of other samples, for choosing between trials.
        test: the same of yet others, for the last word.
        networks: by modality name, the function that builds its networks; see `ModalitySpec.network`.
        n_classes: number of classes; one more than the largest label if not given.
        seed: fixes which samples of `train` are held out for a split that is not given.

    Raises:
        ConfigError: there are networks for a modality that is not there.
        DataError: arrays do not fit together; the sentence names the split and the array.
    """
    given = {"train": train, "validation": validation, "test": test}
    splits = {name: _split(name, arrays) for name, arrays in given.items() if arrays is not None}
    names = tuple(splits["train"].x)
    networks = networks or {}
    for name in networks:
        if name not in names:
            raise ConfigError(f"networks are given for {name!r}, but the modalities are: {', '.join(names)}")
    plain = [ModalitySpec(name=name, shape=tuple(x.shape[1:])) for name, x in splits["train"].x.items()]
    modalities = tuple(replace(m, network=networks.get(m.name, m.network)) for m in plain)
    if n_classes is None:
        labels = splits["train"].labels
        highest = max((int(s.labels.max()) for s in splits.values() if s.labels.numel()), default=0)
        n_classes = labels.shape[1] if labels.dim() == 2 else highest + 1
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
        **splits,
    )
    return checked(data, data.name, {}, ())


def checked(
    data: object, name: str, options: Mapping[str, Option], told: tuple[ModalitySpec, ...]
) -> MultimodalData:
    """Return what a user's function returned, under the name and options it was asked for by, if it fits.

    `told` are the modalities that were told before it was loaded, if any.

    Raises:
        DataError: it is no MultimodalData, or its parts do not fit together.
    """
    if not isinstance(data, MultimodalData):
        raise DataError(f"its function returned a {type(data).__name__}, but must return a MultimodalData")
    names = [m.name for m in data.modalities]
    if not names or len(set(names)) < len(names):
        raise DataError(f"its modalities are {names}, but must be at least one, each with a name of its own")
    for m in names:
        # torch keeps networks by modality name, beside its own attributes.
        if not re.fullmatch("[A-Za-z0-9_-]{1,100}", m) or hasattr(nn.ModuleDict(), m) or m in RESERVED:
            raise DataError(
                f"a modality is named {m!r}, but must have letters, digits, '_' and '-', and not be "
                f"{', '.join(RESERVED)} or the name of a method of torch's modules"
            )
    if told and told != data.modalities:
        raise DataError(f"its modalities are {data.modalities}, but were said to be {told}")
    for split in SPLITS:
        _check_split(split, data.split(split), data.modalities, data.n_classes)
        _check_like_train(split, data.split(split), data.train)
    return replace(data, name=name, options=dict(options))


def _split(where: str, arrays: Mapping[str, Any]) -> Split:
    if "labels" not in arrays or len(arrays) == 1:
        raise DataError(f"{where} has the arrays {list(arrays)}, but must have 'labels' and the modalities")
    tensors: dict[str, Tensor] = {}
    for name, array in arrays.items():
        try:
            with warnings.catch_warnings():
                # A mapped file may be read-only; nothing here writes to it.
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")
                x = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {name!r} is no array of numbers ({error})") from error
        tensors[name] = x.float() if x.is_floating_point() else x
    labels = tensors.pop("labels")
    return Split(tensors, labels if labels.is_floating_point() else labels.long())


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
                f"{where}: {m.name!r} is {_form(x)}, but must be uint8 (0 to 255, becomes 0 to 1), float32, "
                "or int8 (numbers of symbols)"
            )
        if tuple(x.shape[1:]) != m.shape:
            raise DataError(
                f"{where}: {m.name!r} has samples of shape {list(x.shape[1:])}, but must have {list(m.shape)}"
            )
        if len(split.rows.get(m.name, x)) != n:
            raise DataError(f"{where}: {m.name!r} has {len(x)} samples, but there are {n} labels")


def _check_like_train(where: str, split: Split, train: Split) -> None:
    """Refuse a split with other modalities than train's, in another type, or with numbers not finite."""
    if set(split.x) != set(train.x):
        other = ", ".join(sorted(set(split.x) ^ set(train.x)))
        raise DataError(f"{where}: the modalities differ from those of train in: {other}")
    for name, x in split.x.items():
        if x.dtype != train.x[name].dtype:
            here, there = (str(t.dtype).removeprefix("torch.") for t in (x, train.x[name]))
            raise DataError(f"{where}: {name!r} is {here}, but {there} in train")
        if x.is_floating_point() and not (finite_N := x.isfinite().flatten(1).all(1)).all():
            raise DataError(
                f"{where}: {name!r} has a number that is not finite in row {int(finite_N.int().argmin())}; "
                "where a sample lacks a modality, put zeros and say so in `present`"
            )


def _check_labels(where: str, labels: Tensor, n_classes: int) -> None:
    if labels.dim() == 2 and labels.shape[1] == 1:
        raise DataError(f"{where}: labels are [N, 1]: flatten them, as by labels.reshape(-1)")
    if labels.dtype != torch.int64 or labels.shape[1:] not in ((), (n_classes,)):
        raise DataError(
            f"{where}: the labels are {_form(labels)}, but must be whole numbers [N], or [N, {n_classes}] "
            "for attributes"
        )
    if len(labels) == 0:
        raise DataError(f"{where}: holds no samples")
    highest = 1 if labels.dim() == 2 else n_classes - 1
    if labels.min() < 0 or labels.max() > highest:
        raise DataError(
            f"{where}: the labels are from {labels.min()} to {labels.max()}, but must be 0 to {highest}"
        )


def _check_present(where: str, present: Tensor, shape: list[int]) -> None:
    if present.dtype != torch.bool or list(present.shape) != shape:
        raise DataError(f"{where}: `present` is {_form(present)}, but must be bool {shape}")
    for axis, what in ((1, "a sample has no modality"), (0, "a modality is in no sample")):
        if not present.any(axis).all():
            raise DataError(f"{where}: {what}, says `present`")


def _held_out(train: Split, missing: list[str], seed: int) -> dict[str, Split]:
    """Return the training split without a tenth for each missing split, and these tenths."""
    if not missing:
        return {}
    rng = np.random.default_rng(seed)
    labels = train.labels.numpy()
    order = stratified_order(labels, rng) if labels.ndim == 1 else rng.permutation(len(labels))
    place = np.arange(len(order)) % 10
    shares = dict(zip(missing, (0, 5), strict=False))
    found = {name: order[place == share] for name, share in shares.items()}
    found["train"] = order[~np.isin(place, list(shares.values()))]
    # In random order: an evaluation takes the first samples of a split.
    return {name: train.take(torch.from_numpy(rng.permutation(index))) for name, index in found.items()}


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
