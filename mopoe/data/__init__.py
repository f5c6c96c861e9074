"""Data sets by name. Listing them is light; loading one imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from mopoe.data.registry import DATA_SETS, DataSetEntry, ModalitySpec, entry
from mopoe.errors import ConfigError

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

__all__ = ["DATA_SETS", "DataSetEntry", "ModalitySpec", "entry", "load"]


def load(name: str, **options: int) -> "MultimodalData":
    """Return a data set by name.

    Raises:
        ConfigError: there is no such data set, or it has no such option.
        DataError: its files are missing or damaged.
    """
    found = entry(name)
    for option in options:
        if option not in found.options:
            raise ConfigError(
                f"data set {name!r} has no option {option!r}; there are: {', '.join(found.options)}"
            )
    data: MultimodalData = import_module(found.module).load(**options)
    return data
