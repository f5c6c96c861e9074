"""A simulated sweep whose machines vanish: no trial is lost or there twice, and each loss undoes little."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def losses(monkeypatch):
    """Give the benchmark's module, with few machines and short trials."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module("losses")
    monkeypatch.setattr(module, "MACHINES", 4)
    yield module
    for name in ("losses", "common"):
        sys.modules.pop(name, None)


def test_a_sweep_outlives_its_machines(losses):
    """Twelve trials of twenty minutes on four machines that last half an hour each."""
    out = losses.simulate(0, trials=12, per_hour=2.0)
    assert out.sound
    assert len(out.again) > 3
    assert out.hit
    assert max(out.again) <= out.interval <= 2 * losses.STORE + 1.5 * losses.EPOCH + losses.CHECKPOINT


def test_without_losses_nothing_is_done_again(losses):
    """Four machines need a quarter of the work, and some minutes at the end."""
    out = losses.simulate(0, trials=12, per_hour=0.0)
    assert out.sound
    assert (out.again, out.hit) == ([], set())
    least = 12 * losses.EPOCHS * losses.EPOCH * 0.5 / 4
    assert least < out.seconds < 3 * (losses.START + losses.EPOCHS * (1.5 * losses.EPOCH + losses.CHECKPOINT))
