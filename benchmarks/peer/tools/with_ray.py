"""The sweep with Ray Tune and its OptunaSearch.

Run: python with_ray.py      (again after an interruption)
"""

import statistics
from pathlib import Path

from halves_multivae import OBJECTIVES, SEEDS, TRIALS, Halves, train, use
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

STORAGE = Path("ray_results").absolute()
LAST_LR = 0.01


def trial(settings, halves):
    """Train a model per seed; after the first rung Tune may end the trial."""

    def report(values, **more):
        tune.report(dict(zip(OBJECTIVES, values, strict=True)), **more)

    found = []
    for seed in range(SEEDS):
        values, folder = train(halves, settings, seed, "models", None if seed else report)
        found.append(values)
    means = [statistics.mean(column) for column in zip(*found, strict=True)]
    report(means, checkpoint=tune.Checkpoint.from_directory(folder))


def main():
    """Run the trials that are left, and use the model of the best one."""
    trainable = tune.with_resources(tune.with_parameters(trial, halves=Halves()), {"cpu": 1})
    if tune.Tuner.can_restore(STORAGE / "halves"):
        tuner = tune.Tuner.restore(str(STORAGE / "halves"), trainable)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={
                "beta": tune.loguniform(0.25, 4),
                "latent_dim": tune.randint(4, 17),
                "lr": tune.loguniform(0.0005, LAST_LR),
            },
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric=OBJECTIVES, mode=["max", "max"], seed=0),
                # A scheduler takes one metric.
                scheduler=ASHAScheduler(
                    metric="log_likelihood", mode="max", max_t=2, grace_period=1, reduction_factor=2
                ),
                num_samples=TRIALS,
            ),
            run_config=tune.RunConfig(name="halves", storage_path=str(STORAGE)),
        )
    results = tuner.fit()
    # Tune has no front; this is the trial with the best value of one objective.
    best = results.get_best_result("conditional_coherence", "max")
    print(best.config, [best.metrics[name] for name in OBJECTIVES])
    use(best.checkpoint.path)


if __name__ == "__main__":
    main()
