"""How many trials fit, and what does not fit at all."""

import re

import pytest

from mopoe.errors import ConfigError
from sweep.config.schema import ResourcesSpec


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, 2),
        ({"cpu": 0.5}, 2, 0, 4),
        ({"gpu": 0.25}, 16, 2, 8),
        ({"cpu": 4.0}, 1, 0, 1),
        ({}, 4, 1, 1),
        ({"gpu": 0.0}, 4, 1, 4),
        ({"concurrent": 3}, 16, 0, 3),
    ],
)
def test_slots(asked, cpus, gpus, expected):
    """As many trials as the scarcest resource allows, one even if none fits yet, or what the file says."""
    assert ResourcesSpec(**asked).slots(cpus, gpus) == expected


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cpu": 64}, "resources.cpu is 64, but this machine has 8; lower it, or run the sweep on a cluster"),
        (
            {"gpu": 0.5},
            "resources.gpu is 0.5, but this machine has 0; lower it, or run the sweep on a cluster",
        ),
        ({"cpu": 8}, None),
    ],
)
def test_a_machine_without_room_is_told(asked, sentence):
    """Before any trial waits for a place that never comes."""
    resources = ResourcesSpec(**asked)
    if sentence is None:
        resources.check_room(8, 0)
    else:
        with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
            resources.check_room(8, 0)
