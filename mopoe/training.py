"""The core training function: one trial, from a config and a data set to a trained model.

Axes: B batch.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mopoe import checkpoint as checkpoints
from mopoe.bound import beta_at, check_modalities, likelihood_weights, style_weights
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split
from mopoe.errors import CheckpointError, DivergedError
from mopoe.importance import importance_weighted_bound
from mopoe.model import MoPoE, build_model
from mopoe.noise import draw_components, generator
from mopoe.objective import Draws, Terms, Weights, generalized_elbo
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
            initial_logvar) are then only a record; those of the loss act: beta, mixture, estimator, weights.
        evaluate: held-out measurements, called after every epoch.
        checkpoint: file to go on from if it exists, and to rewrite after epochs.
        device: where to train.

    Raises:
        DivergedError: the loss or the gradient stopped being a finite number; says at which step.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings.
    """
    check_modalities(config, len(data.modalities))
    device = torch.device(device)
    model = (model or build_model(config, data.modalities)).to(device)
    # fused: one kernel for all parameters. Its CPU version ignores gradients' strides; `.backward()` gives
    # gradients the strides of their parameters, so it is safe here (and tested).
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    done = _Done()
    if checkpoint is not None and checkpoint.exists():
        done = _resume(checkpoint, config, data, model, optimizer)
    split = hide(data.train.to(device), config)
    weights = Weights(
        beta=config.beta,
        likelihood=likelihood_weights(config, data.modalities),
        style=style_weights(config, len(data.modalities)),
        entropy=config.weight_entropy,
    )
    for epoch in range(done.epoch + 1, config.epochs + 1):
        started = time.perf_counter()
        # Dropout draws from torch's global generator, which is seeded for the epoch and left as it was.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator(config.seed, "dropout", epoch).initial_seed())
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
    weights: Weights,
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
        now = replace(weights, beta=beta_at(done.step, n_steps, config))
        present_MB = None if split.present is None else split.present[index_B].t()
        # Outside of the networks nothing is computed in half precision (`at_least_float32`).
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            terms = _terms(model, split.batch(index_B, device), present_MB, now, config, done.step)
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
    model: MoPoE,
    x: dict[str, Tensor],
    present_MB: Tensor | None,
    weights: Weights,
    config: TrialConfig,
    step: int,
) -> Terms:
    """Return the objective of a batch with the noise of one step."""
    n, n_modalities, device = len(x[model.names[0]]), len(model.names), model.active_A.device
    rng = generator(config.seed, "latent", step, device=device)
    shares = model.weights_S.detach() if present_MB is None else model.weights_given(present_MB).detach()
    component_B = draw_components(config.mixture, shares, n, rng)
    leading = () if config.estimator == "elbo" else (config.samples,)
    if component_B is None:
        leading = (*leading, len(model.active_A))
    noise = torch.randn(*leading, n, model.latent_dim, generator=rng, device=device)
    unimodal = style = None
    if model.bound.unimodal_elbos:
        unimodal = torch.randn(n_modalities, n, model.latent_dim, generator=rng, device=device)
    if model.style_dim:
        rows = math.prod(leading) * n
        style = torch.randn(n_modalities, rows, model.style_dim, generator=rng, device=device)
    draws = Draws(component_B=component_B, noise=noise, unimodal_MBZ=unimodal, style_MBW=style)
    if config.estimator == "elbo":
        return generalized_elbo(model, x, draws, weights, present_MB)
    return importance_weighted_bound(model, x, draws, weights, config.estimator, present_MB)


def hide(split: Split, config: TrialConfig) -> Split:
    """Return the split with a share `config.missing` of its modalities hidden, at least one left per sample.

    What a sample has lost is the same in every epoch, and fixed by the trial's seed.
    """
    if config.missing == 0:
        return split
    rng = generator(config.seed, "missing")
    chance_NM = torch.rand(len(split), len(split.x), generator=rng, dtype=torch.float64).to(
        split.labels.device
    )
    if split.present is not None:
        chance_NM = chance_NM.where(split.present, -1)
    # The modality with the largest number stays whatever the share.
    last_N1 = chance_NM.max(1, keepdim=True).values
    return replace(split, present=(chance_NM >= config.missing) | (chance_NM == last_N1))


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
