"""Trade-offs of made-up values, without a store."""

import numpy as np
import polars as pl

from sweep.analysis.fronts import front_mask
from sweep.analysis.inference import infer
from sweep.analysis.points import by_config, points, usable_trials
from sweep.analysis.tradeoff import Tradeoff
from sweep.config.objectives import Objective

TWO = (Objective(name="x"), Objective(name="y"))


def trade(values, objectives=TWO, error=None, samples=None):
    """Return the trade-off of values [config, seed, objective] with one standard error.

    Args:
        values: by config, seed and objective.
        objectives: of the values.
        error: of every value.
        samples: what each sample adds to every objective of a trial, [config, seed, N].
    """
    values = np.asarray(values, dtype=np.float64)
    config, seed = (a.ravel() for a in np.indices(values.shape[:2]))
    flat = values.reshape(-1, values.shape[2]).T
    frame = pl.DataFrame(
        {
            "trial_id": [f"t{c:04}-{s}" for c, s in zip(config, seed, strict=True)],
            "config_id": [f"c{c}" for c in config],
            "seed": seed,
            "status": "completed",
        }
    ).with_columns(
        *(pl.Series(f"o_{o.name}", column) for o, column in zip(objectives, flat, strict=True)),
        *(pl.lit(error, dtype=pl.Float64).alias(f"se_{o.name}") for o in objectives),
    )
    by_sample = None
    if samples is not None:
        rows = {"trial_id": frame["trial_id"], "values": samples.reshape(frame.height, -1).tolist()}
        by_sample = pl.concat(pl.DataFrame(rows | {"metric": o.name}) for o in objectives)
    usable = usable_trials(frame, objectives)
    configs, inference = infer(usable, by_config(usable, objectives), objectives, by_sample)
    means = points(configs, objectives)
    return Tradeoff(
        manifest=None,
        trials=frame,
        configs=configs,
        points=means,
        inference=inference,
        on_front=front_mask(means),
        hypervolume=0.0,
        picks=(),
    )
