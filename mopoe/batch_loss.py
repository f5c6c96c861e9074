"""The loss of a batch that a config asks for: which bound, and whether torch compiles it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.elbo import Draws, LossTerms, LossWeights, generalized_elbo, importance_weighted_bound
from mopoe.errors import ConfigError
from mopoe.model import MoPoE

BatchLoss = Callable[[Mapping[str, Tensor], Draws, LossWeights, Tensor | None], LossTerms]
"""Maps samples, random numbers, weights and presence [M, B] to the loss of the batch and its parts."""


def batch_loss(model: MoPoE, config: TrialConfig, device: torch.device) -> BatchLoss:
    """Return the function that computes the loss of a model's batches, compiled if the config says so.

    Raises:
        ConfigError: a CUDA graph is asked for on another device.
    """
    if config.compile == "graph" and device.type != "cuda":
        raise ConfigError(f"compile is graph, but must be no or step on the device {device.type}")
    if config.estimator == "elbo":
        loss: BatchLoss = partial(generalized_elbo, model)
    else:
        loss = partial(importance_weighted_bound, model, gradient=config.estimator)
    return loss if config.compile == "no" else _compiled(model, loss, graph=config.compile == "graph")


def _compiled(model: MoPoE, loss: BatchLoss, *, graph: bool) -> BatchLoss:
    # By default a process compiles eight shapes and computes others uncompiled: too few for a worker that
    # trains many trials. The last, smaller batch of an epoch is one more shape.
    torch._dynamo.config.recompile_limit = 128  # noqa: SLF001 - documented so, and the only way in 2.6
    mode = "reduce-overhead" if graph else None
    compiled: Any = torch.compile(_LossModule(model.train(), loss), dynamic=False, mode=mode)

    def terms(
        x: Mapping[str, Tensor], draws: Draws, weights: LossWeights, present_MB: Tensor | None
    ) -> LossTerms:
        if graph:
            torch.compiler.cudagraph_mark_step_begin()
        # As a tensor: the step would be compiled anew for every value of a Python number.
        beta = torch.tensor(weights.beta, dtype=torch.float32).to(draws.noise.device)
        return LossTerms(*compiled(x, draws, replace(weights, beta=beta), present_MB))

    return terms


class _LossModule(nn.Module):
    """The loss as a module, the unit that torch compiles."""

    def __init__(self, model: MoPoE, loss: BatchLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(
        self, x: Mapping[str, Tensor], draws: Draws, weights: LossWeights, present_MB: Tensor | None
    ) -> tuple[Any, ...]:
        """Return the fields of `LossTerms`."""
        terms = self.loss(x, draws, weights, present_MB)
        return terms.loss, dict(terms.reconstruction), terms.kl
