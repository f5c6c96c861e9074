"""Checkpoints without pickle: one safetensors file that holds the weights, Adam's state and the progress.

A trial needs nothing else to go on as if it had never stopped, because its noise and its data order are
functions of the seed and the position (`mopoe.noise`).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.data.container import whole_file
from mopoe.data.registry import Option
from mopoe.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a trial stands, with the settings it was started with."""

    config: TrialConfig
    """The trial's settings."""
    data: str
    """Name of the data set."""
    data_options: dict[str, Option]
    """The data set's options, so that it can be loaded again."""
    epoch: int
    """Epochs finished."""
    step: int
    """Optimiser steps taken."""
    examples: int
    """Training samples seen."""


def save(path: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint; the file at `path` is replaced whole or not at all."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adam/{key}/{name}"] = torch.as_tensor(value)
    text = json.dumps(
        {
            "format": FORMAT,
            "config": progress.config.to_dict(),
            "data": progress.data,
            "data_options": progress.data_options,
            "epoch": progress.epoch,
            "step": progress.step,
            "examples": progress.examples,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        plain = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
        save_file(plain, temporary, {"progress": text})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def read_progress(path: Path) -> Progress:
    """Return where the trial of a checkpoint stands, without reading its weights.

    Raises:
        CheckpointError: the file is missing, damaged or of a newer format.
    """
    return _parse(_open(path, tensors=False)[0], path)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
    """Load a checkpoint into a model, and into its optimizer if one is given; return the progress.

    Raises:
        CheckpointError: the file is missing, damaged, of a newer format or of a model of other shapes.
    """
    text, tensors = _open(path, tensors=True)
    progress = _parse(text, path)
    weights = {k.removeprefix("model/"): t for k, t in tensors.items() if k.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: these weights are of another model ({error})") from error
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            parts = {key: tensors.get(f"adam/{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            found = {k: _like(t, parameter, k) for k, t in parts.items() if t is not None}
            # A parameter that never had a gradient has no state at all.
            if found and len(found) < len(parts):
                raise CheckpointError(f"{path}: part of Adam's state of {name} is missing")
            if found:
                optimizer.state[parameter] = found
    return progress


def _like(tensor: Tensor, parameter: nn.Parameter, key: str) -> Tensor:
    """Return Adam's state on the parameter's device and in its memory layout (fused Adam ignores strides)."""
    if key == "step":
        return tensor.to(parameter.device)  # fused Adam reads it there
    return torch.empty_like(parameter.data).copy_(tensor)


def _open(path: Path, *, tensors: bool) -> tuple[str, dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            found = {k: file.get_tensor(k) for k in file.keys()} if tensors else {}  # noqa: SIM118 - not a mapping
            return (file.metadata() or {}).get("progress", "{}"), found
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def _parse(text: str, path: Path) -> Progress:
    try:
        values: dict[str, Any] = json.loads(text)
        if values["format"] > FORMAT:
            raise CheckpointError(
                f"{path}: format {values['format']} is newer than this program's ({FORMAT}); update it"
            )
        del values["format"]
        return Progress(**(values | {"config": TrialConfig.from_dict(values["config"])}))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this program ({error})") from error
