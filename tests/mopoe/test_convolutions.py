"""Compiled convolutions: torch's values in float64, within their memory, and nothing without a compiler."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.convolutions import SOURCE, Convolution, convolved, library

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
def test_a_chain_is_its_layers_one_after_the_other():
    """Also where a layer has no bias, where the input has no gradient, and without any gradient."""
    down, up = Convolution(3, 2, 1, 0, False, True), Convolution(3, 2, 1, 1, True, False)
    x, w, b = inputs(down, 3, 6, 10, torch.float64)
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


@needs_compiler
def test_denormal_numbers_stay():
    """Some compiler options make a process flush them to zero as soon as the code is loaded."""
    assert library(torch.float32) is not None
    assert np.float64(2.0**-1040) * np.float64(1.0) > 0


@pytest.mark.parametrize("missing", ["compiler", "switch"])
def test_there_are_none_without_a_compiler(missing, monkeypatch):
    """Or if the environment says so; nor of other types."""
    library.cache_clear()
    if missing == "compiler":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    else:
        monkeypatch.setenv("MOPOE_KERNELS", "0")
    assert library(torch.float32) is None
    library.cache_clear()
    assert library(torch.bfloat16) is None


def test_a_compiler_that_fails_is_none(tmp_path, monkeypatch):
    """An old one may not know an option."""
    false = tmp_path / "cc"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setenv("CC", str(false))
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "cache"))
    library.cache_clear()
    assert library(torch.float32) is None
    library.cache_clear()


MAIN = """
#include "{source}"
static REAL *some(long n) {{
  REAL *p = malloc(sizeof(REAL) * n);
  for (long i = 0; i < n; i++) p[i] = (REAL)(i % 7) - 3;
  return p;
}}
int main(void) {{
  Shape s = {{2, {small}, {large}, {kernel}, {stride}, {padding}, {h}, {w}, {H}, {W}, STEP}};
  long n_small = 2L * s.small_channels * s.small_height * s.small_width * STEP;
  long n_large = 2L * s.large_channels * s.large_height * s.large_width * STEP;
  long n_weight = 2L * s.small_channels * s.large_channels * s.kernel * s.kernel;
  REAL *a = some(n_small), *b = some(n_large), *weight = some(n_weight), *mask = some(n_small);
  REAL *bias = some(2L * (s.small_channels + s.large_channels)), *gradient = some(n_weight);
  to_small(&s, weight, b, bias, mask, 1, a);
  to_large(&s, weight, a, bias, 0, 0, b);
  weight_gradient(&s, a, b, gradient);
  return 0;
}}
"""


@needs_compiler
@pytest.mark.parametrize(("small", "large", "kernel"), [(5, 7, 3), (8, 1, 1)])
def test_nothing_is_read_or_written_outside(tmp_path, small, large, kernel):
    """Buffers of the exact size under the compiler's sanitizers, for channels that fill no block."""
    compiler, stride, padding = shutil.which("cc") or shutil.which("gcc"), 1 + kernel // 2, kernel // 2
    high, wide = ((n + 2 * padding - kernel) // stride + 1 for n in (6, 7))
    sizes = {"kernel": kernel, "stride": stride, "padding": padding, "h": high, "w": wide, "H": 6, "W": 7}
    (tmp_path / "check.c").write_text(MAIN.format(source=SOURCE, small=small, large=large, **sizes))
    options = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    build = [compiler, *options, str(tmp_path / "check.c"), "-o", str(tmp_path / "check")]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the compiler has no sanitizers: {built.stderr[-200:]}")
    quiet = {"ASAN_OPTIONS": "detect_leaks=0"}
    ran = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False, env=quiet)
    assert (ran.returncode, ran.stderr) == (0, "")
