"""What benchmarks share: the lines they begin with, data of random pixels, and the spread of ratios."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import mopoe

if TYPE_CHECKING:
    from mopoe.data.registry import ModalitySpec


def header(*packages: str) -> str:
    """Return the command, the versions of Python and of packages, the machine, and what else it is doing."""
    words = " ".join([str(_short(sys.argv[0])), *sys.argv[1:]])
    versions = ", ".join(f"{name} {_version(name)}" for name in ("python", "torch", *packages))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"$ python {words}\n{versions}\n{_processor()}, {os.cpu_count()} cores; load average {load}\n"


def random_data(
    n: int, modalities: "Sequence[ModalitySpec] | None" = None, name: str = "random"
) -> "mopoe.MultimodalData":
    """Return n samples of random pixels, the same in every split; of PolyMNIST's modalities by default."""
    import torch

    from mopoe.data.registry import DATA_SETS

    shapes, rng = modalities or DATA_SETS["polymnist"].modalities, torch.Generator().manual_seed(0)
    x = {m.name: torch.randint(256, (n, *m.shape), generator=rng, dtype=torch.uint8) for m in shapes}
    split = mopoe.Split(x, torch.randint(10, (n,), generator=rng))
    return mopoe.MultimodalData(
        name=name,
        options={},
        fingerprint="",
        modalities=tuple(shapes),
        n_classes=10,
        train=split,
        validation=split,
        test=split,
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median, minimum and maximum."""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (statistics.median, min, max))
    return f"{middle} ({low} to {high})"


def _short(script: str) -> Path:
    path, root = Path(script).resolve(), Path(__file__).parents[1]
    return path.relative_to(root) if path.is_relative_to(root) else path


def _version(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
