"""A sweep's trade-off in one object: its configs, which of them are on the front, and the picks."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.picks import Pick, picks
from sweep.analysis.points import Points, by_config, points, usable_trials
from sweep.store.read import Store
from sweep.store.records import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """What the trials of a sweep say about its objectives so far."""

    manifest: Manifest
    """What holds for the whole sweep."""
    trials: pl.DataFrame
    """One row per trial: its last attempt."""
    configs: pl.DataFrame
    """One row per config with completed trials of finite objectives, as `by_config` gives it."""
    points: Points
    """The same configs as points, in the same order."""
    on_front: NDArray[np.bool_]
    """Whether a config is on the front."""
    hypervolume: float
    """Volume between the front and the manifest's reference point."""
    picks: tuple[Pick, ...]
    """The configs to look at first, named by their first replicate."""


def tradeoff(store: Store) -> Tradeoff:
    """Return where a sweep stands now.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    manifest = store.manifest
    trials = store.latest_trials().collect()
    configs = by_config(usable_trials(trials, manifest.objectives), manifest.objectives)
    found = points(configs, manifest.objectives)
    return Tradeoff(
        manifest=manifest,
        trials=trials,
        configs=configs,
        points=found,
        on_front=front_mask(found),
        hypervolume=hypervolume(found, manifest.reference_point),
        picks=picks(found),
    )
