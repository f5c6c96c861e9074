"""MoPoE-VAE: the model, its objective, its training and its evaluation (names are loaded on first use)."""

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mopoe' has no attribute {name!r}")
