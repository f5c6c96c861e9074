"""Trials that take every optimiser step together, as one stacked model; a single trial is a group of one.

A step stacks the members' parameters, lays a smaller latent in the corner of the widest, and maps the loss
over the members (`torch.func.vmap`). Gradients flow back into each member's own tensors, where its own Adam
reads them: no term couples two members, and a member's model and checkpoint are those it would have alone.
All its latents that are padding have mean 0, precision 1 and no noise, so that padded weights never matter.

Axes: B batch, G member, N sample, T step of an epoch, Z latent.
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from mopoe.bound import bound_of
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError, DivergedError
from mopoe.importance import importance_weighted_bound
from mopoe.member import Member
from mopoe.model import MoPoE, build_model
from mopoe.noise import generator
from mopoe.objective import Draws, Terms, Weights, generalized_elbo
from mopoe.records import EpochReport
from mopoe.subsets import mixture_weights

FREE = (
    *(
        "beta",
        "beta_warmup_epochs",
        "beta_start",
        "beta_schedule",
        "beta_style",
        "style_weights",
        "latent_dim",
    ),
    *("subset_weights", "mixture_path", "weight_entropy", "likelihood_weights", "missing", "lr", "epochs"),
    *("initialisation", "initial_logvar", "seed"),
)
"""Settings that the members of a group need not share."""


def fuse_key(config: TrialConfig, modalities: tuple[ModalitySpec, ...]) -> tuple[object, ...] | None:
    """Return what trials must have in common to be members of one group; None if one can only be alone.

    Alone are trials whose networks draw random numbers or change buffers in training (dropout, batch norm),
    the doubly reparametrised gradient, and Laplace posteriors, which `torch.func.vmap` does not know. Latents
    of the built-in networks may differ by less than a factor of two, so that less than half of a latent is
    padding.
    """
    with torch.device("meta"):  # shapes and kinds of layers, no memory
        model = build_model(config, modalities)
    networks = nn.ModuleList([model.encoders, model.decoders, model.likelihoods])
    drop = nn.modules.dropout._DropoutNd  # noqa: SLF001 - torch has no public name for all kinds
    stateful = any(key in networks.state_dict() for key, _ in networks.named_buffers())
    if stateful or any(isinstance(m, drop) for m in networks.modules()):
        return None
    if config.estimator == "dreg" or config.posterior == "laplace":
        return None
    shared = [getattr(config, f.name) for f in fields(config) if f.name not in FREE]
    weights = mixture_weights(bound_of(config, len(modalities)).subset_weights, len(modalities))
    active = tuple(weight > 0 for weight in weights)
    padded = config.style_dim == 0 and all(m.network.startswith("mopoe.networks.") for m in modalities)
    size = (config.latent_dim - 1).bit_length() if padded else config.latent_dim
    return (*shared, config.missing > 0, active, padded, size)


class Group:
    """Members that are trained together; between epochs others may join and any may leave."""

    def __init__(self, members: Sequence[Member] = ()) -> None:
        self.members: list[Member] = []
        self._template: MoPoE | None = None
        for member in members:
            self.join(member)

    def join(self, member: Member) -> None:
        """Add a member, wherever it stands in its own training.

        Raises:
            ConfigError: it cannot be stacked with those that are there.
        """
        if self.members:
            ours, theirs = (fuse_key(m.config, m.data.modalities) for m in (self.members[0], member))
            if ours is None or ours != theirs:
                raise ConfigError("these trials cannot be one group, as they differ in more than numbers")
        self.members.append(member)

    def leave(self, member: Member) -> None:
        """Remove a member."""
        self.members.remove(member)

    def epoch(self) -> list[tuple[Member, EpochReport | DivergedError]]:
        """Train every member for one epoch of its own; return what each has to report, or why it diverged.

        A member that diverged should leave. It does the others no harm.
        """
        started = time.perf_counter()
        first, device = self.members[0], self.members[0].split.labels.device
        # Dropout draws from torch's global generator, which is seeded for the epoch and left as it was.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator(first.config.seed, "dropout", first.epoch + 1).initial_seed())
            sums = self._train(device)
        seconds = time.perf_counter() - started
        return [(member, sums.outcome(g, member, seconds)) for g, member in enumerate(self.members)]

    def _train(self, device: torch.device) -> "_Sums":
        members = self.members
        order_GN = torch.stack([member.order() for member in members]).to(device)
        sums = _Sums(torch.ones((), dtype=torch.bool, device=device), torch.zeros((), device=device).long())
        together = _Together(members, self._widest(), device) if len(members) > 1 else None
        for member in members:
            member.model.train()
        for t, index_GB in enumerate(order_GN.split(members[0].config.batch_size, 1)):
            n = index_GB.shape[1]
            x = members[0].split.batch(index_GB.flatten(), device)
            present = [member.present(index_B) for member, index_B in zip(members, index_GB, strict=True)]
            draws = [member.draws(n, here_MB) for member, here_MB in zip(members, present, strict=True)]
            # Outside of the networks nothing is computed in half precision (`at_least_float32`).
            half = members[0].config.precision == "bfloat16"
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                if together is None:
                    now = replace(members[0].fixed_weights, beta=members[0].beta())
                    terms = objective(members[0].model, members[0].config, x, draws[0], now, present[0])
                else:
                    x = {name: rows.unflatten(0, (-1, n)) for name, rows in x.items()}
                    terms = together.terms(t, x, draws, present)
            for member in members:
                member.optimizer.zero_grad(set_to_none=True)
            terms.loss.sum().backward()
            for member in members:
                member.optimizer.step()
                member.step += 1
                member.examples += n
            sums.add(terms, n)
        return sums

    def _widest(self) -> MoPoE:
        """Return a model whose shapes hold every member's; the same one as long as it does."""
        widest = max((member.model for member in self.members), key=lambda model: model.latent_dim)
        if self._template is None or self._template.latent_dim < widest.latent_dim:
            self._template = copy.deepcopy(widest).train()
            self._template.used_Z = torch.ones(widest.latent_dim, dtype=torch.bool)
        return self._template


