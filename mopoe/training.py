"""The core training function: one trial, from a config and a data set to a trained model.

Axes: B batch.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mopoe import checkpoint as checkpoints
from mopoe.bound import beta_at, likelihood_weights
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split
from mopoe.errors import CheckpointError, DivergedError
from mopoe.model import MoPoE, build_model
from mopoe.noise import draw_components, generator
from mopoe.objective import Terms, generalized_elbo
from mopoe.records import EpochReport, Evaluation

Evaluate = Callable[[MoPoE, int], Evaluation | None]
"""Measures the model after an epoch, or returns None if that epoch is not due."""


def train(
    config: TrialConfig,
    data: MultimodalData,
    on_report: Callable[[EpochReport], bool | None],
    *,
    model: MoPoE | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
) -> MoPoE:
    """Train one trial and return its model.

    The numbers depend on the config and the data alone: two calls give the same ones on the same machine,
    and so does a call that goes on from a checkpoint.

    Args:
        config: the settings; `config.seed` fixes initialisation, data order and noise.
        data: the data set; its training split is used.
        on_report: called after every epoch. What it raises ends the trial. If it returns False, because the
            report is not on disk yet, that epoch's checkpoint is left out; the last epoch's never is.
        model: a model of your own networks, already initialised; by default the paper's networks. The
            config's settings of the model (from latent_dim, method and the subsets' weights to
            initial_logvar) are then only a record; those of the loss act: beta, mixture, likelihood_weights.
        evaluate: held-out measurements, called after every epoch.
        checkpoint: file to go on from if it exists, and to rewrite after epochs.
        device: where to train.

    Raises:
        DivergedError: the loss or the gradient stopped being a finite number; says at which step.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings.
    """
    device = torch.device(device)
    model = (model or build_model(config, data.modalities)).to(device)
    # fused: one kernel for all parameters. Its CPU version ignores gradients' strides; `.backward()` gives
    # gradients the strides of their parameters, so it is safe here (and tested).
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    done = _Done()
    if checkpoint is not None and checkpoint.exists():
        done = _resume(checkpoint, config, data, model, optimizer)
    split = data.train.to(device)
    weights = likelihood_weights(config.likelihood_weights, data.modalities)
    for epoch in range(done.epoch + 1, config.epochs + 1):
        started = time.perf_counter()
        sums = _train_epoch(model, optimizer, split, weights, config, epoch, done)
        seconds = time.perf_counter() - started
        done.epoch = epoch
        evaluation = evaluate(model, epoch) if evaluate is not None else None
        safe = on_report(sums.report(done, config, seconds, evaluation))
        # After the report: a trial that goes on from a checkpoint must not leave out an epoch's report.
        if checkpoint is not None and (safe is not False or epoch == config.epochs):
            checkpoints.save(checkpoint, done.progress(config, data), model, optimizer)
    return model


@dataclass(slots=True)
class _Done:
    """How far a trial has come."""

    epoch: int = 0
    step: int = 0
    examples: int = 0

    def progress(self, config: TrialConfig, data: MultimodalData) -> checkpoints.Progress:
        return checkpoints.Progress(
            config=config,
            data=data.name,
            data_options=dict(data.options),
            epoch=self.epoch,
            step=self.step,
            examples=self.examples,
        )


@dataclass(slots=True)
class _Sums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for the host."""

    n: int = 0
    loss: Tensor | float = 0.0
    kl: Tensor | float = 0.0
    reconstruction: dict[str, Tensor | float] = field(default_factory=dict)
    grad_norm: float = math.nan

    def add(self, terms: Terms, n: int) -> None:
        self.n += n
        self.loss = self.loss + terms.loss.detach() * n
        self.kl = self.kl + terms.kl.detach() * n
        for name, value in terms.reconstruction.items():
            self.reconstruction[name] = self.reconstruction.get(name, 0.0) + value.detach() * n

    def report(
        self, done: _Done, config: TrialConfig, seconds: float, evaluation: Evaluation | None
    ) -> EpochReport:
        reconstruction = {name: float(value) / self.n for name, value in self.reconstruction.items()}
        kl = float(self.kl) / self.n
        return EpochReport(
            epoch=done.epoch,
            step=done.step,
            examples=done.examples,
            seconds=seconds,
            loss=float(self.loss) / self.n,
            elbo=-(sum(reconstruction.values()) + kl),
            reconstruction=reconstruction,
            kl=kl,
            lr=config.lr,
            grad_norm=self.grad_norm,
            evaluation=evaluation,
        )


def _train_epoch(
    model: MoPoE,
    optimizer: torch.optim.Optimizer,
    split: Split,
    weights: dict[str, float],
    config: TrialConfig,
    epoch: int,
    done: _Done,
) -> _Sums:
    device = split.labels.device
    order = torch.randperm(len(split), generator=generator(config.seed, "order", epoch)).to(device)
    sums = _Sums()
    finite = torch.ones((), dtype=torch.bool, device=device)
    finite_steps = torch.zeros((), dtype=torch.int64, device=device)
    n_steps = math.ceil(len(split) / config.batch_size)
    model.train()
    for index_B in order.split(config.batch_size):
        beta = beta_at(done.step, n_steps, config)
        terms = _terms(model, split.batch(index_B, device), weights, config, beta, done.step)
        optimizer.zero_grad(set_to_none=True)
        terms.loss.backward()
        optimizer.step()
        done.step += 1
        done.examples += len(index_B)
        sums.add(terms, len(index_B))
        finite = finite & torch.isfinite(terms.loss.detach())
        finite_steps += finite
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    sums.grad_norm = float(torch.nn.utils.get_total_norm(gradients))
    if not bool(finite) or not math.isfinite(sums.grad_norm):
        what, bad = "loss", done.step - n_steps + int(finite_steps) + 1
        if bool(finite):
            what, bad = "gradient", done.step
        raise DivergedError(f"the {what} is not finite at step {bad} (epoch {epoch})")
    return sums


def _terms(
    model: MoPoE, x: dict[str, Tensor], weights: dict[str, float], config: TrialConfig, beta: float, step: int
) -> Terms:
    """Return the objective of a batch with the noise of one step."""
    n, device = len(x[model.names[0]]), model.weights_S.device
    rng = generator(config.seed, "latent", step, device=device)
    component_B = draw_components(config.mixture, model.weights_S, n, rng)
    subsets = () if component_B is not None else (len(model.active_A),)
    noise = torch.randn(*subsets, n, model.latent_dim, generator=rng, device=device)
    unimodal = None
    if model.unimodal_elbos:
        unimodal = torch.randn(len(model.names), n, model.latent_dim, generator=rng, device=device)
    return generalized_elbo(
        model, x, component_B, noise, beta, unimodal_noise_MBZ=unimodal, likelihood_weights=weights
    )


def _resume(
    path: Path, config: TrialConfig, data: MultimodalData, model: MoPoE, optimizer: torch.optim.Optimizer
) -> _Done:
    found = checkpoints.read_progress(path)
    changed = [
        f"{name} was {was} and is now {now}"
        for (name, was), now in zip(
            (found.config.to_dict() | {"data": (found.data, found.data_options)}).items(),
            (config.to_dict() | {"data": (data.name, dict(data.options))}).values(),
            strict=True,
        )
        # More epochs than before are what going on is for.
        if was != now and name != "epochs"
    ]
    if changed:
        raise CheckpointError(f"{path}: belongs to a trial with other settings: {'; '.join(changed)}")
    checkpoints.restore(path, model, optimizer)
    return _Done(epoch=found.epoch, step=found.step, examples=found.examples)
