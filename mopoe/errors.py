"""The tree of the project's exceptions.

MopoeError                 the root: its message is one sentence for the user
├── ConfigError            a setting has an impossible value, or a YAML file is missing or malformed
├── DataError              input data is missing, damaged or of an unexpected shape
├── CheckpointError        a checkpoint is missing, damaged or of another model
├── DivergedError          the loss or a gradient is no longer a finite number
├── StoreError             (sweep.errors) a results folder is missing, damaged or another sweep's
├── TrialsFailedError      (sweep.errors) all trials that were asked for failed, or too many in a row
├── TrialTimeError         (sweep.errors) a trial took longer than its sweep allows
└── ClusterError           (sweep.errors) a cluster cannot be reached, or is not fit to run a sweep
"""

import re

_SECRETS = (
    (re.compile(r"(:/{1,2})[^/\s:@]*:(?!\d+/)\S+@"), r"\1***@"),
    (re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|access_key)\w*=)[^&\s]+"), r"\1***"),
)
_LONGEST = 1000


def masked(text: str) -> str:
    """Return a text in which passwords and keys in addresses are masked.

    >>> masked("s3://KEY:SECRET@bucket/x and postgresql://me:pw@host/db?password=pw")
    's3://***@bucket/x and postgresql://***@host/db?password=***'
    """
    for form, instead in _SECRETS:
        text = form.sub(instead, text)
    return text


def shown(text: str) -> str:
    """Return a text for display: with masked secrets, and without the middle of very long lines."""
    lines = masked(text).split("\n")
    return "\n".join(
        line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 4 :]}"
        for line in lines
    )


class MopoeError(Exception):
    """The root of the tree; the command line prints its message and exits with its status."""

    exit_status = 2


class ConfigError(MopoeError, ValueError):
    """A setting has an impossible value, or a YAML file is missing or malformed."""


class DataError(MopoeError):
    """Input data is missing, damaged or of an unexpected shape."""


class CheckpointError(MopoeError):
    """A checkpoint is missing, damaged or belongs to another model."""


class DivergedError(MopoeError):
    """The loss or a gradient is no longer a finite number."""

    exit_status = 1
