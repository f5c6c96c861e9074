"""Two parts of a training step: the subsets' KL, against a plain loop over subsets, and the data.

Run: python benchmarks/step.py      (about two minutes; prints tables and what they were measured on)

All find the KL to the prior of every product of experts and its derivatives, on the same inputs, with
one thread, in turn; the ratios are taken round by round. `products` forms all products in one operation and
leaves the derivatives to torch; `ours` is what training uses.
"""

import statistics
import time
from collections.abc import Callable

import torch
from common import header, random_data, spread
from torch import Tensor

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.distributions import GAUSSIAN, membership
from mopoe.elbo import Draws, LossWeights, generalized_elbo
from mopoe.experts import aggregate
from mopoe.model import build_model
from mopoe.random_streams import draw_components
from mopoe.subset_kl import weighted_kl
from mopoe.subsets import subset_masks, subset_members
from mopoe.training import train

SIZES = ((2, 256, 512), (3, 256, 512), (5, 256, 512), (5, 256, 64), (10, 256, 64))
STEPS = ((5, 256, 512), (5, 64, 64), (10, 256, 64))
ROUNDS = 9
SAMPLES = 1024


def ours(mu_MBZ: Tensor, logvar_MBZ: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Return sum_A mean KL_A as training has it."""
    members_AM, none_A = membership(masks, len(mu_MBZ)), torch.zeros(len(masks))
    return weighted_kl(mu_MBZ, torch.exp(-logvar_MBZ), members_AM, none_A, torch.ones(len(masks), 1)).mean()


def products(mu_MBZ: Tensor, logvar_MBZ: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Return the same by way of all products."""
    members_SM = membership(masks, len(mu_MBZ))
    prior_S = torch.zeros(len(masks))
    return (
        GAUSSIAN.kl_to_prior(*aggregate("product", mu_MBZ, torch.exp(-logvar_MBZ), members_SM, prior_S))
        .mean(1)
        .sum()
    )


def in_a_loop(mu_MBZ: Tensor, logvar_MBZ: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Return the same, subset by subset, as one would write it first."""
    total = torch.zeros(())
    for mask in masks:
        chosen = list(subset_members(mask))
        precision_mBZ = torch.exp(-logvar_MBZ[chosen])
        precision_BZ = precision_mBZ.sum(0)
        mu_BZ = (precision_mBZ * mu_MBZ[chosen]).sum(0) / precision_BZ
        kl_B = 0.5 * (mu_BZ.square() + 1 / precision_BZ + precision_BZ.log() - 1).sum(-1)
        total = total + kl_B.mean()
    return total


def seconds(function: Callable[..., Tensor], *inputs: object) -> float:
    """Return the CPU seconds of one forward and backward pass."""
    return cpu(lambda: function(*inputs).backward())


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def gather(data: MultimodalData, batch_size: int) -> None:
    """Make the batches of an epoch as training does."""
    for index_B in torch.randperm(len(data.train)).split(batch_size):
        data.train.batch(index_B, torch.device("cpu"))


def whole_step(m: int, b: int, z: int) -> Callable[[], Tensor]:
    """Return a function that computes the objective of a batch with the PolyMNIST networks."""
    modalities = tuple(ModalitySpec(name=f"m{i}", shape=(3, 28, 28)) for i in range(m))
    model = build_model(TrialConfig(latent_dim=z), modalities)
    rng = torch.Generator().manual_seed(0)
    x = {
        s.name: torch.rand(b, *s.shape, generator=rng).contiguous(memory_format=torch.channels_last)
        for s in modalities
    }
    component_B = draw_components("stratified", model.weights_S, b, rng)
    draws = Draws(component_B=component_B, noise=torch.randn(b, z, generator=rng))
    return lambda: generalized_elbo(model, x, draws, LossWeights(beta=1.0)).loss


def epoch_and_data(b: int, z: int) -> list[float]:
    """Return the CPU seconds of an epoch, and those of its batches alone."""
    data, config = random_data(SAMPLES), TrialConfig(latent_dim=z, batch_size=b, epochs=1)
    return [cpu(lambda: train(config, data, bool)), cpu(lambda: gather(data, b))]


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print(header())
    print("1 thread, CPU time")
    names = f"{'M':>3}{'subsets':>9}{'B x Z':>11}{'loop ms':>10}{'products ms':>13}{'ours ms':>10}"
    print(names + f"{'loop / ours':>24}{'products / ours':>24}")
    for m, b, z in SIZES:
        masks = subset_masks(m)
        rng = torch.Generator().manual_seed(0)
        mu, logvar = (torch.randn(m, b, z, generator=rng, requires_grad=True) for _ in range(2))
        ways = (in_a_loop, products, ours)
        values = [way(mu, logvar, masks) for way in ways]
        assert all(torch.allclose(values[0], v, rtol=1e-4) for v in values), "they disagree"
        rounds = [[seconds(way, mu, logvar, masks) for way in ways] for _ in range(ROUNDS)]
        loop, middle, fast = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{m:>3}{len(masks):>9}{f'{b} x {z}':>11}{loop:>10.1f}{middle:>13.1f}{fast:>10.1f}"
            f"{spread([a / c for a, _, c in rounds], 1):>24}{spread([a / c for _, a, c in rounds], 1):>24}"
        )
    print("\nshare of a training step, forward and backward, with the PolyMNIST networks")
    print(f"{'M':>3}{'B x Z':>11}{'step ms':>10}{'subsets ms':>12}{'share in %: median (min to max)':>36}")
    for m, b, z in STEPS:
        step, masks = whole_step(m, b, z), subset_masks(m)
        mu, logvar = (torch.randn(m, b, z, requires_grad=True) for _ in range(2))
        rounds = [[seconds(step), seconds(ours, mu, logvar, masks)] for _ in range(6)][1:]
        whole, part = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
        share = spread([100 * part / whole for whole, part in rounds], 1)
        print(f"{m:>3}{f'{b} x {z}':>11}{whole:>10.0f}{part:>12.1f}{share:>36}")
    print("\nshare of training that gathers batches and makes floats of bytes: order, index, scale")
    print(f"{'B x Z':>11}{'epoch ms':>10}{'data ms':>9}{'share in %: median (min to max)':>36}")
    for b, z in ((256, 512), (32, 96)):
        rounds = [epoch_and_data(b, z) for _ in range(4)]
        whole, part = (1e3 * statistics.median(column) for column in zip(*rounds[1:], strict=True))
        share = spread([100 * part / whole for whole, part in rounds[1:]])
        print(f"{f'{b} x {z}':>11}{whole:>10.0f}{part:>9.1f}{share:>36}")


if __name__ == "__main__":
    main()
