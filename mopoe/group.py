"""Trials that take every optimiser step together, as one stacked model; a single trial is a group of one.

A member's model, Adam and checkpoint are its own, with the shapes and the numbers that it would have alone.

Axes: B batch, G member, N sample.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor, nn

from mopoe.bound import bound_of
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError, DivergedError
from mopoe.member import Member
from mopoe.model import build_model
from mopoe.noise import generator
from mopoe.objective import Terms
from mopoe.records import EpochReport
from mopoe.stack import Stack, objective
from mopoe.subsets import mixture_weights

FREE = (
    *("beta", "beta_warmup_epochs", "beta_start", "beta_schedule", "beta_style", "style_weights", "epochs"),
    *("subset_weights", "mixture_path", "weight_entropy", "likelihood_weights", "missing", "lr", "seed"),
    *("latent_dim", "initialisation", "initial_logvar"),
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
    """Members that are trained together; between epochs others may join and any may leave.

    Args:
        members: those of the first epoch.
        size: how many there are going to be: a compiled step has room for so many, and is not compiled anew
            when there are fewer.
    """

    def __init__(self, members: Sequence[Member] = (), size: int = 1) -> None:
        self.members: list[Member] = []
        self.size = size
        self._stack: Stack | None = None
        for member in members:
            self.join(member)

    def join(self, member: Member) -> None:
        """Add a member, wherever it stands in its own training.

        Raises:
            ConfigError: it cannot be stacked with those that are there.
        """
        if self.members:
            ours, theirs = (
                (fuse_key(m.config, m.data.modalities), m.data.fingerprint) for m in (self.members[0], member)
            )
            if ours[0] is None or ours != theirs:
                raise ConfigError("these trials cannot be one group: they differ in more than numbers")
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
        if device.type == "cuda":  # it has been told what to do, and may not have done it
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
        return [(member, sums.outcome(g, member, seconds)) for g, member in enumerate(self.members)]

    def _train(self, device: torch.device) -> "_Sums":
        members, config = self.members, self.members[0].config
        stack, slots = self._fitting_stack(), list(members)
        if stack is not None:
            slots += members[:1] * (stack.n - len(members))  # computed, and not trained
            stack.begin(slots)
        order_GN = torch.stack([member.order() for member in slots]).to(device)
        sums = _Sums(torch.ones((), dtype=torch.bool, device=device), torch.zeros((), device=device).long())
        for member in members:
            member.model.train()
        for t, index_GB in enumerate(order_GN.split(config.batch_size, 1)):
            n = index_GB.shape[1]
            x = members[0].split.batch(index_GB.flatten(), device)
            present = [member.present(index_B) for member, index_B in zip(slots, index_GB, strict=True)]
            draws = [member.draws(n, here_MB) for member, here_MB in zip(slots, present, strict=True)]
            for member in members:
                member.optimizer.zero_grad(set_to_none=True)
            # Outside of the networks nothing is computed in half precision (`at_least_float32`).
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                if stack is not None:
                    terms = stack.terms(t, x, draws, present)
                else:
                    now = replace(members[0].fixed_weights, beta=members[0].beta())
                    terms = objective(members[0].model, config.estimator, x, draws[0], now, present[0])
            (terms.loss if terms.loss.dim() == 0 else terms.loss[: len(members)].sum()).backward()
            for member in members:
                member.optimizer.step()
                member.step += 1
                member.examples += n
            sums.add(terms, n)
        return sums

    def _fitting_stack(self) -> Stack | None:
        """Return the stack, a new one only if the old one does not fit; None if one member needs none."""
        config, n = self.members[0].config, len(self.members)
        if config.compile != "no":
            n = max(n, self.size)
        elif n == 1:
            return None
        widest = max((member.model for member in self.members), key=lambda model: model.latent_dim)
        old = self._stack
        if old is None or old.n != n or not old.holds(widest):
            self._stack = Stack(widest, config, n)
        return self._stack


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
