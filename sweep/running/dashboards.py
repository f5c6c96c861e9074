"""Optional windows on a running sweep for other people's programs. They are written, never read."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mopoe.errors import shown
from mopoe.reports import EpochReport
from sweep.config.sweep_spec import SweepSpec

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from tensorboardX import SummaryWriter

    from sweep.search.trial import ConfigResult


class StudyMirror:
    """Copies what the sweep's study is told into a study on disk that optuna-dashboard opens.

    Every run makes the study on disk anew. The first failure is one warning; nothing is written after it.

    Args:
        storage: a database URL such as sqlite:///sweep.db, or a file for Optuna's journal.
        study_name: the study's name; one of that name is replaced.
        spec: the sweep.
        past: its configs so far; those that have ended are copied at once.
        say: called with the warning.
    """

    def __init__(
        self,
        storage: str,
        study_name: str,
        spec: SweepSpec,
        past: Sequence["ConfigResult"],
        say: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._spec = spec
        self._say = say
        self._study: Any = None
        self._try(lambda: self._create(study_name))
        for config in past:
            if config.status != "running":
                self.add(config)

    def add(self, config: "ConfigResult") -> None:
        """Add a config that has ended, with the mean objectives of its seeds."""
        if self._study is not None:
            self._try(lambda: self._add(config))

    def _create(self, study_name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self._storage)
        if study_name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=study_name, storage=storage)
        directions = [o.direction for o in self._spec.objectives]
        self._study = optuna.create_study(storage=storage, study_name=study_name, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([o.name for o in self._spec.objectives])

    def _add(self, config: "ConfigResult") -> None:
        from sweep.search.study import frozen_trial

        spec = self._spec
        trial = frozen_trial(config, spec, spec.space.distributions())
        if config.began and config.ended:  # Optuna's times are local and have no zone
            trial.datetime_start, trial.datetime_complete = (
                time.astimezone().replace(tzinfo=None) for time in (config.began, config.ended)
            )
        if len(spec.objectives) == 1:  # of several, Optuna has none
            trial.intermediate_values = dict(config.curve)
        # Where the dashboard looks for them; Optuna's samplers look elsewhere since version 5.
        trial.system_attrs["constraints"] = list(trial.constraints.values())
        self._study.add_trial(trial)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever a database raises, the sweep goes on
            self._study = None
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._say(shown(f"warning: the study is no longer copied to {self._storage} ({why})"))


def open_storage(name: str) -> "str | BaseStorage":
    """Return Optuna's storage of a database URL, or of a file for its journal."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return name if "://" in name else JournalStorage(JournalFileBackend(name))


def write_epoch(writer: "SummaryWriter", report: EpochReport) -> None:
    """Write the losses of an epoch for TensorBoard, and its objectives if it was evaluated."""
    found = {name: getattr(report, name) for name in ("loss", "elbo", "kl", "grad_norm", "lr")}
    found |= {f"reconstruction/{name}": value for name, value in report.reconstruction.items()}
    if report.evaluation is not None:
        found |= {f"objective/{name}": value for name, value in report.evaluation.objectives.items()}
    for name, value in found.items():
        writer.add_scalar(name, value, report.epoch)
