"""What one trial owns while it is trained, alone or in a group: its model, its Adam, its progress, its data.

Nothing in it knows of other trials: its noise and its data order are functions of its seed and its step.

Axes: B batch, M modality, N sample.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mopoe import checkpoint as checkpoints
from mopoe.bound import beta_at, check_modalities, likelihood_weights, style_weights
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split
from mopoe.devices import prepared
from mopoe.errors import CheckpointError, ConfigError
from mopoe.model import MoPoE, build_model
from mopoe.noise import draw_components, generator
from mopoe.objective import Draws, Weights


@dataclass(slots=True, eq=False)
class Member:
    """A trial in training, built by `start`."""

    config: TrialConfig
    """Its settings."""
    data: MultimodalData
    """The data set."""
    model: MoPoE
    """Its model."""
    optimizer: torch.optim.Optimizer
    """Its Adam."""
    split: Split
    """Its training samples, on its device."""
    fixed_weights: Weights
    """The weights of its loss; beta is that of the end."""
    checkpoint: Path | None
    """The file that `save` rewrites."""
    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Optimiser steps taken."""
    examples: int = 0
    """Training samples seen."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training split."""
        return math.ceil(len(self.split) / self.config.batch_size)

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left."""
        return self.epoch >= self.config.epochs

    def order(self) -> Tensor:
        """Return the order of the samples in the epoch to come: int64 [N], on the CPU."""
        rng = generator(self.config.seed, "order", self.epoch + 1)
        return torch.randperm(len(self.split), generator=rng)

    def beta(self, ahead: int = 0) -> float:
        """Return the weight of the KL at the step to come, or some steps after it."""
        return beta_at(self.step + ahead, self.steps_per_epoch, self.config)

    def present(self, index_B: Tensor) -> Tensor | None:
        """Return which modalities of the samples at an index are there, [M, B]; None if all are."""
        return None if self.split.present is None else self.split.present[index_B].t()

    def draws(self, n: int, present_MB: Tensor | None) -> Draws:
        """Return the random numbers of the step to come, for a batch of n."""
        model, config, n_modalities = self.model, self.config, len(self.model.names)
        device = model.active_A.device
        rng = generator(config.seed, "latent", self.step, device=device)
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

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.checkpoint is not None:
            progress = checkpoints.Progress(
                config=self.config,
                data=self.data.name,
                data_options=dict(self.data.options),
                epoch=self.epoch,
                step=self.step,
                examples=self.examples,
            )
            checkpoints.save(self.checkpoint, progress, self.model, self.optimizer)


def start(
    config: TrialConfig,
    data: MultimodalData,
    *,
    model: MoPoE | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
) -> Member:
    """Return a member at its first step, or where its checkpoint was written.

    Raises:
        ConfigError: the settings do not fit the data.
        CheckpointError: the checkpoint is damaged or belongs to a trial with other settings.
    """
    check_modalities(config, len(data.modalities))
    if data.train.present is not None and config.mixture == "batch_split":
        raise ConfigError("modalities are missing, but mixture batch_split knows complete samples only")
    device = prepared(device)
    model = (model or build_model(config, data.modalities)).to(device)
    # fused: one kernel for all parameters. Its CPU version ignores gradients' strides; `.backward()` gives
    # gradients the strides of their parameters, so it is safe here (and tested).
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    weights = Weights(
        beta=config.beta,
        likelihood=likelihood_weights(config, data.modalities),
        style=style_weights(config, len(data.modalities)),
        entropy=config.weight_entropy,
    )
    member = Member(config, data, model, optimizer, data.train, weights, checkpoint)
    if checkpoint is not None and checkpoint.exists():
        _resume(member, checkpoint)
    member.split = hide(data.train.to(device), config)
    return member


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


def _resume(member: Member, path: Path) -> None:
    found, data = checkpoints.read_progress(path), member.data
    changed = [
        f"{name} was {was} and is now {now}"
        for (name, was), now in zip(
            (found.config.to_dict() | {"data": (found.data, found.data_options)}).items(),
            (member.config.to_dict() | {"data": (data.name, dict(data.options))}).values(),
            strict=True,
        )
        # More epochs than before are what going on is for.
        if was != now and name != "epochs"
    ]
    if changed:
        raise CheckpointError(f"{path}: belongs to a trial with other settings: {'; '.join(changed)}")
    checkpoints.restore(path, member.model, member.optimizer)
    member.epoch, member.step, member.examples = found.epoch, found.step, found.examples
