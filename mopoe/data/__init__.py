"""Data sets by name. Listing them is light; loading one imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from mopoe.data.registry import DATA_SETS, DataSetEntry, ModalitySpec, Option, entry
from mopoe.errors import ConfigError

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

__all__ = ["DATA_SETS", "DataSetEntry", "ModalitySpec", "Option", "entry", "load"]


def load(name: str, **options: Option) -> "MultimodalData":
    """Return a data set by name.

    Raises:
        ConfigError: there is no such data set, it has no such option, or a required one is not given.
        DataError: its files are missing or damaged.
    """
    found = entry(name)
    for option in options:
        if option not in found.option_names:
            raise ConfigError(
                f"data set {name!r} has no option {option!r}; there are: {', '.join(found.option_names)}"
            )
    for option, what in found.required.items():
        if option not in options:
            raise ConfigError(f"data set {name!r} needs the option {option!r}: {what}")
    data: MultimodalData = import_module(found.module).load(**options)
    return data