def objective(
    model: MoPoE,
    config: TrialConfig,
    x: Mapping[str, Tensor],
    draws: Draws,
    weights: Weights,
    present_MB: Tensor | None,
) -> Terms:
    """Return what a trial minimises and its parts, for one batch."""
    if config.estimator == "elbo":
        return generalized_elbo(model, x, draws, weights, present_MB)
    return importance_weighted_bound(model, x, draws, weights, config.estimator, present_MB)


class _Objective(nn.Module):
    """The objective of one member as a module, which `functional_call` gives the member's tensors."""

    def __init__(self, model: MoPoE, config: TrialConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        x: dict[str, Tensor],
        draws: dict[str, Tensor],
        weights: dict[str, Tensor],
        here: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return loss, reconstruction and kl."""
        found = objective(
            self.model,
            self.config,
            x,
            Draws(**{"component_B": None} | draws),  # type: ignore[arg-type] # by name
            Weights(
                beta=weights["beta"],
                likelihood=dict(zip(self.model.names, weights["likelihood"], strict=True)),
                style=weights["style"],
                entropy=weights["entropy"],
            ),
            here.get("present_MB"),
        )
        return found.loss, dict(found.reconstruction), found.kl


class _Together:
    """One epoch's view of several members: what differs between them, as tensors with an axis for them."""

    def __init__(self, members: Sequence[Member], template: MoPoE, device: torch.device) -> None:
        models = [member.model for member in members]
        self.members, self.width = members, template.latent_dim
        self.objective = _Objective(template, members[0].config)
        like: dict[str, Any] = {"device": device, "dtype": next(template.parameters()).dtype}
        self.parameters = {
            name: [dict(model.named_parameters())[name] for model in models]
            for name, _ in template.named_parameters()
        }
        self.shapes = {name: parameter.shape for name, parameter in template.named_parameters()}
        latents_Z = torch.arange(self.width, device=device)
        self.buffers = {
            "model.fixed_weights_S": torch.stack([model.fixed_weights_S for model in models]),
            "model.used_Z": torch.stack([latents_Z < model.latent_dim for model in models]),
        }
        fixed = [member.fixed_weights for member in members]
        self.beta_TG = torch.tensor(
            [[m.beta(t) for m in members] for t in range(members[0].steps_per_epoch)], **like
        )
        self.weights = {
            "likelihood": torch.tensor([list((w.likelihood or {}).values()) for w in fixed], **like),
            "style": torch.tensor([w.style for w in fixed], **like),
            "entropy": torch.tensor([w.entropy for w in fixed], **like),
        }
        self.loss = torch.func.vmap(self._loss, randomness="error")

    def _loss(self, tensors: dict[str, Tensor], *inputs: dict[str, Tensor]) -> Any:
        return torch.func.functional_call(self.objective, tensors, inputs)

    def terms(
        self, t: int, x: dict[str, Tensor], draws: Sequence[Draws], present: Sequence[Tensor | None]
    ) -> Terms:
        """Return the terms of every member, each with an axis for them, at a step of the epoch."""
        tensors = self.buffers | {
            f"model.{name}": torch.stack([in_the_corner(p, self.shapes[name]) for p in parameters])
            for name, parameters in self.parameters.items()
        }
        noise = {}
        for name in (f.name for f in fields(Draws)):
            found = [tensor for d in draws if (tensor := getattr(d, name)) is not None]
            if name in ("noise", "unimodal_MBZ"):
                found = [in_the_corner(tensor, (*tensor.shape[:-1], self.width)) for tensor in found]
            if found:
                noise[name] = torch.stack(found)
        here = [present_MB for present_MB in present if present_MB is not None]
        return Terms(
            *self.loss(
                tensors,
                x,
                noise,
                self.weights | {"beta": self.beta_TG[t]},
                {"present_MB": torch.stack(here)} if here else {},
            )
        )


def in_the_corner(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor of a shape whose leading corner is the given one, and the rest zeros.

    >>> in_the_corner(torch.ones(1, 2), (2, 3)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    missing = [want - have for have, want in zip(tensor.shape, shape, strict=True)]
    if not any(missing):
        return tensor
    return nn.functional.pad(tensor, [n for last in reversed(missing) for n in (0, last)])


@dataclass(slots=True)
class _Sums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for the host.

    Of one member they are scalars, of several they have an axis for them.
    """

    finite: Tensor
    finite_steps: Tensor
    n: int = 0
    steps: int = 0
    loss: Tensor | float = 0.0
    kl: Tensor | float = 0.0
    reconstruction: dict[str, Tensor | float] = field(default_factory=dict)

    def add(self, terms: Terms, n: int) -> None:
        self.n += n
        self.steps += 1
        loss = terms.loss.detach()
        self.loss = self.loss + loss * n
        self.kl = self.kl + terms.kl.detach() * n
        for name, value in terms.reconstruction.items():
            self.reconstruction[name] = self.reconstruction.get(name, 0.0) + value.detach() * n
        self.finite = self.finite & torch.isfinite(loss)
        self.finite_steps = self.finite_steps + self.finite

    def outcome(self, g: int, member: Member, seconds: float) -> EpochReport | DivergedError:
        """Return what a member has to report of the epoch, which is over for it, or why it diverged."""

        def of_member(values: Tensor | float) -> float:
            return float(torch.as_tensor(values).reshape(-1)[g])

        gradients = [p.grad for p in member.model.parameters() if p.grad is not None]
        grad_norm, finite = float(torch.nn.utils.get_total_norm(gradients)), bool(of_member(self.finite))
        if not finite or not math.isfinite(grad_norm):
            what, bad = "loss", member.step - self.steps + int(of_member(self.finite_steps)) + 1
            if finite:
                what, bad = "gradient", member.step
            return DivergedError(f"the {what} is not finite at step {bad} (epoch {member.epoch + 1})")
        member.epoch += 1
        reconstruction = {name: of_member(value) / self.n for name, value in self.reconstruction.items()}
        kl = of_member(self.kl) / self.n
        return EpochReport(
            epoch=member.epoch,
            step=member.step,
            examples=member.examples,
            seconds=seconds,
            loss=of_member(self.loss) / self.n,
            elbo=-(sum(reconstruction.values()) + kl),
            reconstruction=reconstruction,
            kl=kl,
            lr=member.config.lr,
            grad_norm=grad_norm,
            evaluation=None,
        )
