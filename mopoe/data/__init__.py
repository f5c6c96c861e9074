"""Data sets by name. Listing them is light; loading one imports torch."""

import functools
from importlib import import_module
from typing import TYPE_CHECKING

from mopoe.data.registry import DATA_SETS, DataSetEntry, ModalitySpec, Option, check_options, entry
from mopoe.errors import ConfigError, DataError, MopoeError
from mopoe.plugins import named_function, reason

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

__all__ = ["DATA_SETS", "DataSetEntry", "ModalitySpec", "Option", "entry", "load", "modalities"]


def load(name: str, **options: Option) -> "MultimodalData":
    """Return a data set by name.

    Raises:
        ConfigError: there is no such data set, it has no such option, or a required one is not given.
        DataError: its files are missing or damaged, or a function of your own returns something else.
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
    if name not in DATA_SETS:
        return _own(name, tuple(sorted({**found.options, **options}.items())))
    check_options(options)
    data: MultimodalData = import_module(found.module).load(**options)
    return data


def modalities(name: str, **options: Option) -> tuple[ModalitySpec, ...]:
    """Return the modalities of a data set, which is loaded only if it is your own and does not tell them."""
    return entry(name).modalities or load(name, **options).modalities


@functools.lru_cache(maxsize=1)
def _own(name: str, options: tuple[tuple[str, Option], ...]) -> "MultimodalData":
    """Return a user's data set, checked; kept, because a sweep asks for its modalities and then for all."""
    from mopoe.data.arrays import checked

    found = entry(name)
    try:
        data = named_function(f"{found.module}:{found.function}")(**dict(options))
        return checked(data, name, dict(options), found.modalities)
    except MopoeError as error:
        raise DataError(f"data set {name!r}: {error}") from error
    except Exception as error:  # whatever a user's function raises
        raise DataError(f"data set {name!r} raised {reason(error)}") from error
