"""What an evaluation at a rung costs beside training, and what bfloat16 changes in its numbers.

Run: python benchmarks/evaluation.py        (about three minutes on one core)

For each shipped sweep, the middle of its search space is trained on some samples and then measured, in turn,
on data of its shapes but random pixels, with one thread; an epoch is the time in proportion to its samples.
For the precision, the middle of the demo's space is trained in full and measured twice with the same noise.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from common import header, random_data

import mopoe
from mopoe.data.registry import entry
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from mopoe.evaluation.coherence import Estimate, conditional_coherence, mean_estimate, targets_outside
from mopoe.evaluation.log_likelihood import joint_log_likelihood
from sweep.config.sweep_spec import load_spec, trial_config_for

SWEEPS = {"digits": 4000, "polymnist": 54_000}
"""Training samples by shipped sweep."""
SAMPLES, ROUNDS = 1024, 5
"""Samples trained on a round, and rounds."""
COHERENCE_SAMPLES, LIKELIHOOD_SAMPLES, K = 1000, 200, 62
"""For the precision."""


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name: str, n_train: int) -> tuple[float, float]:
    """Return the seconds of an epoch and of an evaluation at a rung."""
    spec = load_spec(name)
    config = replace(trial_config_for(spec, []), epochs=1)
    data = random_data(SAMPLES, entry(name).modalities, name)
    networks = {m.name: ImageClassifier(m.shape[0], 10).eval() for m in data.modalities}
    classifiers = Classifiers(networks=networks, accuracy={}, hash="")
    evaluator = mopoe.Evaluator(data, classifiers, replace(spec.evaluation, final_metrics=()), epochs=1)
    model = mopoe.train(config, data, lambda _: None)
    rounds = [
        (
            seconds(lambda: mopoe.train(config, data, lambda _: None)),
            seconds(lambda: evaluator.measure(model, "rung")),
        )
        for _ in range(ROUNDS)
    ]
    part, at_rung = (statistics.median(column) for column in zip(*rounds, strict=True))
    return part * n_train / SAMPLES, at_rung


def change() -> dict[str, Estimate]:
    """Return bfloat16's mean difference from float32 in each objective, with its standard error."""
    spec = load_spec("digits")
    data = mopoe.load_data("digits", seed=0)
    classifiers = mopoe.load_classifiers(data)
    model = mopoe.train(trial_config_for(spec, []), data, lambda _: None).eval()
    found: dict[str, list[torch.Tensor]] = {"log p(X), nats": [], "conditional coherence": []}
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            log_p_N = joint_log_likelihood(model, data.validation, LIKELIHOOD_SAMPLES, K, 0)
            said = conditional_coherence(model, data.validation, classifiers, COHERENCE_SAMPLES, 0)
        outside_SM = targets_outside(said.masks, len(model.names))
        found["log p(X), nats"].append(log_p_N)
        found["conditional coherence"].append(said.scores.correct_NSM[:, outside_SM].double().mean(1))
    return {name: mean_estimate(half - full) for name, (full, half) in found.items()}


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(header())
    print(f"1 thread, CPU seconds, median of {ROUNDS} rounds")
    print(f"{'sweep':>10}{'epoch':>9}{'at a rung':>11}{'of an epoch':>13}")
    for name, n_train in SWEEPS.items():
        epoch, at_rung = measure(name, n_train)
        print(f"{name:>10}{epoch:>9.1f}{at_rung:>11.2f}{at_rung / epoch:>13.1%}", flush=True)
    print(
        f"\nbfloat16 less float32; {LIKELIHOOD_SAMPLES} samples with K={K}, {COHERENCE_SAMPLES} for coherence"
    )
    for objective, (mean, error) in change().items():
        print(f"{objective:>22}{mean:>+10.5f} (standard error {error:.5f})")


if __name__ == "__main__":
    main()
