"""The loss of several trials as one computation: `torch.func.vmap` over their stacked parameters.

A smaller latent lies in the corner of the widest. The latents that are padding have mean 0, precision 1 and
no noise: their KL is 0, and no gradient ever reaches a padded weight. Nothing couples two members, and
gradients flow back into each one's own tensors.

Axes: B batch, G member, M modality, T step of an epoch, Z latent.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from mopoe.config import Estimator, TrialConfig
from mopoe.errors import ConfigError
from mopoe.importance import importance_weighted_bound
from mopoe.member import Member
from mopoe.model import MoPoE
from mopoe.objective import Draws, Terms, Weights, generalized_elbo

Inputs = dict[str, Tensor]


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


class Stack:
    """Shapes that hold every member, and the loss over members; both stay while members come and go.

    Args:
        model: the member's model with the largest latent.
        config: what the members share.
        n: number of members; of one, nothing is stacked.

    Raises:
        ConfigError: a CUDA graph is asked for on another device.
    """

    def __init__(self, model: MoPoE, config: TrialConfig, n: int) -> None:
        self.n, self.width, device = n, model.latent_dim, model.active_A.device
        template = copy.deepcopy(model).train()
        if n > 1:
            template.used_Z = torch.ones(self.width, dtype=torch.bool, device=device)
        self.shapes = {name: parameter.shape for name, parameter in template.named_parameters()}
        self.names, module = template.names, _Objective(template, config.estimator)

        def one(tensors: Inputs, *inputs: Inputs) -> Any:
            return torch.func.functional_call(module, tensors, inputs)

        loss: Callable[..., Any] = torch.func.vmap(one, randomness="error") if n > 1 else one
        self.graph = config.compile == "graph"
        if self.graph and device.type != "cuda":
            raise ConfigError(f"compile is graph, but must be no or step on the device {device.type}")
        if config.compile != "no":
            # By default a process has eight shapes compiled, and computes others uncompiled: too few for a
            # worker that trains many trials. The last, smaller batch of an epoch is one more.
            torch._dynamo.config.recompile_limit = 128  # noqa: SLF001 - documented so, and the only way in 2.6
            mode = "reduce-overhead" if self.graph else None
            loss = torch.compile(loss, dynamic=False, mode=mode)
        self.loss = loss

    def holds(self, model: MoPoE) -> bool:
        """Return whether a member's model fits: if it is the only one, without padding."""
        return model.latent_dim == self.width or (self.n > 1 and model.latent_dim < self.width)

    def begin(self, members: Sequence[Member]) -> None:
        """Take the members of an epoch: what differs between them becomes tensors with an axis for them."""
        models, fixed = [member.model for member in members], [member.fixed_weights for member in members]
        device, first = models[0].active_A.device, next(models[0].parameters())
        parameters = [dict(model.named_parameters()) for model in models]
        self.parameters = {name: [own[name] for own in parameters] for name in self.shapes}
        if self.n == 1:  # its own, which batch norm changes
            self.buffers = {f"model.{name}": buffer for name, buffer in models[0].named_buffers()}
        else:
            self.buffers = {"model.fixed_weights_S": self._together([m.fixed_weights_S for m in models])}
            latents_Z = torch.arange(self.width, device=device)
            self.buffers["model.used_Z"] = torch.stack([latents_Z < model.latent_dim for model in models])

        def of_members(values: list[Any]) -> Tensor:
            return self._together(list(torch.tensor(values, dtype=first.dtype).to(device)))

        steps = range(members[0].steps_per_epoch)
        self.beta_TG = [of_members([member.beta(t) for member in members]) for t in steps]
        self.weights = {
            "likelihood": of_members([list((w.likelihood or {}).values()) for w in fixed]),
            "style": of_members([w.style for w in fixed]),
            "entropy": of_members([w.entropy for w in fixed]),
        }

    def terms(
        self, t: int, x: Mapping[str, Tensor], draws: Sequence[Draws], present: Sequence[Tensor | None]
    ) -> Terms:
        """Return the terms of every member, each [G] (scalars of one), at a step of the epoch.

        Args:
            t: the step.
            x: samples by modality name, member by member: [G B, ...].
            draws: each one's random numbers.
            present: each one's modalities that are there.
        """
        tensors = self.buffers | {
            f"model.{name}": self._together([in_the_corner(p, self.shapes[name]) for p in own])
            for name, own in self.parameters.items()
        }
        noise = {}
        for name in (f.name for f in fields(Draws)):
            found = [tensor for d in draws if (tensor := getattr(d, name)) is not None]
            if name in ("noise", "unimodal_MBZ"):
                found = [in_the_corner(tensor, (*tensor.shape[:-1], self.width)) for tensor in found]
            if found:
                noise[name] = self._together(found)
        here = [present_MB for present_MB in present if present_MB is not None]
        if self.n > 1:
            x = {name: rows.unflatten(0, (self.n, -1)) for name, rows in x.items()}
        if self.graph:
            torch.compiler.cudagraph_mark_step_begin()
        return Terms(
            *self.loss(
                tensors,
                x,
                noise,
                self.weights | {"beta": self.beta_TG[t]},
                {"present_MB": self._together(here)} if here else {},
            )
        )

    def _together(self, tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors) if self.n > 1 else tensors[0]


class _Objective(nn.Module):
    """The objective of one member as a module, which `functional_call` gives the member's tensors."""

    def __init__(self, model: MoPoE, estimator: Estimator) -> None:
        super().__init__()
        self.model, self.estimator = model, estimator

    def forward(self, x: Inputs, noise: Inputs, weights: Inputs, here: Inputs) -> tuple[Any, ...]:
        """Return the fields of `Terms`."""
        draws = Draws(**({"component_B": None} | noise))  # type: ignore[arg-type] # by name
        of_parts = Weights(
            beta=weights["beta"],
            likelihood=dict(zip(self.model.names, weights["likelihood"].unbind(), strict=True)),
            style=weights["style"],
            entropy=weights["entropy"],
        )
        found = objective(self.model, self.estimator, x, draws, of_parts, here.get("present_MB"))
        return found.loss, dict(found.reconstruction), found.kl


def in_the_corner(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor of a shape whose leading corner is the given one, and the rest zeros.

    >>> in_the_corner(torch.ones(1, 2), (2, 3)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    missing = [want - have for have, want in zip(tensor.shape, shape, strict=True)]
    if not any(missing):
        return tensor
    return nn.functional.pad(tensor, [n for last in reversed(missing) for n in (0, last)])
