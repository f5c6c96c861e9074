"""The searcher that Ray Tune sees: makes trials, with several seeds each, of the study's configs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from sweep.config.sweep_spec import SweepSpec
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult, SuggestedTrial

if TYPE_CHECKING:
    from optuna.study import Study


class SweepSearcher(Searcher):
    """Suggests trials, as `SuggestedTrial` gives them to Ray, in the order of the sweep's state.

    How a trial ended is judged once, by the recorder. The study knows configs only: it is told a config's
    result, the mean over its completed seeds, as soon as none of its seeds runs or is missing.

    Args:
        spec: the sweep.
        state: its trials by where they stand, which the recorder keeps.
        warm: configs of other sweeps, to learn from only.
        ahead: whether to ask in the background, as soon as it is known that a suggestion will be wanted.
    """

    def __init__(
        self,
        spec: SweepSpec,
        state: SweepState,
        *,
        warm: Sequence[ConfigResult] = (),
        ahead: bool = False,
    ) -> None:
        super().__init__()
        self._state = state
        self._configs = ConfigStudy(spec, state.results, warm)
        if ahead:
            self._configs.ask_in_background()
            self._ask_ahead()

    @property
    def study(self) -> "Study":
        """The Optuna study, for reading."""
        return self._configs.study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override] # noqa: ARG002 - FINISHED is a str
        """Return the next trial, None if there is none for now, or FINISHED."""
        trial = self._state.next_action()
        if isinstance(trial, SuggestedTrial) and trial.trial_id == self._state.next_config:
            self._configs.take(trial.suggestion)
        if trial is Action.NEW_CONFIG:
            suggestion = self._configs.ask(self._state.next_config)
            trial = Action.WAIT if suggestion is None else self._state.first_trial(suggestion)
        if isinstance(trial, Action):
            return self.FINISHED if trial is Action.END else None
        self._state.begin(trial)
        return trial.to_ray()

    def tell(self, config: ConfigResult) -> None:
        """Tell the study what has become of a config."""
        self._configs.tell(config)
        self._ask_ahead()

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's interface
    ) -> None:
        """Do nothing: Ray calls it before the recorder has judged the trial; see `tell`."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: a sweep goes on from its Parquet tables, never from a pickled searcher."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing; see `save`."""
        return {}

    def _ask_ahead(self) -> None:
        if self._state.next_action() is Action.NEW_CONFIG:
            self._configs.ask_ahead()
