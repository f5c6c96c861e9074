"""A small trial and its run, for the tests of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.model import MoPoE
from mopoe.reports import EpochReport
from mopoe.training import train

# 22 samples in batches of 8: steps of 8, 8 and 6.
CONFIG = TrialConfig(
    latent_dim=3, channels=(2, 2, 2), lr=1e-2, batch_size=8, epochs=3, seed=1, likelihood_weights="none"
)
SMALL = TrialConfig(latent_dim=2, lr=1e-2, batch_size=4, epochs=3)


def run(config: TrialConfig, data: MultimodalData, **settings: Any) -> tuple[MoPoE, list[EpochReport]]:
    """Train and return the model and the reports, their times set to zero."""
    reports: list[EpochReport] = []
    model = train(config, data, reports.append, **settings)
    return model, [replace(r, seconds=0.0, total_seconds=0.0) for r in reports]


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Return whether all weights are equal bit by bit."""
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


def cut_off(config: TrialConfig, data: MultimodalData, checkpoint: Path) -> list[EpochReport]:
    """Train until the second epoch's report is refused, and return what was taken before."""
    taken: list[EpochReport] = []

    def cut(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt
        taken.append(replace(report, seconds=0.0, total_seconds=0.0))

    with pytest.raises(KeyboardInterrupt):
        train(config, data, cut, checkpoint=checkpoint)
    return taken
