"""The branches that `sweep` adds to the error tree of `mopoe.errors`."""

from mopoe.errors import MopoeError


class StoreError(MopoeError):
    """A results folder is missing, damaged, of a newer schema, or holds another sweep."""


class TrialsFailedError(MopoeError):
    """All trials that were asked for failed, or too many in a row."""

    exit_status = 1


class TrialTimeError(MopoeError):
    """A trial took longer than its sweep allows."""

    exit_status = 1


class ClusterError(MopoeError):
    """A cluster cannot be reached, or is not fit to run a sweep."""
