"""Sweeps with known truth: what a seed and a held-out sample add to each config's true means.

Axes: R sweep, C config, T trial, O objective, N held-out sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.analysis.posterior import gibbs, shared_factors

N_SAMPLES = 60
SHAPES = ("normal", "bimodal", "heteroscedastic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """R sweeps of the same layout."""

    truth_RCO: NDArray[np.float64]
    """The configs' true means."""
    values_RTO: NDArray[np.float64]
    """What the trials measured."""
    samples_RTON: NDArray[np.float64]
    """What each held-out sample contributed, as `shared_factors` takes it."""
    config_T: NDArray[np.intp]
    """The config of each trial."""
    seeds_C: NDArray[np.intp]
    """The number of seeds of each config."""


def simulated(
    n_sweeps: int, *, configs: int, seeds: int, shared: float, shape: str, seed: int = 0
) -> Simulated:
    """Return sweeps over a trade-off of two objectives whose noise is a third of the spread.

    Args:
        n_sweeps: the number of sweeps.
        configs: configs of each.
        seeds: seeds of each config; with one, a quarter of the configs, and three at least, have three.
        shared: correlation of the held-out samples' noise between trials.
        shape: one of SHAPES; bimodal is a plateau on which a quarter of the seeds stay in both objectives.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    seeds_C = np.full(configs, seeds)
    if seeds == 1:
        seeds_C[: max(3, configs // 4)] = 3
    config_T = np.repeat(np.arange(configs), seeds_C)
    along_RC = random.standard_normal((n_sweeps, configs))
    truth_RCO = np.stack([along_RC, -along_RC], 2) + 0.5 * random.standard_normal((n_sweeps, configs, 2))
    by_seed_RTO = 0.5 * random.standard_normal((n_sweeps, len(config_T), 2))
    if shape == "heteroscedastic":
        by_seed_RTO *= np.exp(0.7 * random.standard_normal((n_sweeps, configs)))[:, config_T, None]
    if shape == "bimodal":
        by_seed_RTO = 0.3 * by_seed_RTO - (random.random((n_sweeps, len(config_T), 1)) < 0.25) + 0.25
    noise = random.standard_normal
    by_sample_RTON = np.sqrt(shared) * noise((n_sweeps, 1, 1, N_SAMPLES)) + np.sqrt(1 - shared) * (
        np.sqrt(0.3) * noise((n_sweeps, configs, 2, N_SAMPLES))[:, config_T]
        + np.sqrt(0.7) * noise((n_sweeps, len(config_T), 2, N_SAMPLES))
    )
    by_sample_RTON *= 0.3 * np.sqrt(N_SAMPLES)
    mean_RTO = by_sample_RTON.mean(3)
    return Simulated(
        truth_RCO=truth_RCO,
        values_RTO=truth_RCO[:, config_T] + by_seed_RTO + mean_RTO,
        samples_RTON=(by_sample_RTON - mean_RTO[..., None]) / np.sqrt(N_SAMPLES * (N_SAMPLES - 1)),
        config_T=config_T,
        seeds_C=seeds_C,
    )


def posterior_draws(sweeps: Simulated, *, keep: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return draws [keep, R, C, O] of the true means and of the whole error of the observed ones."""
    member_CT = (sweeps.config_T == np.arange(len(sweeps.seeds_C))[:, None]) / sweeps.seeds_C[:, None]
    mean_RCO = member_CT @ sweeps.values_RTO
    rest_RTO = sweeps.values_RTO - mean_RCO[:, sweeps.config_T]
    outer_RTOO = rest_RTO[..., :, None] * rest_RTO[..., None, :]
    scatter_RCOO = np.einsum("ct,rtop->rcop", member_CT * sweeps.seeds_C[:, None], outer_RTOO)
    found = [shared_factors(s, sweeps.config_T, sweeps.seeds_C) for s in sweeps.samples_RTON]
    factors_RCOK, error_RCO = (np.stack(part) for part in zip(*found, strict=True))
    random = np.random.default_rng(1)
    mean, error = gibbs(mean_RCO, scatter_RCOO, factors_RCOK, sweeps.seeds_C, random, keep=keep)
    return mean, error + error_RCO * random.standard_normal(error.shape)


def on_front(gains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which configs [..., C] of gains [..., C, O] no other one dominates."""
    one, other = gains[..., :, None, :], gains[..., None, :, :]
    return ~((other >= one).all(-1) & (other > one).any(-1)).any(-1)


def best(gains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which config is best in each objective: [..., C, O] like the gains."""
    return gains == gains.max(-2, keepdims=True)


def knee(gains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which config [..., C] is farthest above the line between the ends of the front."""
    front = on_front(gains)[..., None]
    low = np.where(front, gains, np.inf).min(-2, keepdims=True)
    high = np.where(front, gains, -np.inf).max(-2, keepdims=True)
    height = np.where(front, (gains - low) / np.maximum(high - low, 1e-300), -np.inf).sum(-1)
    return height == height.max(-1, keepdims=True)


def said_and_true(
    sweeps: Simulated, draws: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Return, by what is claimed of a config, the probabilities that are said and whether it is true."""
    claims = {"on the front": on_front, "best": best, "knee": knee}
    return {name: (claim(draws).mean(0), claim(sweeps.truth_RCO)) for name, claim in claims.items()}
