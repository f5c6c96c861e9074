"""Convolutions of few channels on a CPU, samples innermost, by compiled code.

oneDNN's convolutions vectorise over channels, of which images and small networks have few. These vectorise
over samples (`mopoe.kernels`). Without a C compiler there are none, and the networks compute one by one.
Axes: B sample, C channel, G group, K kernel, Y and X pixel; O output channel and I input channel of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.kernels import Shape, address, loaded

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

    def forward(self, x_GIYXB: Tensor, weight: Tensor, bias_GO: Tensor | None) -> Tensor:
        """Return the output [G, O, Y, X, B]; weight is [G, O, I, K, K], transposed [G, I, O, K, K]."""
        n_groups, n_small, n_large = weight.shape[:3]
        if self.transposed:
            around = self.kernel + self.extra - 2 * self.padding
            sides = [(n - 1) * self.stride + around for n in x_GIYXB.shape[2:4]]
        else:
            sides = [(n + 2 * self.padding - self.kernel) // self.stride + 1 for n in x_GIYXB.shape[2:4]]
        n_channels = n_large if self.transposed else n_small
        found = x_GIYXB.new_empty(n_groups, n_channels, *sides, x_GIYXB.shape[4])
        self._map(weight, x_GIYXB, bias_GO, None, found, to_small=not self.transposed, relu=self.relu)
        return found

    def input_gradient(self, gradient: Tensor, weight: Tensor, x_GIYXB: Tensor, *, masked: bool) -> Tensor:
        """Return the gradient of the input, or 0 where the input is not positive if it came from a ReLU."""
        found, mask = torch.empty_like(x_GIYXB), x_GIYXB if masked else None
        self._map(weight, gradient, None, mask, found, to_small=self.transposed, relu=False)
        return found

    def weight_gradient(self, gradient: Tensor, x_GIYXB: Tensor) -> Tensor:
        """Return the gradient of the weight."""
        small, large = (x_GIYXB, gradient) if self.transposed else (gradient, x_GIYXB)
        found = small.new_empty(*small.shape[:2], large.shape[1], self.kernel, self.kernel)
        shape = self._shape(found, small, large)
        loaded(small.dtype).weight_gradient(shape, *map(address, (small, large, found)))
        return found

    def _map(
        self,
        weight: Tensor,
        x: Tensor,
        bias_GO: Tensor | None,
        mask: Tensor | None,
        found: Tensor,
        *,
        to_small: bool,
        relu: bool,
    ) -> None:
        function = loaded(x.dtype).to_small if to_small else loaded(x.dtype).to_large
        shape = self._shape(weight, *((found, x) if to_small else (x, found)))
        function(shape, *map(address, (weight, x, bias_GO, mask)), int(relu), address(found))

    def _shape(self, weight: Tensor, small: Tensor, large: Tensor) -> Shape:
        sides = (*small.shape[2:4], *large.shape[2:5])
        return Shape(*weight.shape[:3], self.kernel, self.stride, self.padding, *sides)


def convolved(x_GCYXB: Tensor, layers: Sequence[Convolution], parameters: Sequence[Tensor | None]) -> Tensor:
    """Return images [G, C, Y, X, B] after a chain of convolutions, with gradients.

    Args:
        x_GCYXB: the input, of any number of samples.
        layers: the convolutions.
        parameters: weight and bias of each, in turn.
    """
    n = x_GCYXB.shape[4]
    step: int = loaded(x_GCYXB.dtype).sample_multiple()
    padded = x_GCYXB if n % step == 0 else F.pad(x_GCYXB, (0, -n % step))
    found: Tensor = _Chain.apply(padded.contiguous(), layers, *parameters)  # type: ignore[no-untyped-call]
    return found if n % step == 0 else found[..., :n]


class _Chain(torch.autograd.Function):
    """A chain of convolutions. A gradient is masked by a ReLU where the layer before is left."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
        images = [x]
        for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2], strict=True):
            assert weight is not None
            images.append(layer.forward(images[-1], weight, bias))
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
