"""What evaluation costs beside training: at a rung, and after the last epoch.

Run: python benchmarks/evaluation.py        (about two minutes on one core)

For each shipped sweep, the middle of its search space is trained for some steps and measured in turn, on data
of its shapes but random pixels, with one thread; an epoch is the time of a step times its number of steps.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import mopoe
from mopoe.config import EvaluationConfig, TrialConfig
from mopoe.data.registry import entry
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from sweep.spec import load_spec, trial_config_for

SWEEPS = {"digits": 4000, "polymnist": 54_000}
"""Training samples by shipped sweep."""
STEPS, ROUNDS, PART = 8, 3, 0.25
"""Steps of training a round; rounds; the part of the last epoch's evaluation that is timed."""


def random_data(name: str, n: int) -> mopoe.MultimodalData:
    """Return n samples of a data set's shapes."""
    modalities = entry(name).modalities
    rng = torch.Generator().manual_seed(0)
    x = {m.name: torch.randint(256, (n, *m.shape), generator=rng, dtype=torch.uint8) for m in modalities}
    split = mopoe.Split(x, torch.randint(10, (n,), generator=rng))
    return mopoe.MultimodalData(
        name=name,
        options={},
        fingerprint="",
        modalities=modalities,
        n_classes=10,
        train=split,
        validation=split,
        test=split,
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name: str, n_train: int) -> tuple[float, float, float]:
    """Return the seconds of an epoch, of an evaluation at a rung and of the last epoch's."""
    spec = load_spec(name)
    config: TrialConfig = replace(trial_config_for(spec, []), epochs=1)
    evaluation: EvaluationConfig = replace(spec.evaluation, pictures=0, extras=())
    data = random_data(name, config.batch_size * STEPS)
    networks = {m.name: ImageClassifier(m.shape[0], 10).eval() for m in data.modalities}
    judges = Classifiers(networks=networks, accuracy={}, hash="")
    rung = mopoe.Evaluator(data, judges, evaluation, epochs=1)
    amounts = ("coherence_samples", "joint_samples", "likelihood_samples")
    part = {amount: int(getattr(evaluation, amount) * PART) for amount in amounts}
    last = mopoe.Evaluator(data, judges, replace(evaluation, **part), epochs=1)
    model = mopoe.train(config, data, lambda _: None)
    rounds = [
        (
            seconds(lambda: mopoe.train(config, data, lambda _: None)) / STEPS,
            seconds(lambda: rung.measure(model, "rung")),
            seconds(lambda: last.measure(model)) / PART,
        )
        for _ in range(ROUNDS)
    ]
    step, at_rung, at_end = (statistics.median(column) for column in zip(*rounds, strict=True))
    return step * -(-n_train // config.batch_size), at_rung, at_end


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, CPU seconds, median of {ROUNDS} rounds")
    print(
        f"{'sweep':>10}{'epoch':>9}{'at a rung':>11}{'of an epoch':>13}{'at the end':>12}{'of the trial':>14}"
    )
    for name, n_train in SWEEPS.items():
        epoch, at_rung, at_end = measure(name, n_train)
        epochs = trial_config_for(load_spec(name), []).epochs
        row = f"{name:>10}{epoch:>9.1f}{at_rung:>11.2f}{at_rung / epoch:>13.1%}{at_end:>12.1f}"
        print(f"{row}{at_end / (epoch * epochs):>14.1%}", flush=True)


if __name__ == "__main__":
    main()
