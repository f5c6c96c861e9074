"""Posterior of the configs' true means, by a hierarchical model of seeds and held-out samples.

    mean_c = mu_c + e_c + d_c        mu_c ~ N(m, T)        e = F w, w ~ N(0, 1)        d_c ~ N(0, k_c V / n_c)

mean_c is what the n_c seeds of config c gave on average, mu_c what infinitely many seeds would give on
infinitely many held-out samples. All trials see the same samples, so what these contribute, e, is shared:
each factor in F is a direction in which the configs' means move together when the samples are drawn again,
found from the per-sample values. Only what differs between configs is kept, since a shift of all changes no
comparison. V is the covariance between seeds, known from all configs that have several; k_c scales it where
one config's seeds scatter more than another's. The priors of m, T, V and k are weak (Huang and Wand 2013 for
the covariances). Drawn by Gibbs sampling, in several chains at once, in units of the spread between configs.

The normal prior N(m, T) is what makes the probabilities hold for configs that were chosen for being good: a
config that came out best is usually also one that was lucky (regression to the mean).
Axes: C config, D draw, K factor, N held-out sample, O objective, R chain.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CHAINS, WARMUP, THIN = 25, 100, 4
"""Chains, steps of each that are thrown away, and steps between two draws."""
MOST_FACTORS = 40
"""Most directions in which held-out samples move the means; the largest are kept."""

_FREEDOM = np.array([2.0, 3, 4, 6, 8, 12, 20, 40, 100])
"""Possible degrees of freedom of the scales k, equally likely beforehand; many make all k nearly 1."""
_LOG_GAMMA = np.array([math.lgamma(d / 2) for d in _FREEDOM])
# Degrees of freedom of the priors of T and V. One leaves strong correlations between objectives, which a
# trade-off has, as likely as weak ones.
_FREEDOM_T, _FREEDOM_V = 1, 2
_WIDTH_T, _WIDTH_V = 2.0, 1.0
_FLOOR = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was measured of configs, as gains."""

    mean_CO: Array
    """Means over the seeds."""
    scatter_COO: Array
    """Sums of products of the seeds' deviations from these means."""
    seeds_C: NDArray[np.intp]
    """Number of seeds, of some config more than one."""
    factors_COK: Array
    """Movement of the means along each direction in which held-out samples move them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Draws from the posterior, as gains."""

    mean_DCO: Array
    """True means of the configs."""
    error_DCO: Array
    """Deviations of a config's observed mean from the true one that come from its choice of seeds."""


