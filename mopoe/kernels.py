"""Code for a CPU that the machine's C compiler builds at first use, with the samples innermost (`kernels.c`).

Without a compiler there is none, and torch's own operations are used. Axes: B sample, G modality, X element.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mopoe.cache import cache_dir, cached_file
from mopoe.errors import DataError

SOURCE = Path(__file__).with_suffix(".c")
_TYPES = {torch.float32: ("float", "int"), torch.float64: ("double", "long long")}
_ARCHITECTURE = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mfma")}


class Shape(ctypes.Structure):
    """What the C code calls Shape."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("groups", "small_channels", "large_channels", "kernel", "stride", "padding"),
            *("small_height", "small_width", "large_height", "large_width", "samples"),
        )
    ]


class Layer(ctypes.Structure):
    """What the C code calls Layer."""

    _fields_ = [
        ("shape", Shape),
        *((name, ctypes.c_int) for name in ("to_small", "relu")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "mask")),
    ]


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled code for numbers of a type; None if there is none for it, or it cannot be compiled.

    It is compiled once for each machine's vector units and kept in the cache folder. The environment variable
    MOPOE_KERNELS=0 does without.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if dtype not in _TYPES or compiler is None or os.environ.get("MOPOE_KERNELS") == "0":
        return None
    real, integer = _TYPES[dtype]
    # Not -ffast-math: loading such code makes the whole process flush denormal numbers to zero.
    units = torch.backends.cpu.get_cpu_capability()
    options = ("-O3", "-shared", "-fPIC", f"-DREAL={real}", f"-DINTEGER={integer}")
    command = [compiler, *options, *_ARCHITECTURE.get(units, ()), str(SOURCE)]
    key = sha256(repr((command[1:-1], platform.machine(), SOURCE.read_bytes())).encode()).hexdigest()[:16]

    def build(path: Path) -> None:
        order = [*command, "-o", str(path)]
        subprocess.run(order, check=True, capture_output=True, timeout=120)  # noqa: S603 - our own source

    try:
        compiled = ctypes.CDLL(str(cached_file(cache_dir() / f"kernels-{key}.so", build)))
    except (DataError, OSError, subprocess.SubprocessError):
        return None
    compiled.convolve.argtypes = [ctypes.POINTER(Layer), ctypes.c_int, *[ctypes.c_void_p] * 2]
    compiled.weight_gradient.argtypes = [ctypes.POINTER(Shape), *[ctypes.c_void_p] * 3]
    compiled.absolute_error.argtypes = [*[ctypes.c_long] * 3, *[ctypes.c_void_p] * 4]
    return compiled


def loaded(dtype: torch.dtype) -> ctypes.CDLL:
    """Return the compiled code, where it is known that there is some."""
    found = library(dtype)
    assert found is not None, f"no compiled code for {dtype}"
    return found


def address(t: Tensor | None) -> int | None:
    """Return where a contiguous tensor begins."""
    if t is None:
        return None
    assert t.is_contiguous(), "the C code reads contiguous tensors"
    return t.data_ptr()


def absolute_error(output_GXB: Tensor, x_GXB: Tensor) -> Tensor:
    """Return the sum of |x - output| over all axes but the first and the last, [G, B].

    Compiled, it takes one pass for the value and the gradient of the output; samples get no gradient there.
    """
    alike = (output_GXB.shape, output_GXB.dtype) == (x_GXB.shape, x_GXB.dtype)
    packed = output_GXB.is_contiguous() and x_GXB.is_contiguous() and not x_GXB.requires_grad
    fits = alike and packed and x_GXB.device.type == "cpu" and not torch.compiler.is_compiling()
    compiled = library(x_GXB.dtype) if fits else None
    if compiled is None or x_GXB.shape[-1] % compiled.sample_multiple():
        return (x_GXB - output_GXB).abs().sum(tuple(range(1, x_GXB.dim() - 1)))
    found: Tensor = _AbsoluteError.apply(output_GXB, x_GXB)  # type: ignore[no-untyped-call]
    return found


class _AbsoluteError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor) -> Tensor:
        groups, samples = x.shape[0], x.shape[-1]
        total_GB = x.new_empty(groups, samples)
        sign = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        sizes = groups, x[0].numel() // samples, samples
        loaded(x.dtype).absolute_error(*sizes, *map(address, (x, output, total_GB, sign)))
        ctx.save_for_backward(*(() if sign is None else (sign,)))
        return total_GB

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_GB: Tensor) -> tuple[Tensor, None]:
        (sign,) = ctx.saved_tensors
        each = gradient_GB.reshape(len(gradient_GB), *(1,) * (sign.dim() - 2), -1)
        return sign * each, None
