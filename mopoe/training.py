"""The core training function: from a config and a data set to a trained model.

A trial's random numbers and its data order are functions of its seed and its step (`mopoe.random_streams`),
so that a trial that resumes from a checkpoint continues as if it had never stopped. Axes: B batch, M
modality, N sample.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mopoe import checkpoint as checkpoints
from mopoe.batch_loss import BatchLoss, batch_loss
from mopoe.checkpoint import Progress
from mopoe.config import TrialConfig
from mopoe.convolutions import GROUPED
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import COVARIATES
from mopoe.data.units import kinds
from mopoe.elbo import Draws, LossTerms, LossWeights
from mopoe.errors import CheckpointError, ConfigError, DivergedError
from mopoe.methods import beta_at, check_modalities, likelihood_weights, lr_at, style_weights
from mopoe.model import MoPoE, build_model
from mopoe.random_streams import draw_components, generator
from mopoe.reports import EpochReport, Evaluation
from mopoe.runtime import prepared

Evaluate = Callable[[MoPoE, int], Evaluation | None]
"""Measures the model after an epoch, or returns None if that epoch is not due for evaluation."""


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

    The numbers depend on the config and the data alone: two calls give the same numbers on the same machine,
    and so does a call that resumes from a checkpoint.

    Args:
        config: the settings; `config.seed` determines initialisation, data order and random numbers.
        data: the data set, whose training split is used.
        on_report: called after every epoch. An exception that it raises ends the trial. If it returns False,
            because no checkpoint is due, that epoch's is skipped, unless it is the last.
        model: an initialised model with networks of your own; by default the paper's networks. The config's
            settings of the model (latent_dim, method, the subsets' weights, initial_logvar, ...) are then
            only a record; those of the loss apply: beta, mixture, estimator, likelihood weights.
        evaluate: held-out measurements, called after every epoch.
        checkpoint: file to resume from if it exists, and to rewrite after each epoch.
        on_saved: called with the same report after the checkpoint was written or skipped.
        device: where to train.

    Raises:
        DivergedError: the loss or the gradient is not a finite number; the message names the step.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings or data.
        ConfigError: the settings do not fit the data or the device.
    """
    check_modalities(config, len(data.modalities))
    if data.train.present is not None and config.mixture == "batch_split":
        raise ConfigError("modalities are missing, but mixture batch_split needs complete samples")
    device = prepared(device, config.precision)
    model = (model or build_model(config, data.modalities)).to(device)
    check_complete(config, data, model)
    with ExitStack() as ended:
        if banks_fit(config, device):
            model.bank()
            ended.callback(model.unbank)
        # fused: one kernel for all parameters. On a CPU it ignores the strides of gradients, to which
        # `.backward()` gives those of their parameters, so it is safe here (and tested).
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(model.trained, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        loss = batch_loss(model, config, device)
        split, weights = hide(data.train.to(device), config), loss_weights(config, data)
        progress = Progress(
            config=config,
            data=data.name,
            data_options=dict(data.options),
            fingerprint=data.fingerprint,
            modalities=data.modalities,
            kinds=kinds(data),
        )
        if checkpoint is not None and checkpoint.exists():
            progress = _resumed(checkpoint, progress)
            checkpoints.restore(checkpoint, model, optimizer)
        while progress.epoch < config.epochs:
            report = _train_epoch(config, model, optimizer, loss, split, weights, progress)
            evaluation = None if evaluate is None else evaluate(model, report.epoch)
            seconds = progress.seconds + report.seconds + (evaluation.seconds if evaluation else 0.0)
            report = replace(report, evaluation=evaluation, total_seconds=seconds)
            progress = replace(
                progress, epoch=report.epoch, step=report.step, examples=report.examples, seconds=seconds
            )
            # The report comes first: a trial that resumes from a checkpoint must not lack an epoch's report.
            due = on_report(report)
            if checkpoint is not None and (due is not False or progress.epoch == config.epochs):
                checkpoints.save(checkpoint, progress, model, optimizer)
            if on_saved is not None:
                on_saved(report)
    return model


def check_complete(config: TrialConfig, data: MultimodalData, model: MoPoE) -> None:
    """Refuse to normalise over batches in which modalities are missing.

    Raises:
        ConfigError: an encoder does, which would take what stands in for missing samples for samples.
    """
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    missing = config.missing > 0 or data.train.present is not None
    for name, encoder in model.encoders.items() if missing else ():
        if any(isinstance(module, norms) for module in encoder.modules()):
            why = f"but the encoder of {name!r} normalises over batches, which need complete samples"
            raise ConfigError(f"modalities are missing, {why}; use normalisation layer")


def banks_fit(config: TrialConfig, device: torch.device | str) -> bool:
    """Return whether a trial's like networks are computed together, in training and when it is measured."""
    wanted = GROUPED or torch.device(device).type == "cpu"
    return wanted and config.precision == "float32" and config.compile == "no"


def _train_epoch(
    config: TrialConfig,
    model: MoPoE,
    optimizer: torch.optim.Optimizer,
    loss: BatchLoss,
    split: Split,
    weights: LossWeights,
    progress: Progress,
) -> EpochReport:
    """Take the steps of one epoch and return its report, without evaluation.

    Raises:
        DivergedError: the loss or the gradient is not finite.
    """
    started, epoch = time.perf_counter(), progress.epoch + 1
    device, n_samples, banked = model.device, len(split), bool(model.stacks)
    order_N = torch.randperm(n_samples, generator=generator(config.seed, "order", epoch)).to(device)
    batches = order_N.split(config.batch_size)
    sums: list[LossTerms] = []  # stay on the device, so that no step waits for the host
    norm: Tensor | None = None
    model.train()
    # Dropout draws from torch's global generator, which is seeded for the epoch and restored after it.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(config.seed, "dropout", epoch).initial_seed())
        for step, index_B in enumerate(batches, progress.step):
            x = split.batch(index_B, device, innermost=banked)
            present_MB = None if split.present is None else split.present[index_B].t()
            draws = step_draws(config, model, step, len(index_B), present_MB)
            beta = beta_at(step, len(batches), config)
            optimizer.zero_grad(set_to_none=True)
            # Only the networks compute in half precision (`at_least_float32`).
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                terms = loss(x, draws, replace(weights, beta=beta), present_MB)
            terms.loss.backward()
            if config.grad_clip:
                norm = torch.nn.utils.clip_grad_norm_(model.trained, config.grad_clip)
            optimizer.param_groups[0]["lr"] = lr_at(step, len(batches), config)
            optimizer.step()
            sums.append(terms.summed(len(index_B)))
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # CUDA is asynchronous: wait before reading the clock
    seconds = time.perf_counter() - started
    grad_norm = _finite_gradient(model, sums, progress, norm)
    reconstruction = {
        name: float(sum(s.reconstruction[name] for s in sums)) / n_samples for name in model.names
    }
    kl = float(sum(s.kl for s in sums)) / n_samples
    return EpochReport(
        epoch=epoch,
        step=progress.step + len(batches),
        examples=progress.examples + n_samples,
        seconds=seconds,
        loss=float(sum(s.loss for s in sums)) / n_samples,
        elbo=-(sum(reconstruction.values()) + kl),
        reconstruction=reconstruction,
        kl=kl,
        lr=optimizer.param_groups[0]["lr"],
        grad_norm=grad_norm,
    )


def step_draws(
    config: TrialConfig, model: MoPoE, step: int, n: int, present_MB: Tensor | None = None
) -> Draws:
    """Return the random numbers of a step for a batch of n samples, a function of the seed and the step."""
    device, n_modalities = model.device, len(model.names)
    rng = generator(config.seed, "latent", step, device=device)
    shares = model.weights_S.detach() if present_MB is None else model.weights_given(present_MB).detach()
    component_B = draw_components(config.mixture, shares, n, rng)
    leading = () if config.estimator == "elbo" else (config.samples,)
    if component_B is None:
        leading = (*leading, len(model.components(missing=present_MB is not None)))
    noise = torch.randn(*leading, n, model.latent_dim, generator=rng, device=device)
    unimodal = style = None
    if model.method.unimodal_elbos:
        unimodal = torch.randn(n_modalities, n, model.latent_dim, generator=rng, device=device)
    if model.style_dim:
        rows = math.prod(leading) * n
        style = torch.randn(n_modalities, rows, model.style_dim, generator=rng, device=device)
    return Draws(component_B=component_B, noise=noise, unimodal_MBZ=unimodal, style_MBW=style)


def loss_weights(config: TrialConfig, data: MultimodalData) -> LossWeights:
    """Return the weights of the loss's parts; beta is its final value, after any warm-up."""
    return LossWeights(
        beta=config.beta,
        likelihood=likelihood_weights(config, data.modalities),
        style=style_weights(config, len(data.modalities)),
        entropy=config.weight_entropy,
    )


def hide(split: Split, config: TrialConfig) -> Split:
    """Return the split with a share `config.missing` of its modalities hidden, at least one left per sample.

    Which modalities a sample lacks is the same in every epoch and determined by the trial's seed.
    """
    if config.missing == 0:
        return split
    rng, device = generator(config.seed, "missing"), split.labels.device
    n_modalities = len({*split.x} - {COVARIATES})
    chance_NM = torch.rand(len(split), n_modalities, generator=rng, dtype=torch.float64).to(device)
    if split.present is not None:
        chance_NM = chance_NM.where(split.present, -1)
    # The modality with the largest number stays whatever the share.
    last_N1 = chance_NM.max(1, keepdim=True).values
    return replace(split, present=(chance_NM >= config.missing) | (chance_NM == last_N1))


def _finite_gradient(
    model: MoPoE, sums: list[LossTerms], progress: Progress, unclipped: Tensor | None
) -> float:
    """Return the norm of the last gradient; raise DivergedError unless it and all losses are finite."""
    finite = torch.isfinite(torch.stack([s.loss for s in sums])).tolist()
    gradients = [p.grad for p in model.trained if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients) if unclipped is None else unclipped)
    if not all(finite):
        what, step = "loss", finite.index(False)
    elif not math.isfinite(norm):
        what, step = "gradient", len(sums) - 1
    else:
        return norm
    raise DivergedError(
        f"the {what} is not finite at step {progress.step + step + 1} (epoch {progress.epoch + 1})"
    )


