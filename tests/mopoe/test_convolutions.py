"""Compiled convolutions: torch's values in float64."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.convolutions import Convolution, convolved
from mopoe.kernels import library

needs_compiler = pytest.mark.skipif(library(torch.float64) is None, reason="needs a C compiler")
TORCH = {
    False: lambda x, w, b, c: F.conv2d(x, w, b, c.stride, c.padding),
    True: lambda x, w, b, c: F.conv_transpose2d(x, w, b, c.stride, c.padding, c.extra),
}
LAYERS = [
    *((Convolution(3, 2, 1, 0, False, True), a, b, n) for a, b, n in ((3, 8, 28), (16, 32, 7), (5, 1, 2))),
    *((Convolution(4, 2, p, 0, False, True), 3, 9, 8) for p in (0, 1)),
    *((Convolution(3, 2, 1, extra, True, False), a, b, 7) for extra, a, b in ((0, 32, 16), (1, 8, 3))),
    (Convolution(4, 1, 0, 0, True, True), 9, 4, 1),
    (Convolution(4, 2, 1, 0, True, True), 2, 7, 8),
    (Convolution(1, 1, 0, 0, False, False), 2, 2, 5),
    (Convolution(5, 3, 2, 0, False, True), 3, 4, 17),
]


def inputs(layer, n_in, n_out, side, dtype, n=21):
    """Return random inputs of two networks, higher than wide, and their weights."""
    torch.manual_seed(0)
    shape = (n_in, n_out) if layer.transposed else (n_out, n_in)
    x = torch.randn(2, n_in, side + 2, side, n, dtype=dtype)
    weight = torch.randn(2, *shape, layer.kernel, layer.kernel, dtype=dtype)
    return [t.requires_grad_() for t in (x, weight, torch.randn(2, n_out, dtype=dtype))]


def plain(layer, x, weight, bias):
    """Return torch's own values, network by network."""
    found = [
        TORCH[layer.transposed](x_CYXB.permute(3, 0, 1, 2), w, b, layer).permute(1, 2, 3, 0)
        for x_CYXB, w, b in zip(x, weight, bias, strict=True)
    ]
    return torch.stack([F.relu(y) if layer.relu else y for y in found])


@needs_compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 3e-5)])
@pytest.mark.parametrize(("layer", "n_in", "n_out", "side"), LAYERS)
def test_values_and_gradients_are_torchs(layer, n_in, n_out, side, dtype, tolerance):
    """Of any kernel, stride, padding and number of channels, of images that are not square, for any batch."""
    given = inputs(layer, n_in, n_out, side, dtype)
    ours, theirs = convolved(given[0], [layer], given[1:]), plain(layer, *given)
    weight = torch.randn_like(theirs)
    found = [ours, *torch.autograd.grad((ours * weight).sum(), given)]
    expected = [theirs, *torch.autograd.grad((theirs * weight).sum(), given)]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max().detach()) <= tolerance * float(b.abs().max().detach())


@needs_compiler
@pytest.mark.parametrize("n", [21, 200])
def test_a_chain_is_its_layers_one_after_the_other(n):
    """Also where a layer has no bias, where the input has no gradient, and without any gradient."""
    down, up = Convolution(3, 2, 1, 0, False, True), Convolution(3, 2, 1, 1, True, False)
    x, w, b = inputs(down, 3, 6, 10, torch.float64, n)
    v = torch.randn(2, 6, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    x = x.detach()
    ours = convolved(x, [down, up], [w, b, v, None])
    theirs = plain(up, plain(down, x, w, b), v, torch.zeros(2, 2))
    assert torch.allclose(ours, theirs, rtol=1e-12)
    for a, b_ in zip(
        *(torch.autograd.grad(y.square().sum(), (w, b, v)) for y in (ours, theirs)), strict=True
    ):
        assert torch.allclose(a, b_, rtol=1e-11)
    with torch.inference_mode():
        assert torch.equal(convolved(x, [down, up], [w, b, v, None]), ours)


@needs_compiler
def test_nan_is_not_lost_in_a_relu():
    """A loss that is not a number must be seen, so max(NaN, 0) is NaN, as in torch."""
    layer = Convolution(3, 2, 1, 0, False, True)
    x, w, b = inputs(layer, 3, 4, 8, torch.float32)
    w.data[0, 1] = torch.nan
    assert torch.isnan(convolved(x, [layer], [w, b])[0, 1]).all()
