"""The core training function: from a config and a data set to a trained model.

A trial's noise and data order are functions of its seed and its step, so that it goes on from a checkpoint as
if it had never stopped. Axes: B batch, M modality, N sample.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mopoe import checkpoint as checkpoints
from mopoe.compiled import Objective
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split
from mopoe.errors import CheckpointError, ConfigError, DivergedError
from mopoe.methods import beta_at, check_modalities, likelihood_weights, style_weights
from mopoe.model import MoPoE, build_model
from mopoe.objectives import Draws, Terms, Weights
from mopoe.random_streams import draw_components, generator
from mopoe.reports import EpochReport, Evaluation
from mopoe.runtime import prepared

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
    on_saved: Callable[[EpochReport], None] | None = None,
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
        on_saved: called with the same report once the checkpoint is written, or was left out.
        device: where to train.

    Raises:
        DivergedError: the loss or the gradient stopped being a finite number; says at which step.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings or data.
        ConfigError: the settings do not fit the data, or the device.
    """
    trial = _start(config, data, model=model, checkpoint=checkpoint, device=device)
    while trial.epoch < config.epochs:
        report = _train_epoch(trial)
        evaluation = None if evaluate is None else evaluate(trial.model, trial.epoch)
        trial.seconds += report.seconds + (evaluation.seconds if evaluation else 0.0)
        report = replace(report, evaluation=evaluation, total_seconds=trial.seconds)
        # The report first: a trial that goes on from a checkpoint must not leave out an epoch's report.
        written = on_report(report)
        if checkpoint is not None and (written is not False or trial.epoch == config.epochs):
            checkpoints.save(checkpoint, trial.progress(), trial.model, trial.optimizer)
        if on_saved is not None:
            on_saved(report)
    return trial.model


@dataclass(slots=True, kw_only=True)
class _Trial:
    """A trial in training."""

    config: TrialConfig
    data: MultimodalData
    model: MoPoE
    objective: Objective
    """The loss of a batch, compiled if the config says so."""
    optimizer: torch.optim.Optimizer
    split: Split
    """The training samples, on the model's device."""
    weights: Weights
    """The weights of the loss; beta is that of the end."""
    epoch: int = 0
    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    """Time of all epochs and their evaluations, in whichever process."""

    def progress(self) -> checkpoints.Progress:
        """Return where the trial stands."""
        return checkpoints.Progress(
            config=self.config,
            data=self.data.name,
            data_options=dict(self.data.options),
            epoch=self.epoch,
            step=self.step,
            examples=self.examples,
            seconds=self.seconds,
            fingerprint=self.data.fingerprint,
        )


def _start(
    config: TrialConfig,
    data: MultimodalData,
    *,
    model: MoPoE | None,
    checkpoint: Path | None,
    device: torch.device | str,
) -> _Trial:
    """Return a trial at its first step, or where its checkpoint was written."""
    check_modalities(config, len(data.modalities))
    if data.train.present is not None and config.mixture == "batch_split":
        raise ConfigError("modalities are missing, but mixture batch_split knows complete samples only")
    device = prepared(device)
    model = (model or build_model(config, data.modalities)).to(device)
    # fused: one kernel for all parameters. Its CPU version ignores gradients' strides; `.backward()` gives
    # gradients the strides of their parameters, so it is safe here (and tested).
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    trial = _Trial(
        config=config,
        data=data,
        model=model,
        objective=Objective(model, config, device),
        optimizer=optimizer,
        split=hide(data.train.to(device), config),
        weights=loss_weights(config, data),
    )
    if checkpoint is not None and checkpoint.exists():
        _resume(trial, checkpoint)
    return trial


def loss_weights(config: TrialConfig, data: MultimodalData) -> Weights:
    """Return the weights of the loss's parts that a config asks for, beta being that of the end."""
    return Weights(
        beta=config.beta,
        likelihood=likelihood_weights(config, data.modalities),
        style=style_weights(config, len(data.modalities)),
        entropy=config.weight_entropy,
    )


def _train_epoch(trial: _Trial) -> EpochReport:
    """Take the steps of one epoch.

    Raises:
        DivergedError: the loss or the gradient is not finite.
    """
    started, config, model = time.perf_counter(), trial.config, trial.model
    device, n_samples = model.active_A.device, len(trial.split)
    steps_per_epoch = math.ceil(n_samples / config.batch_size)
    order_N = torch.randperm(n_samples, generator=generator(config.seed, "order", trial.epoch + 1)).to(device)
    sums = _Sums(torch.ones((), dtype=torch.bool, device=device), torch.zeros((), device=device).long())
    model.train()
    # Dropout draws from torch's global generator, which is seeded for the epoch and left as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(config.seed, "dropout", trial.epoch + 1).initial_seed())
        for index_B in order_N.split(config.batch_size):
            x = trial.split.batch(index_B, device)
            present_MB = None if trial.split.present is None else trial.split.present[index_B].t()
            draws = step_draws(config, model, trial.step, len(index_B), present_MB)
            weights = replace(trial.weights, beta=beta_at(trial.step, steps_per_epoch, config))
            trial.optimizer.zero_grad(set_to_none=True)
            # Outside of the networks nothing is computed in half precision (`at_least_float32`).
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                terms = trial.objective(x, draws, weights, present_MB)
            terms.loss.backward()
            trial.optimizer.step()
            trial.step += 1
            trial.examples += len(index_B)
            sums.add(terms, len(index_B))
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # CUDA is asynchronous: wait before reading the clock
    return sums.report(trial, time.perf_counter() - started)


