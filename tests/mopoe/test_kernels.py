"""Compiled code: torch's values in float64, within its memory, and nothing without a compiler."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from mopoe.kernels import SOURCE, absolute_error, library

needs_compiler = pytest.mark.skipif(library(torch.float64) is None, reason="needs a C compiler")


@pytest.mark.parametrize("n", [16, 32, 96, 21])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_the_absolute_error_is_torchs(n, dtype, tolerance):
    """Value and gradient, also where both are equal; of few samples by torch itself; without a gradient."""
    torch.manual_seed(0)
    x, output = torch.rand(2, 3, 9, 7, n, dtype=dtype), torch.rand(2, 3, 9, 7, n, dtype=dtype)
    output[:, 0, 0] = x[:, 0, 0]
    output.requires_grad_()
    weight_GB = torch.randn(2, n, dtype=dtype)
    ours, theirs = absolute_error(output, x), (x - output).abs().sum((1, 2, 3))
    assert torch.allclose(ours, theirs, rtol=tolerance)
    (found,) = torch.autograd.grad((ours * weight_GB).sum(), output)
    (expected,) = torch.autograd.grad((theirs * weight_GB).sum(), output)
    assert torch.equal(found, expected)
    with torch.inference_mode():
        assert torch.equal(absolute_error(output, x), ours)


@needs_compiler
def test_an_error_that_is_no_number_is_seen():
    """The loss of a model that diverged must say so."""
    x = torch.rand(1, 4, 32)
    output = x.clone()
    output[0, 2, 5] = torch.nan
    assert torch.isnan(absolute_error(output, x)).nonzero().tolist() == [[0, 5]]


@needs_compiler
def test_a_gradient_of_the_samples_is_torchs():
    """Where somebody asks for one, torch computes both."""
    x, output = (torch.rand(1, 4, 32, requires_grad=True) for _ in range(2))
    by_x, by_output = torch.autograd.grad(absolute_error(output, x).sum(), (x, output))
    assert torch.equal(by_x, -by_output)
    assert torch.equal(by_x, (x - output).sign())


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
  int samples = TILE + STEP;
  Shape s = {{2, {small}, {large}, {kernel}, {stride}, {padding}, {h}, {w}, {H}, {W}, samples}};
  long n_small = 2L * s.small_channels * s.small_height * s.small_width * samples;
  long n_large = 2L * s.large_channels * s.large_height * s.large_width * samples;
  long n_weight = 2L * s.small_channels * s.large_channels * s.kernel * s.kernel;
  REAL *a = some(n_small), *b = some(n_large), *weight = some(n_weight), *mask = some(n_small);
  REAL *bias = some(2L * (s.small_channels + s.large_channels)), *gradient = some(n_weight);
  Layer masked = {{s, 1, 1, weight, bias, mask}}, up = {{s, 0, 0, weight, bias, 0}}, down = masked;
  down.mask = 0;
  Layer chain[] = {{up, down, up}};
  convolve(&masked, 1, b, a);
  convolve(chain, 3, a, b);
  weight_gradient(&s, a, b, gradient);
  REAL *total = some(2L * samples), *sign = some(n_large);
  absolute_error(2, n_large / 2 / samples, samples, b, some(n_large), total, sign);
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
