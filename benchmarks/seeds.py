"""Regret of the front by the epochs spent on it: which configs should be trained with further seeds?

Run: python benchmarks/seeds.py [--sweeps 200]      (about twenty minutes)

The trials are recorded ones: 40 configs of the demo's space with four seeds each (curves/digits_seeds.yaml).
A config's true means are taken to be those of its four seeds; what a further seed would measure is one of its
recorded deviations, drawn at random and scaled by sqrt(4 / 3), the two objectives together. The configs come
in random order, and the product's own state of a sweep says which seed comes next, for two workers.

Regret is what the front of the observed means, taken as the choice, lacks of the true front's hypervolume by
its configs' true means. One data set, six epochs a trial: other data may rank the rules otherwise.
"""

import argparse
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import moocore
import numpy as np
import polars as pl
from common import header
from numpy.typing import NDArray

from sweep.config.sweep_spec import load_spec
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, config_number, split_name
from sweep.store.records import TrialRecord

TABLE = Path(__file__).parent / "curves" / "digits_seeds.parquet"
NAMES = ("conditional_coherence", "log_likelihood")
EPOCHS, WORKERS = 6, 2
RULES = {"single seeds": "{seeds: 1}"} | {
    f"{when}, {n} seeds": f"{{seeds: {n}, when: {when}}}"
    for when, counts in {"all": (2, 3, 5), "front": (2, 3, 5), "uncertain": (3, 5)}.items()
    for n in counts
}
AIM, BOOTSTRAPS = "front, 5 seeds", 400
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Array = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=200)
    sweeps = parser.parse_args().sweeps
    print(header("moocore"))
    values_CSO = recorded()
    print("| seeds | epochs at the end | regret at the end, % | share of epochs until the aim |")
    print("| --- | --- | --- | --- |")
    random = np.random.default_rng(0)
    resampled = [np.arange(sweeps), *random.integers(sweeps, size=(BOOTSTRAPS, sweeps))]
    aim = padded([replay(AIM, values_CSO, seed) for seed in range(sweeps)])
    for rule in RULES:
        found = [replay(rule, values_CSO, seed) for seed in range(sweeps)]
        regret_NT, epochs = padded(found), EPOCHS * np.mean([len(curve) for curve in found])
        final = 100 * regret_NT[:, -1]
        error = 1.96 * final.std(ddof=1) / np.sqrt(sweeps)
        shares = [until(regret_NT[n], aim[n]) / until(aim[n], aim[n]) for n in resampled]
        low, high = np.quantile(shares[1:], (0.025, 0.975), method="nearest")
        share = f"{shares[0]:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(shares[0]) else "never"
        print(f"| {rule} | {epochs:.0f} | {final.mean():.2f} +- {error:.2f} | {share} |", flush=True)
    print(
        f"\nThe aim is the mean regret at the end of '{AIM}', over {sweeps} sweeps; +- and brackets are 95 %"
    )
    print("intervals over sweeps, which all rules share.")


def padded(curves: Sequence[Sequence[float]]) -> Array:
    """Return curves [N, T] of one length; each stays where it ends."""
    longest = max(map(len, curves))
    return np.stack([np.pad(curve, (0, longest - len(curve)), "edge") for curve in curves])


def until(regret_NT: Array, aim_NT: Array) -> float:
    """Return the trials until the mean regret has come down to the mean at the end of others."""
    reached = np.flatnonzero(regret_NT.mean(0) <= aim_NT[:, -1].mean())
    return float(reached[0] + 1) if reached.size else np.inf


def recorded() -> Array:
    """Return the recorded objectives of every config and seed, [C, S, O]."""
    table = pl.read_parquet(TABLE).sort("config", "seed")
    groups = table.group_by("config", maintain_order=True)
    return np.stack([group.select(NAMES).to_numpy() for _, group in groups])


def replay(rule: str, values_CSO: Array, seed: int) -> list[float]:
    """Return the regret of the front after each trial of a simulated sweep, as a share of the hypervolume."""
    random, n_seeds = np.random.default_rng(seed), values_CSO.shape[1]
    values_CSO = values_CSO[random.permutation(len(values_CSO))]
    true_CO = values_CSO.mean(1)
    apart_CSO = (values_CSO - true_CO[:, None]) * np.sqrt(n_seeds / (n_seeds - 1))
    spec = load_spec(TABLE.with_suffix(".yaml"), [f"trials={len(true_CO)}", f"replicates={RULES[rule]}"])
    corner_O = [spec.reference_point[name] for name in NAMES]
    best = moocore.hypervolume(true_CO, ref=corner_O, maximise=True)
    state, running = SweepState(spec), deque[str]()
    regret: list[float] = []
    while True:
        action = state.next_action() if len(running) < WORKERS else Action.WAIT
        if action is Action.NEW_CONFIG:
            action = state.first_trial({})
        if isinstance(action, SuggestedTrial):
            state.begin(action)
            running.append(action.trial_id)
            continue
        if not running:
            return regret
        name = running.popleft()
        config, _ = split_name(name)
        c = config_number(config)
        point_O = true_CO[c] + apart_CSO[c, random.integers(n_seeds)]
        state.end(completed(name, point_O))
        ended = {r.name: [r.measured[n] for n in NAMES] for r in state.results if r.measured}
        on = moocore.is_nondominated(np.array([*ended.values()]), maximise=True)
        chosen = [config_number(config) for config, kept in zip(ended, on, strict=True) if kept]
        regret.append(float(1 - moocore.hypervolume(true_CO[chosen], ref=corner_O, maximise=True) / best))


def completed(name: str, point_O: Array) -> TrialRecord:
    """Return the record of a trial that measured this."""
    config, seed = split_name(name)
    return TrialRecord(
        trial_id=name,
        attempt=0,
        config_id=config,
        seed=seed,
        status="completed",
        epochs=EPOCHS,
        epochs_max=EPOCHS,
        started_at=NOW,
        ended_at=NOW,
        config_json="{}",
        suggestion_json="{}",
        objectives=dict(zip(NAMES, point_O.tolist(), strict=True)),
    )


if __name__ == "__main__":
    main()
