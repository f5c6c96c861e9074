"""Hyperparameter sweeps for MoPoE multimodal VAEs (names are loaded on first use).

`sweep.open(DIR)` gives the tables of a results folder as Polars lazy frames, `sweep.load_spec(FILE)` a
sweep's YAML file as an object; `sweep.run_sweep` runs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.config.sweep_spec import SweepSpec, load_spec
    from sweep.running.driver import run_sweep
    from sweep.store.read import Store
    from sweep.store.read import open_store as open  # noqa: A004 - sweep.open reads like gzip.open

__all__ = ["Store", "SweepSpec", "load_spec", "open", "run_sweep"]

_HOMES = {
    "Store": ("sweep.store.read", "Store"),
    "SweepSpec": ("sweep.config.sweep_spec", "SweepSpec"),
    "load_spec": ("sweep.config.sweep_spec", "load_spec"),
    "open": ("sweep.store.read", "open_store"),
    "run_sweep": ("sweep.running.driver", "run_sweep"),
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
