"""Data sets by name. Listing them is cheap; loading one imports torch."""

import functools
import json
from importlib import import_module
from typing import TYPE_CHECKING

from mopoe.data.registry import DATA_SETS, DataSetEntry, ModalitySpec, Option, check_options, entry
from mopoe.errors import ConfigError, DataError, MopoeError
from mopoe.plugins import named_function, reason
from mopoe.wording import did_you_mean

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

__all__ = ["DATA_SETS", "DataSetEntry", "ModalitySpec", "Option", "entry", "load_data", "modalities"]


def load_data(name: str, **options: Option) -> "MultimodalData":
    """Return a data set by name.

    Raises:
        ConfigError: there is no such data set, it has no such option, or a required option is not given.
        DataError: its files are missing or damaged, or a user's function does not return a valid data set.
    """
    known = entry(name)
    names = (*known.required, *known.options)
    for option in options:
        if option not in names:
            raise ConfigError(f"data set {name!r} has no option {option!r}; {did_you_mean(option, names)}")
    for option, what in known.required.items():
        if option not in options:
            raise ConfigError(f"data set {name!r} needs the option {option!r}: {what}")
    if name in DATA_SETS:
        check_options(options)
    if not known.modalities or name not in DATA_SETS:
        return _own(name, json.dumps(known.kept({**known.options, **options})))
    data: MultimodalData = getattr(import_module(known.module), known.function)(**options)
    return data


def modalities(name: str, **options: Option) -> tuple[ModalitySpec, ...]:
    """Return the modalities of a data set, which is loaded only if its entry does not declare them."""
    return entry(name).modalities or load_data(name, **options).modalities


@functools.lru_cache(maxsize=1)
def _own(name: str, options_json: str) -> "MultimodalData":
    """Return a validated data set of a user's function or files; cached, as a sweep asks it twice."""
    from mopoe.data.arrays import checked

    known, options = entry(name), json.loads(options_json)
    try:
        data = named_function(f"{known.module}:{known.function}")(**options)
        return checked(data, name, options, known.modalities)
    except MopoeError as error:
        kind = ConfigError if isinstance(error, ConfigError) else DataError
        raise kind(f"data set {name!r}: {error}") from error
    except Exception as error:  # a user's function may raise anything
        raise DataError(f"data set {name!r} raised {reason(error)}") from error
