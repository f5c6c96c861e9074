"""The registry, and loading by name."""

import re

import pytest

from mopoe.data import load_data
from mopoe.data.registry import DATA_SETS, entry
from mopoe.errors import ConfigError


def test_the_built_in_digits_have_five_image_modalities() -> None:
    """M0 to m4, three colours, 28 x 28 pixels; one option."""
    found = entry("digits")
    assert [(m.name, m.shape) for m in found.modalities] == [(f"m{i}", (3, 28, 28)) for i in range(5)]
    assert dict(found.options) == {"seed": 0}


def test_polymnist_has_the_same_modalities_and_a_path_without_default() -> None:
    """A required option says what it is."""
    found = entry("polymnist")
    assert found.modalities == entry("digits").modalities
    assert dict(found.options) == {"seed": 0}
    assert found.required["path"].startswith("the folder MMNIST")


def test_an_unknown_data_set_lists_those_there_are() -> None:
    """A near miss is answered with the nearest name."""
    own = ", and functions of your own as package.module:function"
    names = re.escape(", ".join(DATA_SETS) + own)
    with pytest.raises(
        ConfigError, match=f"^there is no data set 'digit'; did you mean 'digits'\\? possible: {names}$"
    ):
        entry("digit")
    with pytest.raises(ConfigError, match=f"^there is no data set 'cifar'; possible: {names}$"):
        load_data("cifar")


def test_an_unknown_option_lists_those_there_are() -> None:
    """Options are checked before anything heavy is loaded."""
    with pytest.raises(
        ConfigError, match=r"^data set 'digits' has no option 'sed'; did you mean 'seed'\? possible: seed$"
    ):
        load_data("digits", sed=1)
    with pytest.raises(ConfigError, match=r"^data set 'polymnist' has no option 'sed'; .*: path, seed$"):
        load_data("polymnist", path="x", sed=1)
