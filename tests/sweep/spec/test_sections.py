"""How many trials fit."""

import pytest

from sweep.spec.sections import ResourcesSpec


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