def step_draws(
    config: TrialConfig, model: MoPoE, step: int, n: int, present_MB: Tensor | None = None
) -> Draws:
    """Return the random numbers of a step, for a batch of n."""
    device, n_modalities = model.active_A.device, len(model.names)
    rng = generator(config.seed, "latent", step, device=device)
    shares = model.weights_S.detach() if present_MB is None else model.weights_given(present_MB).detach()
    component_B = draw_components(config.mixture, shares, n, rng)
    leading = () if config.estimator == "elbo" else (config.samples,)
    if component_B is None:
        leading = (*leading, len(model.components(missing=present_MB is not None)))
    noise = torch.randn(*leading, n, model.latent_dim, generator=rng, device=device)
    unimodal = style = None
    if model.bound.unimodal_elbos:
        unimodal = torch.randn(n_modalities, n, model.latent_dim, generator=rng, device=device)
    if model.style_dim:
        rows = math.prod(leading) * n
        style = torch.randn(n_modalities, rows, model.style_dim, generator=rng, device=device)
    return Draws(component_B=component_B, noise=noise, unimodal_MBZ=unimodal, style_MBW=style)


@dataclass(slots=True)
class _Sums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for the host."""

    finite: Tensor
    finite_steps: Tensor
    n: int = 0
    steps: int = 0
    loss: Tensor | float = 0.0
    kl: Tensor | float = 0.0
    reconstruction: dict[str, Tensor | float] = field(default_factory=dict)

    def add(self, terms: Terms, n: int) -> None:
        """Take the terms of a batch of n."""
        self.n += n
        self.steps += 1
        loss = terms.loss.detach()
        self.loss = self.loss + loss * n
        self.kl = self.kl + terms.kl.detach() * n
        for name, value in terms.reconstruction.items():
            self.reconstruction[name] = self.reconstruction.get(name, 0.0) + value.detach() * n
        self.finite = self.finite & torch.isfinite(loss)
        self.finite_steps = self.finite_steps + self.finite

    def report(self, trial: _Trial, seconds: float) -> EpochReport:
        """Return what there is to report of an epoch, which is then over; DivergedError if it diverged."""
        gradients = [p.grad for p in trial.model.parameters() if p.grad is not None]
        grad_norm = float(torch.nn.utils.get_total_norm(gradients))
        if not self.finite or not math.isfinite(grad_norm):
            what, bad = "loss", trial.step - self.steps + int(self.finite_steps) + 1
            if self.finite:
                what, bad = "gradient", trial.step
            raise DivergedError(f"the {what} is not finite at step {bad} (epoch {trial.epoch + 1})")
        trial.epoch += 1
        reconstruction = {name: float(value) / self.n for name, value in self.reconstruction.items()}
        kl = float(self.kl) / self.n
        return EpochReport(
            epoch=trial.epoch,
            step=trial.step,
            examples=trial.examples,
            seconds=seconds,
            loss=float(self.loss) / self.n,
            elbo=-(sum(reconstruction.values()) + kl),
            reconstruction=reconstruction,
            kl=kl,
            lr=trial.config.lr,
            grad_norm=grad_norm,
            evaluation=None,
        )


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


def _resume(trial: _Trial, path: Path) -> None:
    found, data = checkpoints.read_progress(path), trial.data
    if found.fingerprint not in (None, data.fingerprint):
        raise CheckpointError(
            f"{path}: was trained on other data: their fingerprint is {found.fingerprint}, and is "
            f"{data.fingerprint} now"
        )
    was = found.config.to_dict() | {"data": (found.data, found.data_options)}
    now = trial.config.to_dict() | {"data": (data.name, dict(data.options))}
    # More epochs than before are what going on is for.
    changed = [f"{n} was {was[n]} and is now {now[n]}" for n in was if was[n] != now[n] and n != "epochs"]
    if changed:
        raise CheckpointError(f"{path}: belongs to a trial with other settings: {'; '.join(changed)}")
    checkpoints.restore(path, trial.model, trial.optimizer)
    trial.epoch, trial.step, trial.examples = found.epoch, found.step, found.examples
    trial.seconds = found.seconds