def shared_factors(
    samples_TON: Array, config_T: NDArray[np.intp], seeds_C: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Return how the configs' means move with the held-out samples: factors [C, O, K] and errors [C, O].

    What the seeds of one config do not share is left out of both: it is part of the scatter between seeds.
    The factors are of what differs between configs, the errors are of each config by itself.

    Args:
        samples_TON: each trial's value on each held-out sample, less its mean, divided by sqrt(n (n - 1)).
        config_T: the config of each trial.
        seeds_C: the number of trials of each config.
    """
    mean_CON = np.zeros((len(seeds_C), *samples_TON.shape[1:]))
    np.add.at(mean_CON, config_T, samples_TON / seeds_C[config_T][:, None, None])
    own_O = ((samples_TON - mean_CON[config_T]) ** 2).sum((0, 2)) / max(1, len(config_T) - len(seeds_C))
    error_CO = np.sqrt(np.maximum((mean_CON**2).sum(2) - own_O / seeds_C[:, None], 0))
    centre_ON = mean_CON.mean(0)
    all_O = ((samples_TON - centre_ON) ** 2).sum(2).mean(0)
    share_O = np.minimum(own_O / np.maximum(all_O, 1e-300), 1)
    kept_CO = (1 - share_O) / np.maximum(1 - share_O + share_O / seeds_C[:, None], 1e-300)
    apart_CON = (mean_CON - centre_ON) * np.sqrt(kept_CO)[:, :, None]
    u_FK, size_K, _ = np.linalg.svd(apart_CON.reshape(kept_CO.size, -1), full_matrices=False)
    factors_FK = (u_FK * size_K)[:, :MOST_FACTORS]
    return factors_FK.reshape(*kept_CO.shape, factors_FK.shape[1]), error_CO


def draw_posterior(observed: Observed, *, draws: int, seed: int = 0) -> Posterior:
    """Return draws of the configs' true means: as many, or some more, for all chains give the same number.

    Args:
        observed: one config or more, of which one has several seeds.
        draws: the number.
        seed: of the random numbers.
    """
    mean, error = gibbs(
        np.broadcast_to(observed.mean_CO, (CHAINS, *observed.mean_CO.shape)),
        np.broadcast_to(observed.scatter_COO, (CHAINS, *observed.scatter_COO.shape)),
        np.broadcast_to(observed.factors_COK, (CHAINS, *observed.factors_COK.shape)),
        observed.seeds_C,
        np.random.default_rng(seed),
        keep=-(-draws // CHAINS),
    )
    shape = (-1, *observed.mean_CO.shape)
    return Posterior(mean_DCO=mean.reshape(shape), error_DCO=error.reshape(shape))


def gibbs(
    mean_RCO: Array,
    scatter_RCOO: Array,
    factors_RCOK: Array,
    seeds_C: NDArray[np.intp],
    random: np.random.Generator,
    *,
    keep: int,
) -> tuple[Array, Array]:
    """Return draws [keep, R, C, O] of the true means and of the errors by the choice of seeds.

    The R chains may be of different sweeps with as many configs and seeds each.
    """
    n_chains, n_configs, n_objectives = mean_RCO.shape
    centre_RO = mean_RCO.mean(1, keepdims=True)
    # The spread between configs or, if that is less (as of a single config), between seeds.
    within_RO = np.einsum("rcoo->ro", scatter_RCOO)[:, None] / max(1, int(seeds_C.sum()) - n_configs)
    spread_RO = np.maximum(mean_RCO.std(1, keepdims=True), np.sqrt(within_RO) / 10)
    spread_RO = np.maximum(spread_RO, 1e-12 * np.abs(centre_RO) + 1e-300)
    y_RCO, eye_OO = (mean_RCO - centre_RO) / spread_RO, np.eye(n_objectives)
    f_RCOK = (factors_RCOK - factors_RCOK.mean(1, keepdims=True)) / spread_RO[..., None]
    scatter_RCOO = scatter_RCOO / (spread_RO[..., None] * spread_RO[..., None, :])
    flat_RFK = f_RCOK.reshape(n_chains, n_configs * n_objectives, -1)
    prior_RKK, n_trials = np.eye(flat_RFK.shape[2]), int(seeds_C.sum())
    mu_RCO, m_RO, e_RCO = y_RCO.copy(), np.zeros((n_chains, n_objectives)), np.zeros_like(y_RCO)
    t_ROO, v_ROO = (np.repeat(scale * eye_OO[None], n_chains, 0) for scale in (1.5, 8.0))  # inverses
    at_RO, av_RO = np.ones_like(m_RO), np.ones_like(m_RO)
    k_RC, freedom_R = np.ones((n_chains, n_configs)), np.full(n_chains, 8.0)
    means, errors = [], []
    for step in range(WARMUP + keep * THIN):
        weight_RCOO = (seeds_C / k_RC)[..., None, None] * v_ROO[:, None]
        if flat_RFK.shape[2]:
            weighted_RFK = (weight_RCOO @ f_RCOK).reshape(flat_RFK.shape)
            seen_RK = _product(weighted_RFK.swapaxes(1, 2), (y_RCO - mu_RCO).reshape(n_chains, -1))
            w_RK = _normal(prior_RKK + weighted_RFK.swapaxes(1, 2) @ flat_RFK, seen_RK, random)
            e_RCO = _product(flat_RFK, w_RK).reshape(y_RCO.shape)
        told_RCO = _product(t_ROO, m_RO)[:, None] + _product(weight_RCOO, y_RCO - e_RCO)
        mu_RCO = _normal(t_ROO[:, None] + weight_RCOO, told_RCO, random)
        m_RO = _normal(n_configs * t_ROO, _product(t_ROO, mu_RCO.sum(1)), random)
        apart_RCO = mu_RCO - m_RO[:, None]
        scatter_T = apart_RCO.swapaxes(1, 2) @ apart_RCO
        t_ROO, at_RO = _inverse_covariance(scatter_T, n_configs, at_RO, _FREEDOM_T, _WIDTH_T, random)
        rest_RCO = y_RCO - e_RCO - mu_RCO
        outer_RCOO = rest_RCO[..., :, None] * rest_RCO[..., None, :]
        seeds_RCOO = scatter_RCOO + seeds_C[:, None, None] * outer_RCOO
        scatter_V = (seeds_RCOO / k_RC[..., None, None]).sum(1)
        v_ROO, av_RO = _inverse_covariance(scatter_V, n_trials, av_RO, _FREEDOM_V, _WIDTH_V, random)
        far_RC = np.einsum("rcop,rop->rc", seeds_RCOO, v_ROO)
        shape_RC = (freedom_R[:, None] + seeds_C * n_objectives) / 2
        k_RC = (freedom_R[:, None] + far_RC) / 2 / random.gamma(shape_RC)
        freedom_R = _draw_freedom(k_RC, random)
        if step >= WARMUP and (step - WARMUP) % THIN == 0:
            means.append(centre_RO + spread_RO * mu_RCO)
            errors.append(spread_RO * _normal(weight_RCOO, np.zeros_like(mu_RCO), random))
    return np.stack(means), np.stack(errors)


def _product(matrices: Array, vectors: Array) -> Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _normal(precision: Array, weighted: Array, random: np.random.Generator) -> Array:
    """Draw from the normal with this precision and the mean inverse(precision) weighted."""
    root = np.linalg.cholesky(precision)
    noise = np.linalg.solve(root, weighted[..., None]) + random.standard_normal((*weighted.shape, 1))
    return np.asarray(np.linalg.solve(root.swapaxes(-1, -2), noise)[..., 0])


def _inverse_covariance(
    scatter_ROO: Array,
    n: int,
    rate_RO: Array,
    freedom: int,
    width: float,
    random: np.random.Generator,
) -> tuple[Array, Array]:
    """Draw the inverse of a covariance matrix, given n vectors' scatter, and the rates of its prior.

    The prior is Huang and Wand's (2013): half-t standard deviations of this width.
    """
    n_chains, n_objectives, _ = scatter_ROO.shape
    # The floor keeps objectives that are a function of each other, or seeds that agree, from being singular.
    floor_RO = 2 * freedom * rate_RO + _FLOOR * n
    scale_ROO = scatter_ROO + floor_RO[:, :, None] * np.eye(n_objectives)
    at = np.arange(n_objectives)
    root_ROO = np.zeros_like(scatter_ROO)  # Bartlett's decomposition of a Wishart matrix
    degrees = freedom + n_objectives - 1 + n - at
    root_ROO[:, at, at] = np.sqrt(random.chisquare(degrees, (n_chains, n_objectives)))
    below = np.tril_indices(n_objectives, -1)
    root_ROO[:, below[0], below[1]] = random.standard_normal((n_chains, len(below[0])))
    root_ROO = np.linalg.cholesky(np.linalg.inv(scale_ROO)) @ root_ROO
    inverse_ROO = root_ROO @ root_ROO.swapaxes(1, 2)
    diagonal_RO = np.einsum("roo->ro", inverse_ROO)
    rate_RO = random.gamma((freedom + n_objectives) / 2, 1 / (1 / width**2 + freedom * diagonal_RO))
    return inverse_ROO, rate_RO


def _draw_freedom(k_RC: Array, random: np.random.Generator) -> Array:
    """Draw the degrees of freedom of scales k ~ inverse gamma(freedom / 2, freedom / 2)."""
    half = _FREEDOM / 2
    log_p = k_RC.shape[1] * (half * np.log(half) - _LOG_GAMMA)
    log_p = log_p - (half + 1) * np.log(k_RC).sum(1)[:, None] - half * (1 / k_RC).sum(1)[:, None]
    return np.asarray(_FREEDOM[(log_p + random.gumbel(size=log_p.shape)).argmax(1)])