def _resumed(path: Path, start: Progress) -> Progress:
    """Return a checkpoint's progress, if it is of the trial that would otherwise begin at `start`.

    The trial may have been given a different number of epochs, unless the learning rate depends on it: to
    train for longer is a reason to resume.

    Raises:
        CheckpointError: the checkpoint was trained with other settings or data.
    """
    saved = checkpoints.read_progress(path)
    if saved.fingerprint not in (None, start.fingerprint):
        raise CheckpointError(
            f"{path}: was trained on other data: their fingerprint was {saved.fingerprint} and is now "
            f"{start.fingerprint}"
        )
    was, now = ({**p.config.to_dict(), "data": (p.data, p.data_options)} for p in (saved, start))
    free = "epochs" if start.config.lr_schedule == "constant" else ""  # a cosine ends with the epochs
    # An option of networks that is not given is in no config.
    pairs = {n: [some.get(n, "its default") for some in (was, now)] for n in was | now if n != free}
    changed = [
        f"{n} was {before} and is now {after}" for n, (before, after) in pairs.items() if before != after
    ]
    if changed:
        raise CheckpointError(f"{path}: belongs to a trial with other settings: {'; '.join(changed)}")
    counts = {name: getattr(saved, name) for name in ("epoch", "step", "examples", "seconds")}
    return replace(start, **counts)
