"""Networks of one shape, computed together: all modalities' layers in one call each.

The parameters of a layer are stacked over the networks, and each network's own parameters become views of
that stack: optimizers, checkpoints and `state_dict` see them as before. A linear layer of all networks is one
batched product, convolutions of few channels are one call of compiled code (`mopoe.convolutions`).
Axes: B sample, F feature, G network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe import convolutions
from mopoe.convolutions import Convolution, convolved
from mopoe.kernels import library

ELEMENTWISE = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Dropout)
"""Layers that treat every number alike, whatever its place."""
MOST_CHANNELS = 64
"""With more channels in a convolution oneDNN is faster, which fills its vectors with them."""
Step = Callable[[Tensor, slice], Tensor]
"""Maps the features [G, ..., B] of some of the networks to the next."""


def banks(networks: Mapping[str, nn.Module]) -> "tuple[Bank, ...]":
    """Return banks of those networks that gain by it, and stack their parameters; others are left alone.

    Those gain that share their shape with another, and those with convolutions of few channels. There are
    none if networks share parameters, which can be a view of one stack only.
    """
    alike: dict[tuple[str, ...], dict[str, nn.Module]] = {}
    for name, network in networks.items():
        layers = layers_of(network)
        frozen = any(not p.requires_grad for p in network.parameters())
        if layers and not frozen and all(_known(layer) for layer in layers):
            alike.setdefault((*map(repr, (*layers, *heads_of(network))),), {})[name] = network
    found = [
        Bank(some)
        for some in alike.values()
        if len(some) > 1 or any(isinstance(m, _IMAGE_LAYERS) for n in some.values() for m in n.modules())
    ]
    return tuple(found) if all(stack.whole() for bank in found for stack in bank.stacks) else ()


def trained(parameters: Iterable[nn.Parameter], stacks: Sequence["Stack"]) -> list[Tensor]:
    """Return what an optimizer trains: the stacks, and those of the parameters that lie in none."""
    held = {id(p) for stack in stacks for p in stack.parameters}
    return [*(stack.leaf for stack in stacks), *(p for p in parameters if id(p) not in held)]


def stacked(samples: Sequence[Tensor]) -> Tensor:
    """Return samples [B, ...] of several modalities as [G, ..., B]: a view if they lie so in memory."""
    first, *rest = (x.movedim(0, -1) for x in samples)
    like = (first.shape, first.stride(), first.dtype, first.untyped_storage().data_ptr())
    aligned = all(
        (x.shape, x.stride(), x.dtype, x.untyped_storage().data_ptr()) == like
        and x.storage_offset() == first.storage_offset() + i * first.numel()
        for i, x in enumerate(rest, 1)
    )
    if not aligned or not first.is_contiguous() or any(x.requires_grad for x in samples):
        return torch.stack([first, *rest])
    return first.as_strided((len(samples), *first.shape), (first.numel(), *first.stride()))


class Layered(nn.Module, ABC):
    """A network that says which layers it applies one after the other, so that a bank can do it for several.

    `layers` describes `forward`: a class that overrides the one without the other is computed by itself.
    """

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Return the layers in their order, before the heads `mu` and `logvar` if it is an encoder."""


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return a network's layers before any heads, in their order; none if it is no chain of layers."""
    if type(network) is nn.Sequential:
        return list(network)
    described = next((c for c in type(network).__mro__ if {"layers", "forward"} & vars(c).keys()), nn.Module)
    both = {"layers", "forward"} <= vars(described).keys()
    return network.layers() if isinstance(network, Layered) and both else []


def heads_of(network: nn.Module) -> Sequence[nn.Linear]:
    """Return the linear layers of an encoder whose outputs stand side by side: mean, then log-variance."""
    heads = (getattr(network, name, None) for name in ("mu", "logvar"))
    return [head for head in heads if isinstance(head, nn.Linear)]


