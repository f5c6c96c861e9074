"""Gives every record of a running sweep to a function of the user's own, or one of `sweep.loggers`.

A sweep never waits for it, and never ends because of it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from mopoe.errors import ConfigError, shown
from mopoe.plugins import named_function, reason
from sweep.store.records import EpochRecord, EventRecord, Manifest, TrialRecord

LogRecord = Manifest | TrialRecord | EpochRecord | EventRecord
"""What a logger is given: first the manifest of the sweep, then each record when it is stored or arrives."""
Logger = Callable[[LogRecord], object]


def named_logger(reference: str | None) -> Logger | None:
    """Return the plugin that is to be given the records; None for no reference.

    Raises:
        ConfigError: it may not be called, or needs a package that is not installed.
    """
    if reference is None:
        return None
    try:
        logger = named_function(reference)
    except ConfigError as error:
        raise ConfigError(f"--log: {reference!r} {error}") from error
    package = getattr(logger, "needs", None)
    if package and find_spec(package) is None:
        install = f"pip install 'mopoe-sweep[{package}]'"
        raise ConfigError(f"--log {reference} needs the package {package}, which is not installed: {install}")
    return logger


@contextmanager
def logging_to(logger: Logger | None, say: Callable[[str], None]) -> Iterator[Callable[[LogRecord], None]]:
    """Give what passes records on, in their order and in a thread of its own.

    The first error is one warning; nothing is passed on after it. In the end all records have been taken.
    """
    if logger is None:
        yield lambda _: None
        return
    failed: list[Exception] = []

    def give(record: LogRecord) -> None:
        if not failed:
            try:
                logger(record)
            except Exception as error:  # noqa: BLE001 - whatever a user's function raises, the sweep goes on
                failed.append(error)
                say(shown(f"warning: records are no longer logged ({reason(error)})"))

    with ThreadPoolExecutor(1, thread_name_prefix="log") as pool:
        yield lambda record: (pool.submit(give, record), None)[1]


def epoch_record(trial: TrialRecord, row: Mapping[str, Any]) -> EpochRecord:
    """Return an epoch of a trial as a record, from what the epochs table holds of it."""
    numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and k != "epoch"}
    return EpochRecord(trial_id=trial.trial_id, attempt=trial.attempt, epoch=row["epoch"], values=numbers)
