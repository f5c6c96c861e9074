"""The sweep with Optuna; `optuna-dashboard sqlite:///halves.db` shows it while it runs and afterwards.

Run: python with_optuna.py      (again after an interruption; in two terminals for two trials at a time)
"""

import statistics

import optuna
from halves_multivae import OBJECTIVES, SEEDS, TRIALS, Halves, train, use
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
LAST_LR = 0.01


def worse(values, others):
    """Return whether all objectives are below their medians; Optuna's pruners take a single objective."""
    return len(others) >= 2 and all(
        value < statistics.median(column)
        for value, column in zip(values, zip(*others, strict=True), strict=True)
    )


def objective(trial, halves, log=lambda values: None):
    """Train a model per seed, stop the config after the first rung if it is bad, and return the means."""
    settings = {
        "beta": trial.suggest_float("beta", 0.25, 4, log=True),
        "latent_dim": trial.suggest_int("latent_dim", 4, 16),
        "lr": trial.suggest_float("lr", 0.0005, LAST_LR, log=True),
    }

    def at_rung(values):
        log(dict(zip((f"rung/{name}" for name in OBJECTIVES), values, strict=True)))
        earlier = trial.study.get_trials(states=ENDED)
        trial.set_user_attr("rung", values)
        if worse(values, [t.user_attrs["rung"] for t in earlier]):
            raise optuna.TrialPruned

    found = []
    for seed in range(SEEDS):
        values, folder = train(halves, settings, seed, f"models/{trial.number}", None if seed else at_rung)
        found.append(values)
        log(dict(zip(OBJECTIVES, values, strict=True)))
    trial.set_user_attr("seeds", found)
    trial.set_user_attr("model", folder)
    return [statistics.mean(column) for column in zip(*found, strict=True)]


def search(function):
    """Run the trials that are left, and use the model of the best one."""
    storage = RDBStorage(
        "sqlite:///halves.db",
        heartbeat_interval=5,
        grace_period=10,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    study = optuna.create_study(
        study_name="halves",
        storage=storage,
        directions=["maximize", "maximize"],
        sampler=optuna.samplers.TPESampler(seed=0),
        load_if_exists=True,
    )
    study.set_metric_names(OBJECTIVES)
    enough = MaxTrialsCallback(TRIALS, states=ENDED)
    study.optimize(function, n_trials=2 * TRIALS, callbacks=[enough], catch=(Exception,))
    for trial in study.best_trials:
        print(trial.number, trial.params, trial.values)
    use(max(study.best_trials, key=lambda trial: trial.values[0]).user_attrs["model"])


if __name__ == "__main__":
    data = Halves()
    search(lambda trial: objective(trial, data))
