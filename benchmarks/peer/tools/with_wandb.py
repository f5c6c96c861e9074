"""The same with a run of Weights & Biases per trial, offline; `wandb sync` sends them to a server later.

Run: python with_wandb.py
"""

import wandb
from halves_multivae import Halves
from with_optuna import objective, search


def logged(trial):
    """Run a trial within a run."""
    with wandb.init(project="halves", mode="offline", name=f"trial {trial.number}") as run:
        values = objective(trial, data, run.log)
        run.config.update(trial.params)
        return values


if __name__ == "__main__":
    data = Halves()
    search(logged)
