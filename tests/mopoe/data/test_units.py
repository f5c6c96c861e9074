"""The units of tables: features as in their files outside of a model, standardised inside."""

import numpy as np
import pytest
import torch

from mopoe.data.registry import ModalitySpec
from mopoe.data.units import Units
from mopoe.errors import DataError

SPEC = ModalitySpec(
    name="mri", shape=(2,), likelihood="normal", features=("a", "b"), offset=(50.0, -3.0), scale=(10.0, 0.5)
)


def test_features_are_standardised_for_the_model_and_given_back_in_their_units() -> None:
    """By hand: 70 is two deviations above 50, and -3.25 half a deviation below -3."""
    units = Units(SPEC, "float32")
    x_NX, here_N = units.read(np.array([[70.0, -3.25], [np.nan, np.nan]]))
    assert here_N.tolist() == [True, False]
    inside = units.to_model(x_NX)
    assert inside[0].tolist() == [2.0, -0.5]
    assert units.to_user(inside)[0].tolist() == [70.0, -3.25]


@pytest.mark.parametrize(("value", "found"), [(-1.0, "-1"), (0.5, "0.5")])
def test_what_its_distribution_cannot_give_is_refused(value: float, found: str) -> None:
    """A count is a whole number of at least 0, and is not scaled by its rate."""
    units = Units(ModalitySpec(name="genes", shape=(1,), likelihood="poisson", scale=(4.0,)), "float32")
    assert units.to_model(units.read(np.array([[3.0]]))[0]).tolist() == [[3.0]]
    assert units.to_user(torch.tensor([[3.0]])).tolist() == [[3.0]]
    with pytest.raises(DataError) as error:
        units.read(np.array([[value]]))
    assert str(error.value) == f"'genes' holds {found}, but must have whole numbers of at least 0"


def test_means_of_images_are_levels() -> None:
    """A Laplace mean may lie outside, and a byte made of it would wrap around."""
    units = Units(spec=ModalitySpec(name="m", shape=(3,)), kind="uint8")
    assert units.to_user(torch.tensor([[-0.1, 0.5, 1.2]])).tolist() == [[0.0, 127.5, 255.0]]
