"""What makes the digits learnable in minutes: initialisation and the thickness of the strokes.

Run: python benchmarks/initialisation.py        (some minutes on one core)

Trains the same trial on `digits` under each setting and prints its conditional coherence (chance 0.1) and
log-likelihood on the validation split, with the CPU seconds of the whole trial.
"""

import time

import torch
from common import header

import mopoe
from mopoe.config import Initialisation
from mopoe.data import digits

ROWS: tuple[tuple[Initialisation, float, int], ...] = (
    ("torch", 0.0, 0),
    ("torch", -5.0, 0),
    ("he", 0.0, 0),
    ("he", -5.0, 0),
    ("he", -5.0, 64),
    ("he", -5.0, 128),
)
"""Initialisation, initial log-variance, and the grey level above which a pixel is ink."""


def measure(initialisation: Initialisation, initial_logvar: float, ink: int) -> mopoe.Evaluation:
    """Return the evaluation of a trial after its last epoch."""
    digits.INK = ink  # part of the data set's fingerprint: each has a file and classifiers of its own
    data = mopoe.load_data("digits")
    config = mopoe.TrialConfig(
        beta=0.5,
        latent_dim=64,
        channels=(8, 16, 32),
        lr=2e-3,
        batch_size=32,
        epochs=8,
        initialisation=initialisation,
        initial_logvar=initial_logvar,
    )
    settings = mopoe.EvaluationConfig(coherence_samples=250, likelihood_samples=100, pictures=0)
    evaluator = mopoe.Evaluator(data, mopoe.load_classifiers(data), settings, epochs=config.epochs)
    reports: list[mopoe.EpochReport] = []
    mopoe.train(config, data, reports.append, evaluate=evaluator)
    found = reports[-1].evaluation
    assert found is not None
    return found


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(header())
    print("1 thread; beta 0.5, latent_dim 64, channels 8-16-32, 8 epochs, seed 0")
    head = f"{'initialisation':>15}{'logvar':>8}{'ink above':>11}{'coherence':>18}{'log-likelihood':>18}"
    print(head + f"{'CPU s':>7}")
    for initialisation, initial_logvar, ink in ROWS:
        began = time.process_time()
        found = measure(initialisation, initial_logvar, ink)
        coherence, likelihood = (
            f"{found.objectives[name]:.{n}f} ± {found.stderr[name]:.{n}f}"
            for name, n in (("conditional_coherence", 3), ("log_likelihood", 0))
        )
        spent = time.process_time() - began
        row = f"{initialisation:>15}{initial_logvar:>8}{ink:>11}{coherence:>18}{likelihood:>18}{spent:>7.0f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
