"""Draws samples from a trial's checkpoint: what the model makes of a subset of the modalities."""

import re
from pathlib import Path

from mopoe.errors import CheckpointError
from mopoe.subsets import subset_label, subset_masks
from sweep.config.parameters import subset_places
from sweep.errors import StoreError
from sweep.search.trial import split_name
from sweep.store.files import LocalFiles
from sweep.store.layout import CHECKPOINTS
from sweep.store.read import open_store


def choose_checkpoint(root: Path, trial: str | None) -> Path:
    """Return the checkpoint of a trial; without a name, the newest.

    Raises:
        StoreError: the folder is not a results folder, or has no such checkpoint.
    """
    files = open_store(root).files
    if not isinstance(files, LocalFiles):
        raise StoreError(f"{files} is an object store; `sweep fetch {files}` copies it here")
    weights = {path.stem: path for path in sorted((files.folder / CHECKPOINTS).glob("*.safetensors"))}
    if not weights:
        raise StoreError(
            f"{root} holds no checkpoint; `sweep trial` writes one, and a sweep keeps those of its front"
        )
    if trial is None:
        return max(weights.values(), key=lambda path: path.stat().st_mtime_ns)
    # Checkpoints of `sweep trial` are named TRIAL-ATTEMPT; the last attempt is meant.
    attempts = {name: re.fullmatch(rf"{re.escape(trial)}(?:-(\d+))?", name) for name in weights}
    matches = {name: int(match[1] or 0) for name, match in attempts.items() if match}
    if not matches:
        raise StoreError(f"{root} holds no checkpoint of trial {trial!r}; there are: {', '.join(weights)}")
    return weights[max(matches, key=lambda name: matches[name])]


def source_mask(source: str, names: tuple[str, ...]) -> int:
    """Return the bit mask of a subset written as "m0+m2", "all" or "prior".

    Raises:
        ConfigError: there is no such subset.

    >>> source_mask("m0+m2", ("m0", "m1", "m2"))
    5
    """
    if source == "prior":
        return 0
    masks = subset_masks(len(names))
    return masks[-1] if source == "all" else masks[subset_places([source], names)[0]]


def draw_samples(checkpoint: Path, mask: int, n: int, seed: int, out: Path, folds: int | None = None) -> str:
    """Write a grid of samples as an image and return a sentence about what it shows.

    With a number of folds the checkpoint is of a sweep that has so many.

    Raises:
        CheckpointError: the checkpoint is damaged, or its data set has changed.
    """
    from mopoe.checkpoint import load_model, read_progress
    from mopoe.data import load_data
    from mopoe.data.folds import fold
    from mopoe.evaluation.pictures import sample_grid, save_grid

    progress = read_progress(checkpoint)
    data = load_data(progress.data, **progress.data_options)
    if folds:
        data = fold(data, split_name(checkpoint.stem)[1], folds)
    names = tuple(m.name for m in data.modalities)
    if progress.fingerprint not in (None, data.fingerprint):
        raise CheckpointError(f"{checkpoint}: was trained on other data; {progress.data} has changed since")
    model = load_model(checkpoint, data.modalities)
    n = min(n, len(data.test))
    save_grid(sample_grid(model, data.test, mask, n, seed), out)
    what = f"generated from {subset_label(mask, names)}" if mask else "drawn from the prior"
    m = len(names)
    return f"{out}: rows 1 to {m} are test samples, rows {m + 1} to {2 * m} are {what} ({checkpoint.stem})"
