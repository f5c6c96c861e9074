"""Measures five small trials and one small sweep: what no restructuring may change.

Run: python tests/golden/measure.py OUT.json        (about a minute on one core)
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import mopoe
import sweep

SMALL: dict[str, Any] = {
    "latent_dim": 6,
    "channels": [4, 4, 4],
    "lr": 0.002,
    "batch_size": 40,
    "epochs": 2,
    "initialisation": "he",
    "initial_logvar": -5,
}
TRIALS: dict[str, dict[str, Any]] = {
    "mopoe": {"beta": 0.5, "subset_weights": [0.1, 0.1, 0.2, 0.2, 0.4]},
    "mvae": {"method": "poe", "beta_warmup_epochs": 1},
    "mmvae": {"method": "moe", "posterior": "laplace", "estimator": "dreg", "samples": 3},
    "mvtcae": {"method": "mvtcae", "learned_scale": True},
    "missing": {"missing": 0.3, "style_dim": 2, "mixture": "all", "learned_weights": True},
}
# By log-likelihood alone: coherence is near chance here, and so differs from processor to processor.
SWEEP = """
name: golden
data: {{name: polymnist, path: '{path}'}}
trials: 4
sampler: random
objectives: [log_likelihood]
reference_point: {{log_likelihood: -9000}}
search_space:
  beta: {{type: log_uniform, low: 0.1, high: 4}}
  subset_weights: {{type: simplex, over: size}}
fixed: {fixed}
scheduler: {{type: halving, grace: 1, eta: 2}}
replicates: {{seeds: 2, when: survivors}}
resources: {{concurrent: 1}}
evaluation: {evaluation}
"""
EVALUATION = {"coherence_samples": 40, "joint_samples": 40, "likelihood_samples": 10, "pictures": 0}


def few_digits(path: Path) -> None:
    """Write a file of 160 + 40 + 40 samples of the built-in digits."""
    from mopoe.data.container import fingerprint
    from mopoe.data.stored import save_splits

    whole = mopoe.load_data("digits")
    sizes = {"train": 160, "validation": 40, "test": 40}
    few = {name: whole.split(name).take(torch.arange(n)) for name, n in sizes.items()}
    save_splits(path, few, {"data": "polymnist", "seed": 0, "fingerprint": fingerprint(few)})


def trial(settings: dict[str, Any], data: mopoe.MultimodalData) -> Iterator[tuple[str, float]]:
    """Give what a trial reported: losses by epoch, objectives and metrics of subsets and pairs at its end."""
    config = mopoe.TrialConfig.from_dict(SMALL | settings)
    evaluator = mopoe.Evaluator(
        data, mopoe.load_classifiers(data), mopoe.EvaluationConfig(**EVALUATION), epochs=config.epochs
    )
    reports: list[mopoe.EpochReport] = []
    mopoe.train(config, data, reports.append, evaluate=evaluator)
    for report in reports:
        for name in ("loss", "elbo", "kl", "grad_norm"):
            yield f"epoch {report.epoch} {name}", getattr(report, name)
        for name, value in report.reconstruction.items():
            yield f"epoch {report.epoch} reconstruction {name}", value
    found = reports[-1].evaluation
    assert found is not None
    yield from found.objectives.items()
    yield from ((f"error of {name}", value) for name, value in found.stderr.items())
    for row in found.subset_metrics:
        yield f"{row.metric} {row.subset_mask} {row.target}", row.value
    for pair in found.pair_coherence:
        yield f"pair {pair.source_mask} {pair.target}", pair.value


def small_sweep(path: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    """Give how each trial of a sweep ended, what was decided about it, and the front."""
    fixed, evaluation = json.dumps(SMALL), json.dumps(EVALUATION | {"importance_samples": 31})
    file = folder / "golden.yaml"
    file.write_text(SWEEP.format(path=path, fixed=fixed, evaluation=evaluation), encoding="utf-8")
    spec, statuses = sweep.load_spec(file), list[Any]()
    store = sweep.run_sweep(spec, folder / "r", on_step=lambda now: statuses.append(now().status))
    for row in store.latest_trials().collect().iter_rows(named=True):
        for name in ("status", "epochs", "seed", "p_beta", *(k for k in row if k.startswith(("o_", "se_")))):
            yield f"{row['trial_id']} {name}", row[name]
    for row in store.events().sort("at").collect().iter_rows(named=True):
        yield f"{row['trial_id']} epoch {row['epoch']}", row["decision"]
    yield "hypervolume", statuses[-1].hypervolume
    yield "front", statuses[-1].front_size


def main() -> None:
    """Measure, and write the values."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "few.safetensors"
        few_digits(path)
        data = mopoe.load_data("polymnist", path=str(path))
        values: dict[str, Any] = {name: dict(trial(settings, data)) for name, settings in TRIALS.items()}
        values["sweep"] = dict(small_sweep(path, Path(folder)))
    Path(sys.argv[1]).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
