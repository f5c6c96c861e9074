"""Estimators of log p(X) on a linear-Gaussian model of three modalities, where log p(X) is known.

Run: make compare      (half a minute; exit status 1 if a right estimator errs or a wrong one does not)

Those of this project and of multivae 1.0.3, and that of the released MoPoE code (utils/likelihood.py), whose
weights are laid out [K, B] and averaged as if they were [B, K]. Axes: B sample, K latent, X element of x.
"""

import math
import sys
from collections.abc import Callable
from unittest.mock import patch

import torch
from bridge import dataset, peer
from torch import Tensor, nn

import mopoe
from mopoe.distributions import GAUSSIAN
from mopoe.evaluation.log_likelihood import joint_log_likelihood

N, K, REPEATS = 7, 4000, 10
SCALE = 0.8


class LinearEncoder(nn.Module):
    """Mean and variances of q(z | x), the exact posterior of one modality x = W z + SCALE * noise."""

    def __init__(self, w_XZ: Tensor) -> None:
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(w_XZ.shape[1]) + w_XZ.t() @ w_XZ / SCALE**2)
        self.register_buffer("map_ZX", covariance @ w_XZ.t() / SCALE**2)
        self.register_buffer("logvar_Z", covariance.diagonal().log())

    def forward(self, x_BX: Tensor) -> tuple[Tensor, Tensor]:
        mu_BZ = x_BX @ self.map_ZX.t()
        return mu_BZ, self.logvar_Z.expand_as(mu_BZ)


def linear_model(w_MXZ: Tensor) -> mopoe.MoPoE:
    """Return our model of linear decoders."""
    modalities = {}
    for m, w_XZ in enumerate(w_MXZ):
        decoder = nn.Linear(w_XZ.shape[1], w_XZ.shape[0], bias=False)
        decoder.weight = nn.Parameter(w_XZ)
        modalities[f"m{m}"] = mopoe.Modality(LinearEncoder(w_XZ), decoder, mopoe.Normal(SCALE))
    return mopoe.MoPoE(modalities, w_MXZ.shape[2])


def mean_of_mixed_up(model: mopoe.MoPoE, x: dict[str, Tensor]) -> Tensor:
    """Return the released estimate: the product of all experts proposes, [K, B] is read as [B, K]."""
    mu_1BZ, precision_1BZ = (t[-1:] for t in model.posteriors(model.encode(x)))
    z_KBZ = mu_1BZ + torch.randn(K, *mu_1BZ.shape[1:]) * precision_1BZ.rsqrt()
    log_q_KB = GAUSSIAN.log_mixture(z_KBZ.transpose(0, 1), mu_1BZ, precision_1BZ, torch.ones(1)).t()
    terms = model.log_prob(z_KBZ.flatten(0, 1), {name: a.repeat(K, 1) for name, a in x.items()})
    log_w_KB = sum(terms.values()).view(K, N) + GAUSSIAN.log_prior(z_KBZ) - log_q_KB
    return (log_w_KB.reshape(N, K).logsumexp(1) - math.log(K)).mean()


def main() -> int:
    """Print every estimator's error and return the exit status."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    w_MXZ = torch.randn(3, 2, 2)
    ours, w = linear_model(w_MXZ), w_MXZ.flatten(0, 1)
    known = torch.distributions.MultivariateNormal(torch.zeros(6), w @ w.t() + SCALE**2 * torch.eye(6))
    x_BX = known.sample((N,))
    exact = known.log_prob(x_BX).mean()
    x = {f"m{m}": part for m, part in enumerate(x_BX.split(2, dim=1))}
    split = mopoe.Split(x, torch.zeros(N))

    def theirs(kind: str, method: str, **settings: str) -> Callable[[int], Tensor]:
        model = peer(kind, ours, own_networks=False, **settings)
        return lambda _: -getattr(model, method)(dataset(x), K, 100) / N

    normal = {"prior_and_posterior_dist": "normal"}
    # By name: the estimate from a seed, and whether it converges to log p(X).
    estimators: dict[str, tuple[Callable[[int], Tensor], bool]] = {
        "ours": (lambda s: joint_log_likelihood(ours, split, N, K, s).mean(), True),
        "MoPoE.compute_joint_nll (the default)": (theirs("MoPoE", "compute_joint_nll"), False),
        "MoPoE.compute_joint_nll_paper": (theirs("MoPoE", "compute_joint_nll_paper"), True),
        "MVAE.compute_joint_nll": (theirs("MVAE", "compute_joint_nll"), True),
        "MMVAE.compute_joint_nll (the default)": (theirs("MMVAE", "compute_joint_nll", **normal), False),
        "MMVAE.compute_joint_nll_paper": (theirs("MMVAE", "compute_joint_nll_paper", **normal), True),
        "weights [K, B] read as [B, K]": (lambda _: mean_of_mixed_up(ours, x), False),
    }
    print(f"log p(X) is {exact:.4f} nats; {N} samples, K={K}, {REPEATS} repeats, M=3 Z=2 float64\n")
    print(f"{'estimator':<40}{'error, nats':>12}{'standard error':>16}")
    good = True
    # MMVAE's default draws all latents of a batch from one modality, chosen anew in every call.
    with torch.no_grad(), patch("numpy.random.choice", return_value="m0"):
        for name, (estimate, right) in estimators.items():
            errors = torch.stack([estimate(seed) - exact for seed in range(REPEATS)])
            error, stderr = float(errors.mean()), float(errors.std() / math.sqrt(REPEATS))
            expected = (abs(error) < 4 * stderr) == right
            good &= expected
            verdict = ("right" if right else "wrong") if expected else "NOT AS EXPECTED"
            print(f"{name:<40}{error:>+12.4f}{stderr:>16.4f}  {verdict}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
