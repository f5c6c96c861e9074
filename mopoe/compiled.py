"""What a trial minimises for one batch, computed as it stands or compiled. Axes: B batch, M modality."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mopoe.config import Estimator, TrialConfig
from mopoe.errors import ConfigError
from mopoe.model import MoPoE
from mopoe.objectives import Draws, Terms, Weights, generalized_elbo, importance_weighted_bound


def objective(
    model: MoPoE,
    estimator: Estimator,
    x: Mapping[str, Tensor],
    draws: Draws,
    weights: Weights,
    present_MB: Tensor | None,
) -> Terms:
    """Return what a trial minimises and its parts, for one batch."""
    if estimator == "elbo":
        return generalized_elbo(model, x, draws, weights, present_MB)
    return importance_weighted_bound(model, x, draws, weights, estimator, present_MB)


class Objective:
    """The objective of a model's batches, as it stands or compiled.

    Raises:
        ConfigError: a CUDA graph is asked for on another device.
    """

    def __init__(self, model: MoPoE, config: TrialConfig, device: torch.device) -> None:
        self._model, self._estimator, self._compile = model, config.estimator, config.compile
        if config.compile == "graph" and device.type != "cuda":
            raise ConfigError(f"compile is graph, but must be no or step on the device {device.type}")
        if config.compile != "no":
            # By default a process has eight shapes compiled, and computes others uncompiled: too few for a
            # worker that trains many trials. The last, smaller batch of an epoch is one more.
            torch._dynamo.config.recompile_limit = 128  # noqa: SLF001 - documented so, and the only way in 2.6
            mode = "reduce-overhead" if config.compile == "graph" else None
            self._compiled: Any = torch.compile(
                _Module(model.train(), config.estimator), dynamic=False, mode=mode
            )

    def __call__(
        self, x: Mapping[str, Tensor], draws: Draws, weights: Weights, present_MB: Tensor | None
    ) -> Terms:
        """Return the terms of a batch."""
        if self._compile == "no":
            return objective(self._model, self._estimator, x, draws, weights, present_MB)
        if self._compile == "graph":
            torch.compiler.cudagraph_mark_step_begin()
        # A tensor: a number that changes would compile the step anew.
        beta = torch.tensor(weights.beta, dtype=torch.float32).to(draws.noise.device)
        return Terms(*self._compiled(x, draws, replace(weights, beta=beta), present_MB))


class _Module(nn.Module):
    """The objective as a module, which is what compiles."""

    def __init__(self, model: MoPoE, estimator: Estimator) -> None:
        super().__init__()
        self.model, self.estimator = model, estimator

    def forward(
        self, x: Mapping[str, Tensor], draws: Draws, weights: Weights, present_MB: Tensor | None
    ) -> tuple[Any, ...]:
        """Return the fields of `Terms`."""
        found = objective(self.model, self.estimator, x, draws, weights, present_MB)
        return found.loss, dict(found.reconstruction), found.kl