class Bank:
    """Some networks of one shape.

    Args:
        networks: the networks by name. They compute what they did, one by one, too.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.names = tuple(networks)
        self.stacks: list[Stack] = []
        """The parameters of all layers."""
        steps: list[Step] = []
        rows = list(zip(*map(layers_of, networks.values()), strict=True))
        for kind, run in groupby(_with_relu(rows), lambda step: _kind(step[0][0])):
            some = list(run)
            if kind is Convolution:
                layers = [_convolution(row[0], relu=relu) for row, relu in some]
                stacks = [stack for row, _ in some for stack in self._weight_and_bias([[m] for m in row])]
                steps.append(_Images(layers, stacks))
            else:
                for row, relu in some:
                    steps += self._step(row, relu=relu)
        heads = list(map(heads_of, networks.values()))
        if heads[0]:
            steps.append(_linear(*self._weight_and_bias(heads)))
        self.steps = steps
        """The layers of all networks, one after the other."""

    def find(self, names: Sequence[str]) -> slice | None:
        """Return the place of one of the networks, or of all; None if the names are no such choice."""
        if all(name in names for name in self.names):
            return slice(None)
        if len(names) == 1 and names[0] in self.names:
            at = self.names.index(names[0])
            return slice(at, at + 1)
        return None

    def ready(self, near: Tensor) -> bool:
        """Return whether the networks can be computed together on inputs like this tensor."""
        like = near.dtype, near.device
        here = all((s.leaf.dtype, s.leaf.device) == like and s.whole() for s in self.stacks)
        return here and not torch.is_autocast_enabled(near.device.type)

    def __call__(self, h: Tensor, at: slice = slice(None)) -> Tensor:
        """Return the outputs [G, ..., B] of the networks; of an encoder mean and log-variance, [G, 2 Z, B].

        Args:
            h: inputs [G, ..., B], or [1, F, B] if all networks have the same.
            at: which of the networks.
        """
        for step in self.steps:
            h = step(h, at)
        return h

    def then(self, following: "Bank") -> "Bank":
        """Return a bank of these networks, each with that network of another bank after it.

        Where convolutions meet they become one chain, and the images between them are not kept.
        """
        joined = copy(self)
        joined.stacks = [*self.stacks, *following.stacks]
        (*before, last), (first, *after) = self.steps, following.steps
        if isinstance(last, _Images) and isinstance(first, _Images):
            chain = _Images([*last.layers, *first.layers], [*last.stacks, *first.stacks])
            joined.steps = [*before, chain, *after]
        else:
            joined.steps = [*self.steps, *following.steps]
        return joined

    def _step(self, row: Sequence[nn.Module], *, relu: bool) -> list[Step]:
        layer = row[0]
        match layer:
            case nn.Linear():
                return [_linear(*self._weight_and_bias([[m] for m in row]), relu=relu)]
            case nn.Flatten():
                return [lambda h, _: h.flatten(1, -2)]
            case nn.Unflatten():
                return [lambda h, _: h.unflatten(1, layer.unflattened_size)]
            case nn.Dropout() | nn.Dropout2d():
                return [_dropped(layer, len(row))]
        return [lambda h, _: layer(h)]

    def _weight_and_bias(self, rows: Sequence[Sequence[nn.Module]]) -> "tuple[Stack, Stack | None]":
        """Return the stacked weights and biases of layers by network, which may be several side by side."""
        found = []
        for name in ("weight", "bias"):
            parameters = [[getattr(m, name) for m in row] for row in rows]
            found.append(None if parameters[0][0] is None else Stack(parameters))
        self.stacks += filter(None, found)
        weight, bias = found
        assert weight is not None
        return weight, bias


class Stack:
    """One parameter of several networks, and the networks' own as views of it."""

    def __init__(self, parameters: Sequence[Sequence[nn.Parameter]]) -> None:
        with torch.inference_mode(False):
            joined = [torch.cat([p.detach() for p in row]) for row in parameters]
            self.leaf = torch.stack(joined).contiguous().requires_grad_()
        self.parameters = tuple(p for row in parameters for p in row)
        """The networks' own, network after network."""
        for p, view in zip(self.parameters, self.views(self.leaf.detach()), strict=True):
            p.data = view
        self._places = [view.data_ptr() for view in self.views(self.leaf.detach())]

    def views(self, stacked: Tensor) -> Iterable[Tensor]:
        """Return the views, shaped like the networks' own parameters, of a tensor shaped like the stack."""
        sizes = [len(p) for p in self.parameters[: len(self.parameters) // len(stacked)]]
        return (view for row in stacked for view in row.split(sizes))

    def whole(self) -> bool:
        """Return whether the parameters are still views."""
        return all(p.data_ptr() == place for p, place in zip(self.parameters, self._places, strict=True))

    def at(self, networks: slice) -> Tensor:
        """Return the stacked parameters of some networks."""
        return self.leaf if networks == slice(None) else self.leaf[networks]


def _linear(weight: Stack, bias: Stack | None, *, relu: bool = False) -> Step:
    def step(h_GFB: Tensor, at: slice) -> Tensor:
        weight_GOF = weight.at(at)
        n_networks, n_outputs, n_features = weight_GOF.shape
        if len(h_GFB) < n_networks:  # one input for all
            flat = weight_GOF.reshape(-1, n_features)
            out = flat @ h_GFB[0] if bias is None else torch.addmm(bias.at(at).reshape(-1, 1), flat, h_GFB[0])
            out = out.view(n_networks, n_outputs, -1)
        elif bias is None:
            out = torch.bmm(weight_GOF, h_GFB)
        else:
            out = torch.baddbmm(bias.at(at)[..., None], weight_GOF, h_GFB)
        return out.relu_() if relu else out

    return step


def _dropped(layer: nn.Dropout | nn.Dropout2d, n_networks: int) -> Step:
    def step(h: Tensor, at: slice) -> Tensor:
        if not layer.training:
            return h
        # An input that all networks share loses other parts in each of them.
        h = h.expand(len(range(n_networks)[at]), *h.shape[1:])
        return F.dropout(h, layer.p) if isinstance(layer, nn.Dropout) else _without_channels(h, layer.p)

    return step


def _without_channels(h_GCYXB: Tensor, p: float) -> Tensor:
    """Return images without a random share of each sample's channels, the others scaled up."""
    n_networks, n_channels, *_, n = h_GCYXB.shape
    return h_GCYXB * F.dropout(h_GCYXB.new_ones(n_networks, n_channels, 1, 1, n), p)


@dataclass(frozen=True, slots=True)
class _Images:
    """A chain of convolutions."""

    layers: Sequence[Convolution]
    """The layers of every network."""
    stacks: Sequence[Stack | None]
    """Weight and bias of each, in turn."""

    def __call__(self, h: Tensor, at: slice) -> Tensor:
        return convolved(h, self.layers, [None if s is None else s.at(at) for s in self.stacks])


def _with_relu(rows: Iterable[Sequence[nn.Module]]) -> list[tuple[Sequence[nn.Module], bool]]:
    """Return the layers and whether a ReLU follows, which then is left out where it can be computed with."""
    found: list[tuple[Sequence[nn.Module], bool]] = []
    for row in rows:
        before = found[-1] if found else None
        if isinstance(row[0], nn.ReLU) and before and not before[1] and isinstance(before[0][0], _FUSED):
            found[-1] = before[0], True
        else:
            found.append((row, False))
    return found


_IMAGE_LAYERS = (nn.Conv2d, nn.ConvTranspose2d)
_FUSED = (nn.Linear, *_IMAGE_LAYERS)


def _kind(layer: nn.Module) -> type:
    return Convolution if isinstance(layer, _IMAGE_LAYERS) else type(layer)


def _known(layer: nn.Module) -> bool:
    """Return whether a bank can compute a layer."""
    if type(layer) in _FUSED and not isinstance(layer.weight, nn.Parameter):  # computed, as by weight_norm
        return False
    if type(layer) in _IMAGE_LAYERS:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        pairs = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding)
        square = all(len({*pair}) == 1 for pair in pairs)
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        few = max(layer.in_channels, layer.out_channels) <= MOST_CHANNELS
        compiled = layer.weight.device.type == "cpu" and library(layer.weight.dtype) is not None
        fits = few and _convolution(layer, relu=False).known if compiled else convolutions.GROUPED
        return fits and square and plain
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    return type(layer) in (nn.Linear, nn.Dropout2d, *ELEMENTWISE) or (
        type(layer) is nn.Unflatten and layer.dim == 1
    )


def _convolution(layer: nn.Module, *, relu: bool) -> Convolution:
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return Convolution(
        kernel=layer.kernel_size[0],
        stride=layer.stride[0],
        padding=int(layer.padding[0]),
        extra=layer.output_padding[0],
        transposed=isinstance(layer, nn.ConvTranspose2d),
        relu=relu,
    )
