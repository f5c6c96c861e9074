"""A second implementation of the objective: plain loops and `torch.distributions`, to compare with."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace, Normal, kl_divergence

from mopoe.config import TrialConfig
from mopoe.data.container import Split
from mopoe.likelihoods import Likelihood
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality
from mopoe.random_streams import generator, stratified_components

torch.set_num_threads(1)


@dataclass(frozen=True)
class Plain:
    """The parts of the objective, as the plain implementation finds them."""

    loss: Tensor
    reconstruction: dict[str, Tensor]
    kl: Tensor


def plain_weights(weights: tuple[float, ...] | None, names: tuple[str, ...]) -> list[float]:
    """Return a weight per subset: uniform, by size or as given."""
    subsets = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    if weights is None:
        return [1 / len(subsets) for _ in subsets]
    if len(weights) == len(subsets):
        return list(weights)
    of_size = [sum(len(c) == size for c in subsets) for size in range(len(names) + 1)]
    return [weights[len(c) - 1] / of_size[len(c)] for c in subsets]


def plain_objective(
    model: MoPoE,
    x: Mapping[str, Tensor],
    component_B: Tensor,
    noise_BZ: Tensor,
    *,
    beta: float,
    weights: tuple[float, ...] | None,
    prior_expert: str,
    scale: float,
) -> Plain:
    """Return the generalized ELBO's parts from the model's networks alone, subset by subset."""
    names = model.names
    posterior = {name: model.encoders[name](x[name]) for name in names}
    products = []
    for size in range(1, len(names) + 1):
        for subset in combinations(names, size):
            prior = prior_expert == "all" or (prior_expert == "full" and size == len(names))
            precision = 1.0 if prior else 0.0
            weighted = 0.0
            for name in subset:
                mu, logvar = posterior[name]
                precision = precision + 1 / logvar.exp()
                weighted = weighted + mu / logvar.exp()
            products.append(Normal(weighted / precision, precision**-0.5))
    kl = torch.zeros(())
    for weight, q in zip(plain_weights(weights, names), products, strict=True):
        standard = Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale))
        kl = kl + weight * kl_divergence(q, standard).sum(1).mean()
    z = torch.stack(
        [products[s].loc[b] + products[s].scale[b] * noise_BZ[b] for b, s in enumerate(component_B.tolist())]
    )
    reconstruction = {}
    for name in names:
        log_p = Laplace(model.decoders[name](z), scale).log_prob(x[name])
        reconstruction[name] = -log_p.sum() / len(z)
    return Plain(loss=sum(reconstruction.values()) + beta * kl, reconstruction=reconstruction, kl=kl)


@pytest.fixture(scope="session")
def plain() -> Callable[..., Plain]:
    """Give the plain objective."""
    return plain_objective


@pytest.fixture(scope="session")
def train_plainly() -> Callable[..., list[dict[str, float]]]:
    """Give a trainer of float64 models by the plain objective and unfused Adam; it returns epochs' means.

    With `rates`, the learning rate of every step, and `clip`, the largest norm of a gradient.
    """

    def train(
        model: MoPoE, config: TrialConfig, split: Split, rates: Sequence[float] = (), clip: float = math.inf
    ) -> list[dict[str, float]]:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        decay = {"weight_decay": config.weight_decay}
        optimizer = kind(model.parameters(), lr=config.lr, **decay, fused=False, foreach=False)
        starts, expected, step = range(0, len(split), config.batch_size), [], 0
        warmup = config.beta_warmup_epochs * len(starts)
        for epoch in range(1, config.epochs + 1):
            sums: dict[str, float] = {}
            order = torch.randperm(len(split), generator=generator(config.seed, "order", epoch))
            for index in (order[a : a + config.batch_size] for a in starts):
                rng = generator(config.seed, "latent", step)
                component = stratified_components(model.weights_S, len(index), rng)
                terms = plain_objective(
                    model,
                    {name: images[index].float() / 255 for name, images in split.x.items()},
                    component,
                    torch.randn(len(index), model.latent_dim, generator=rng),
                    beta=config.beta * (min(1.0, step / warmup) if warmup else 1.0),
                    weights=config.subset_weights,
                    prior_expert=config.prior_expert,
                    scale=0.75,
                )
                optimizer.zero_grad()
                terms.loss.backward()
                norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
                for p in model.parameters() if norm > clip else ():
                    p.grad = p.grad * (clip / (norm + 1e-6))
                optimizer.param_groups[0]["lr"] = rates[step] if rates else config.lr
                optimizer.step()
                step += 1
                parts = {"loss": terms.loss, "kl": terms.kl, **terms.reconstruction}
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(index) / len(split)
            expected.append(sums | {"grad_norm": norm})
        return expected

    return train


class InDouble(nn.Module):
    """An encoder in float64 behind data in float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode in float64."""
        mu, logvar = self.inner(x.double())
        return mu, logvar


@pytest.fixture(scope="session")
def in_double() -> Callable[..., MoPoE]:
    """Give a function that makes a model of lively float64 parameters from a built one."""

    def convert(model: MoPoE, **settings: object) -> MoPoE:
        rng = torch.Generator().manual_seed(9)
        with torch.no_grad():  # so that in a network of a few channels no layer is dead
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=rng) * 0.3 + (0.3 if p.dim() == 1 else 0.0))
        parts = {
            name: Modality(InDouble(model.encoders[name]), model.decoders[name], model.likelihood(name))
            for name in model.names
        }
        return MoPoE(parts, model.latent_dim, MethodSpec(**settings)).double()

    return convert


class Function(nn.Module):
    """A module from a function."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        """Call the function."""
        return self.function(x)


@pytest.fixture(scope="session")
def modality() -> Callable[..., Modality]:
    """Give a function that makes a modality from two functions and a likelihood."""

    def make(
        encode: Callable[[Tensor], object], decode: Callable[[Tensor], object], p: Likelihood
    ) -> Modality:
        return Modality(Function(encode), Function(decode), p)

    return make
