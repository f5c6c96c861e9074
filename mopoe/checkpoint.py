"""Checkpoints without pickle: one safetensors file with the weights, Adam's state and the progress.

A trial needs nothing else to resume as if it had never stopped, because its random numbers and its data order
are functions of the seed and the position (`mopoe.random_streams`).
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mopoe.bank import trained
from mopoe.cache import whole_file
from mopoe.config import TrialConfig
from mopoe.data import modalities as modalities_of
from mopoe.data.registry import ModalitySpec, Option
from mopoe.data.units import Kind
from mopoe.errors import CheckpointError
from mopoe.model import MoPoE, build_model
from mopoe.validation import CLOSED, config_errors

FORMAT = 2
"""Version of the file format; a file of a later version is refused. The first held no modalities."""

_LATER = ("covariates", "median_total")
"""Fields of a modality that came when there were checkpoints already."""
_SPECS = TypeAdapter(tuple[ModalitySpec, ...])


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config={**CLOSED, "strict": True})
class Progress:
    """How far a trial has been trained, and the settings and data that it was trained with."""

    config: TrialConfig
    """The trial's settings."""
    data: str
    """Name of the data set."""
    data_options: dict[str, Option]
    """The data set's options, with which it can be loaded again."""
    epoch: NonNegativeInt = 0
    """Finished epochs."""
    step: NonNegativeInt = 0
    """Optimiser steps taken."""
    examples: NonNegativeInt = 0
    """Training samples seen."""
    seconds: float = 0.0
    """Wall time of all epochs and their evaluations, summed over processes."""
    fingerprint: str | None = None
    """Fingerprint of the data."""
    modalities: tuple[ModalitySpec, ...] = ()
    """The data set's modalities; empty in files of format 1."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """The values of each modality, by name; empty in files of format 1."""


def save(path: str | Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint; the file at `path` is replaced atomically."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    names = {parameter: name for name, parameter in model.named_parameters()}
    for held, parameters, views in _trained(model):
        for key, value in optimizer.state.get(held, {}).items():
            parts = views(value) if key != "step" else (value.clone() for _ in parameters)
            for parameter, part in zip(parameters, parts, strict=True):
                tensors[f"adam/{key}/{names[parameter]}"] = torch.as_tensor(part)
    plain = asdict(progress) | {"config": progress.config.to_dict()}
    # What is left out where it is empty, earlier versions do not know.
    plain["modalities"] = [{k: v for k, v in m.items() if k not in _LATER or v} for m in plain["modalities"]]
    text = json.dumps({"format": FORMAT} | plain)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        content = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
        save_file(content, temporary, {"progress": text, "digest": digest(text, content)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def read_progress(path: str | Path) -> Progress:
    """Return the progress that a checkpoint holds, without reading its weights.

    Raises:
        CheckpointError: the file is missing, damaged or of a newer format.
    """
    return _parse(_open(path, tensors=False)[0], path)


def check(path: str | Path) -> Progress:
    """Return the progress that a checkpoint holds, after reading and verifying all of the file.

    Raises:
        CheckpointError: as for `read_progress`, or the content has changed since it was written.
    """
    return _parse(_open(path, tensors=True)[0], path)


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of a text and of the names, types, shapes and content of tensors on the CPU."""
    checksum = zlib.crc32(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


def load_model(path: str | Path, modalities: tuple[ModalitySpec, ...] = ()) -> MoPoE:
    """Return the trained model of a checkpoint, on the CPU and in eval mode.

    Args:
        path: the checkpoint.
        modalities: the modalities of its data set; by default those in the file. One of format 1 holds none,
            so that they are looked up by the data set's name, which fails for data made from arrays.

    Raises:
        CheckpointError: the file is missing, damaged, of a newer format or of a model of other shapes.
        ConfigError: there is no data set of that name, or the networks cannot be built.
    """
    progress = read_progress(path)
    modalities = modalities or progress.modalities or modalities_of(progress.data, **progress.data_options)
    model = build_model(progress.config, modalities)
    restore(path, model)
    return model.eval()


def restore(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
    """Load a checkpoint into a model, and into its Adam optimizer if given; return the progress.

    Raises:
        CheckpointError: the file is missing, damaged, of a newer format or of a model of other shapes.
    """
    text, tensors = _open(path, tensors=True)
    progress = _parse(text, path)
    weights = {k.removeprefix("model/"): t for k, t in tensors.items() if k.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: these are the weights of another model ({error})") from error
    if optimizer is None:
        return progress
    names = {parameter: name for name, parameter in model.named_parameters()}
    for held, parameters, views in _trained(model):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            saved = [tensors.get(f"adam/{key}/{names[parameter]}") for parameter in parameters]
            # A parameter that never had a gradient has no state at all.
            known = [tensor for tensor in saved if tensor is not None]
            if len(known) < len(saved):
                continue
            if key == "step":
                optimizer.state[held][key] = known[0].to(held.device)  # fused Adam reads it there
                continue
            # In the memory layout of what is trained: fused Adam ignores strides.
            optimizer.state[held][key] = state = torch.empty_like(held.detach())
            for view, part in zip(views(state), known, strict=True):
                view.copy_(part)
    return progress


def _trained(
    model: nn.Module,
) -> Iterator[tuple[Tensor, tuple[nn.Parameter, ...], Callable[[Tensor], Iterable[Tensor]]]]:
    """Give each tensor that an optimizer trains, the parameters in it, and how to take its like apart."""
    stacks = model.stacks if isinstance(model, MoPoE) else []
    for stack in stacks:
        yield stack.leaf, stack.parameters, stack.views
    for tensor in trained(model.parameters(), stacks)[len(stacks) :]:
        assert isinstance(tensor, nn.Parameter)
        yield tensor, (tensor,), lambda like: (like,)


def _open(path: str | Path, *, tensors: bool) -> tuple[str, dict[str, Tensor]]:
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            content = {k: file.get_tensor(k) for k in file.keys()} if tensors else {}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error
    text = metadata.get("progress", "{}")
    if tensors and digest(text, content) != metadata.get("digest"):
        raise CheckpointError(f"{path}: its content has changed since it was written, so it is damaged")
    return text, content


def _parse(text: str, path: str | Path) -> Progress:
    try:
        values: dict[str, Any] = json.loads(text)
        if (version := values.pop("format")) > FORMAT:
            newer = f"{path} has format {version}, but this version reads formats up to {FORMAT}"
            raise CheckpointError(f"{newer}; update mopoe-sweep")
        values["modalities"] = _SPECS.validate_python(values.get("modalities", []))
        return Progress(**(values | {"config": TrialConfig.from_dict(values["config"])}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this program ({error})") from error
