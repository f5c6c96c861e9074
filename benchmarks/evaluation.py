"""What an evaluation at a rung costs beside training.

Run: python benchmarks/evaluation.py        (about a minute on one core)

For each shipped sweep, the middle of its search space is trained on some samples and then measured, in turn,
on data of its shapes but random pixels, with one thread; an epoch is the time in proportion to its samples.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import mopoe
from mopoe.data.registry import entry
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from sweep.spec import load_spec, trial_config_for

SWEEPS = {"digits": 4000, "polymnist": 54_000}
"""Training samples by shipped sweep."""
SAMPLES, ROUNDS = 1024, 5
"""Samples trained on a round, and rounds."""


def random_data(name: str, n: int) -> mopoe.MultimodalData:
    """Return n samples of a data set's shapes."""
    shapes, rng = entry(name).modalities, torch.Generator().manual_seed(0)
    x = {m.name: torch.randint(256, (n, *m.shape), generator=rng, dtype=torch.uint8) for m in shapes}
    split = mopoe.Split(x, torch.randint(10, (n,), generator=rng))
    return mopoe.MultimodalData(
        name=name,
        options={},
        fingerprint="",
        modalities=shapes,
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


def measure(name: str, n_train: int) -> tuple[float, float]:
    """Return the seconds of an epoch and of an evaluation at a rung."""
    spec = load_spec(name)
    config = replace(trial_config_for(spec, []), epochs=1)
    data = random_data(name, SAMPLES)
    networks = {m.name: ImageClassifier(m.shape[0], 10).eval() for m in data.modalities}
    judges = Classifiers(networks=networks, accuracy={}, hash="")
    evaluator = mopoe.Evaluator(data, judges, replace(spec.evaluation, extras=()), epochs=1)
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


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, CPU seconds, median of {ROUNDS} rounds")
    print(f"{'sweep':>10}{'epoch':>9}{'at a rung':>11}{'of an epoch':>13}")
    for name, n_train in SWEEPS.items():
        epoch, at_rung = measure(name, n_train)
        print(f"{name:>10}{epoch:>9.1f}{at_rung:>11.2f}{at_rung / epoch:>13.1%}", flush=True)


if __name__ == "__main__":
    main()
