"""Everything that can go wrong, in one tree.

MopoeError                 the root: its message is one sentence for the user
├── ConfigError            a setting has an impossible value
├── DataError              input data is missing, damaged or of another shape
├── CheckpointError        a checkpoint is missing, damaged or of another model
├── DivergedError          the loss or a gradient is no longer a finite number
├── SpecError              (sweep.errors) the YAML file is wrong
├── StoreError             (sweep.errors) a results folder is missing, damaged or another sweep's
├── TrialTimeError         (sweep.errors) a trial took longer than its sweep allows
└── ClusterError           (sweep.errors) a cluster cannot be reached, or is not fit to run a sweep
"""


class MopoeError(Exception):
    """The root of the tree; the command line prints its message and exits with status 2."""


class ConfigError(MopoeError, ValueError):
    """A setting has an impossible value."""


class DataError(MopoeError):
    """Input data is missing, damaged or of another shape than said."""


class CheckpointError(MopoeError):
    """A checkpoint is missing, damaged or belongs to another model."""


class DivergedError(MopoeError):
    """The loss or a gradient is no longer a finite number."""
