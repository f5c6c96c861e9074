"""What every test shares: one thread, a cache folder of its own, a tiny data set, one Ray.

Torch is imported by the fixtures that need it, so that the tests of the light packages stay light.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MOPOE_BFLOAT16"] = "1"  # what is tested is the same on a CPU that is slow in it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that need Ray, which take longest: so no process is left alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what the tests build out of the user's cache, for subprocesses too; once for all processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOPOE_CACHE", str(folder))
        yield folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the Ray that tests share once a test comes that needs none."""
    ray = sys.modules.get("ray")
    if item.get_closest_marker("ray") is None and ray and ray.is_initialized():
        ray.shutdown()


@pytest.fixture
def sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; return its exit status, output and error output."""
    from sweep.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        found = capsys.readouterr()
        return status, found.out, found.err

    return run


@contextmanager
def one_ray() -> Iterator[list[str]]:
    """Let sweeps share one Ray, which goes on after them; give the list of when they would start and end it.

    A start of Ray takes longer than a sweep of three trials.
    """
    import ray

    from sweep.running import driver

    if not ray.is_initialized():
        driver.start_ray("local")
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "start_ray", lambda address: calls.append(f"start {address}"))
        patch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
        yield calls


@pytest.fixture(scope="session")
def sharing_ray() -> Callable[[], AbstractContextManager[list[str]]]:
    """Give the context in which sweeps share one Ray, for fixtures of modules."""
    return one_ray


@pytest.fixture
def shared_ray() -> Iterator[list[str]]:
    """Let the sweeps of a test share one Ray; give the list of when they would have started and ended it."""
    with one_ray() as calls:
        yield calls


@pytest.fixture
def own_ray() -> None:
    """Let the sweeps of a test start a Ray of their own, because no other one goes on."""
    import ray

    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_data() -> "MultimodalData":
    """Two image modalities of one and three colours, four classes; 22 + 12 + 12 samples of noise."""
    import torch

    from mopoe.data.container import MultimodalData, Split
    from mopoe.data.registry import ModalitySpec

    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(5)
    specs = (ModalitySpec(name="grey", shape=(1, 28, 28)), ModalitySpec(name="colour", shape=(3, 28, 28)))

    def split(n: int) -> Split:
        x = {m.name: torch.randint(0, 256, (n, *m.shape), generator=rng, dtype=torch.uint8) for m in specs}
        return Split(x, torch.arange(n) % 4)

    return MultimodalData(
        name="tiny",
        options={"seed": 5},
        fingerprint="tiny",
        modalities=specs,
        n_classes=4,
        train=split(22),
        validation=split(12),
        test=split(12),
    )
