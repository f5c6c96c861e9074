"""The demo's sweep with other libraries: Ray Tune, its `OptunaSearch` and multivae 1.0.3, as documented.

Run by benchmarks/peer/end_to_end.py in an environment of its own, with one argument: a JSON file with what
the demo's file says. Every trial leaves the weights of its model in the folder given there.

From the libraries' documentation: metric and mode as lists, default loggers, the data by `with_parameters`,
one CPU a trial; trainer and evaluators with their default settings beside what the demo fixes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import ray
import torch
from bridge import dataset, peer
from multivae.data.datasets import MultimodalBaseDataset
from multivae.metrics import (
    CoherenceEvaluator,
    CoherenceEvaluatorConfig,
    LikelihoodsEvaluator,
    LikelihoodsEvaluatorConfig,
)
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from safetensors.torch import save_file

import mopoe

OBJECTIVES = ["conditional_coherence", "log_likelihood"]


def trial(
    settings: dict[str, Any], plan: dict[str, Any], data: mopoe.MultimodalData, judges: mopoe.Classifiers
) -> None:
    """Train and evaluate one model, and report both objectives to Tune."""
    config = mopoe.TrialConfig.from_dict(plan["fixed"] | settings)
    model = peer("MoPoE", mopoe.build_model(config, data.modalities), own_networks=False, beta=config.beta)
    training = BaseTrainerConfig(
        output_dir="training",
        per_device_train_batch_size=config.batch_size,
        num_epochs=config.epochs,
        learning_rate=config.lr,
    )
    validation = samples(data.validation)
    trainer = BaseTrainer(model, samples(data.train), validation, training)
    trainer.train()
    model, amounts = trainer._best_model, plan["evaluation"]  # noqa: SLF001 - what it saves as its final model
    coherence = CoherenceEvaluator(
        model,
        dict(judges.networks),
        samples(data.validation, amounts["coherence_samples"]),
        output="coherence",
        eval_config=CoherenceEvaluatorConfig(num_classes=10, nb_samples_for_joint=amounts["joint_samples"]),
    )
    found = coherence.eval()
    likelihood = LikelihoodsEvaluator(
        model,
        samples(data.validation, amounts["likelihood_samples"]),
        output="likelihood",
        eval_config=LikelihoodsEvaluatorConfig(num_samples=amounts["importance_samples"]),
    )
    pairs = [float(value) for name, value in found.items() if "_to_" in name]
    weights = {k.replace(".inner", ""): t.contiguous() for k, t in model.state_dict().items()}
    name = tune.get_context().get_trial_id()
    save_file(weights, Path(plan["models"], f"{name}.safetensors"), {"config": json.dumps(config.to_dict())})
    nll = float(likelihood.eval().joint_likelihood)
    tune.report(dict(zip(OBJECTIVES, (sum(pairs) / len(pairs), -nll), strict=True)))


def samples(split: mopoe.Split, n: int | None = None) -> MultimodalBaseDataset:
    """Return the first n samples of a split as multivae has them: floats in memory, with labels."""
    index_N = torch.arange(len(split))[:n]
    x = {name: split.stored(name, index_N).float() / 255 for name in split.x}
    return dataset(x, split.labels[index_N])


def main(file: str) -> None:
    """Run the sweep."""
    plan = json.loads(Path(file).read_text(encoding="utf-8"))
    data = mopoe.load_data(plan["data"]["name"], **plan["data"]["options"])
    ray.init(num_cpus=plan["at_once"])
    beta, latent = plan["space"]["beta"], plan["space"]["latent_dim"]
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, plan=plan, data=data, judges=mopoe.load_classifiers(data)), {"cpu": 1}
        ),
        param_space={
            "beta": tune.loguniform(beta["low"], beta["high"]),
            "latent_dim": tune.randint(latent["low"], latent["high"] + 1),
        },
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric=OBJECTIVES, mode=["max", "max"]), num_samples=plan["trials"]
        ),
        run_config=tune.RunConfig(name="digits", storage_path=plan["storage"]),
    )
    results = tuner.fit()
    print(json.dumps([{k: r.metrics[k] for k in (*OBJECTIVES, "trial_id", "time_total_s")} for r in results]))


if __name__ == "__main__":
    main(sys.argv[1])
