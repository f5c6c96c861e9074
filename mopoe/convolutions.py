"""Convolutions of few channels on a CPU, samples innermost, by compiled code.

oneDNN's convolutions vectorise over channels, of which images and small networks have few. These vectorise
over samples (`mopoe.kernels`). Without a C compiler there are none, and the networks compute one by one,
unless `GROUPED` asks for torch's convolutions in groups.
Axes: B sample, C channel, G group, K kernel, Y and X pixel; O output channel and I input channel of a layer.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.kernels import Layer, Shape, address, library, loaded

GROUPED = os.environ.get("MOPOE_BANKS") == "1"
"""Whether networks are computed together without compiled code, too: on a GPU, or without a C compiler."""
_MOST_TAPS = 64
"""Most places of a kernel: MOST_TAPS of the C code."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A square convolution with a stride, or the transposed one, which a ReLU may follow."""

    kernel: int
    """Its height and width K."""
    stride: int
    """Pixels of the large image for each of the small one."""
    padding: int
    """Rows and columns of zeros around the large image."""
    extra: int
    """Rows and columns that a transposed convolution adds below and to the right (its output padding)."""
    transposed: bool
    """Whether it maps the small image to the large one."""
    relu: bool
    """Whether a ReLU follows."""

    @property
    def known(self) -> bool:
        """Whether the C code has it."""
        return self.kernel**2 <= _MOST_TAPS

    def shape(self, x: Sequence[int], weight: Tensor) -> tuple[int, ...]:
        """Return the shape of the output [G, O, Y, X, B] of images of a shape [G, I, Y, X, B]."""
        n_groups, n_small, n_large = weight.shape[:3]
        if self.transposed:
            around = self.kernel + self.extra - 2 * self.padding
            return n_groups, n_large, *((n - 1) * self.stride + around for n in x[2:4]), x[4]
        around = 2 * self.padding - self.kernel
        return n_groups, n_small, *((n + around) // self.stride + 1 for n in x[2:4]), x[4]

    def compiled(
        self, weight: Tensor, x: Sequence[int], found: Sequence[int], bias: Tensor | None, mask: Tensor | None
    ) -> Layer:
        """Return what the C code reads of this layer; x and found are the shapes of its input and output."""
        sizes = self._sizes(weight, *((x, found) if self.transposed else (found, x)))
        return Layer(sizes, not self.transposed, self.relu, *map(address, (weight, bias, mask)))

    def input_gradient(self, gradient: Tensor, weight: Tensor, x_GIYXB: Tensor, *, masked: bool) -> Tensor:
        """Return the gradient of the input, or 0 where the input is not positive if it came from a ReLU."""
        found, mask = torch.empty_like(x_GIYXB), x_GIYXB if masked else None
        back = replace(self, transposed=not self.transposed, relu=False)
        _run([back.compiled(weight, gradient.shape, found.shape, None, mask)], gradient, found)
        return found

    def weight_gradient(self, gradient: Tensor, x_GIYXB: Tensor) -> Tensor:
        """Return the gradient of the weight."""
        small, large = (x_GIYXB, gradient) if self.transposed else (gradient, x_GIYXB)
        found = small.new_empty(*small.shape[:2], large.shape[1], self.kernel, self.kernel)
        sizes = self._sizes(found, small.shape, large.shape)
        loaded(small.dtype).weight_gradient(sizes, *map(address, (small, large, found)))
        return found

    def _sizes(self, weight: Tensor, small: Sequence[int], large: Sequence[int]) -> Shape:
        return Shape(*weight.shape[:3], self.kernel, self.stride, self.padding, *small[2:4], *large[2:5])


def convolved(x_GCYXB: Tensor, layers: Sequence[Convolution], parameters: Sequence[Tensor | None]) -> Tensor:
    """Return images [G, C, Y, X, B] after a chain of convolutions, with gradients.

    Args:
        x_GCYXB: the input, of any number of samples.
        layers: the convolutions.
        parameters: weight and bias of each, in turn.
    """
    if x_GCYXB.device.type != "cpu" or library(x_GCYXB.dtype) is None:
        return _grouped(x_GCYXB, layers, parameters)
    n = x_GCYXB.shape[4]
    step: int = loaded(x_GCYXB.dtype).sample_multiple()
    padded = x_GCYXB if n % step == 0 else F.pad(x_GCYXB, (0, -n % step))
    forward = _Chain.apply if torch.is_grad_enabled() else _values
    found: Tensor = forward(padded.contiguous(), layers, *parameters)
    return found if n % step == 0 else found[..., :n]


def _grouped(x_GCYXB: Tensor, layers: Sequence[Convolution], parameters: Sequence[Tensor | None]) -> Tensor:
    """Return the same by torch alone: networks are the groups of one convolution for each layer."""
    n_groups, n_channels, height, width, n = x_GCYXB.shape
    h = x_GCYXB.movedim(-1, 0).reshape(n, n_groups * n_channels, height, width)
    for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2], strict=True):
        assert weight is not None
        given = h, weight.flatten(0, 1), None if bias is None else bias.flatten(), layer.stride, layer.padding
        if layer.transposed:
            h = F.conv_transpose2d(*given, layer.extra, n_groups)
        else:
            h = F.conv2d(*given, groups=n_groups)
        h = F.relu(h) if layer.relu else h
    found: Tensor = h.unflatten(1, (n_groups, -1))
    return found.movedim(0, -1)


def _values(x: Tensor, layers: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
    """Return the output of a chain; the images between two layers are not kept."""
    described, shape = [], tuple(x.shape)
    for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2], strict=True):
        assert weight is not None
        before, shape = shape, layer.shape(shape, weight)
        described.append(layer.compiled(weight, before, shape, bias, None))
    found = x.new_empty(shape)
    _run(described, x, found)
    return found


def _run(layers: Sequence[Layer], x: Tensor, found: Tensor) -> None:
    """Write what the layers, one after the other, make of x."""
    several = (Layer * len(layers))(*layers)
    loaded(x.dtype).convolve(several, len(layers), address(x), address(found))


class _Chain(torch.autograd.Function):
    """A chain of convolutions. A gradient is masked by a ReLU where the layer before is left."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
        images = [x]
        for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2], strict=True):
            images.append(_values(images[-1], [layer], weight, bias))
        ctx.layers, ctx.with_bias = layers, [bias is not None for bias in parameters[1::2]]
        ctx.save_for_backward(*images, *parameters[::2])
        return images[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, saved = ctx.layers, ctx.saved_tensors
        images, weights = saved[: len(layers) + 1], saved[len(layers) + 1 :]
        gradient = gradient.contiguous()
        if layers[-1].relu:
            gradient = torch.ops.aten.threshold_backward(gradient, images[-1], 0)
        found: list[Tensor | None] = []
        for i in reversed(range(len(layers))):
            bias = gradient.sum((2, 3, 4)) if ctx.with_bias[i] else None
            found += [bias, layers[i].weight_gradient(gradient, images[i])]
            if i or ctx.needs_input_grad[0]:
                masked = i > 0 and layers[i - 1].relu
                gradient = layers[i].input_gradient(gradient, weights[i], images[i], masked=masked)
        return gradient if ctx.needs_input_grad[0] else None, None, *reversed(found)
