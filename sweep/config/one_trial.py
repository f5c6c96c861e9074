"""One trial of a sweep as a sweep's file of its own."""

from typing import Any

from mopoe.config import TrialConfig
from sweep.config.sweep_spec import SweepSpec

_KEPT = ("data", "objectives", "reference_point", "evaluation")
"""What a trial's numbers are measured by."""


def one_trial(spec: SweepSpec, config: TrialConfig, name: str) -> dict[str, Any]:
    """Return the keys of a file that `sweep trial` runs as this trial and `sweep run` as a sweep of one.

    Every setting is held constant, but for the first searched one: a file must have a search space, so
    that setting has a choice of one value.
    """
    settings = config.to_dict()
    searched = next(iter(spec.search_space))
    plain = spec.plain()
    return {
        "name": name,
        "trials": 1,
        **{key: plain[key] for key in _KEPT},
        "search_space": {searched: {"type": "choice", "values": [settings.pop(searched)]}},
        "fixed": settings,
    }
