"""`halving` behind Ray Tune's public scheduler interface: stops trials at rungs, on the record."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweep.config.objectives import names
from sweep.config.sweep_spec import SweepSpec
from sweep.search.halving import Decision, Vector, decide
from sweep.search.trial import SuggestedTrial, TrialReport, split_name
from sweep.store.records import EventRecord


class HalvingScheduler(FIFOScheduler):
    """Decides about every trial once at each of its rungs, when it comes there.

    A trial's bracket depends on the seed and its name alone, so that it has the same one in a later run.

    Args:
        spec: the sweep; its seed fixes the brackets.
        on_decision: called with every decision, which is about the first attempt unless changed there.
        recorded: objectives of earlier runs by trial and epoch.
        unwanted: called with a trial's name and each of its reports; whether it is to end there.
    """

    def __init__(
        self,
        spec: SweepSpec,
        on_decision: Callable[[EventRecord], None],
        recorded: Mapping[str, Mapping[int, Vector]] | None = None,
        unwanted: Callable[[str, TrialReport], bool] = lambda *_: False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Ray's has no annotations
        self._sweep = spec
        self._spec = spec.scheduler
        self._objectives = self._spec.compared(spec.objectives)
        self._on_decision = on_decision
        self._unwanted = unwanted
        self._rungs: dict[tuple[int, int], dict[str, Vector]] = defaultdict(dict)
        self._decided: set[tuple[str, int]] = set()
        mine = [spec.objectives.index(objective) for objective in self._objectives]
        for trial_id, vectors in (recorded or {}).items():
            if self._spared(trial_id):
                continue
            for epoch, vector in vectors.items():
                self._rungs[self.bracket(trial_id), epoch][trial_id] = tuple(vector[i] for i in mine)

    def bracket(self, trial_id: str) -> int:
        """Return a trial's bracket: s with a probability in proportion to eta^-s."""
        share = float(self._spec.eta) ** -np.arange(self._spec.brackets)
        random = np.random.default_rng([self._sweep.seed, *trial_id.encode()])
        return int(random.choice(len(share), p=share / share.sum()))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002 - Ray's interface
        """Return whether a trial goes on after a report."""
        suggested, report = SuggestedTrial.from_ray(trial.config), TrialReport.from_ray(result)
        ends = self.on_report(suggested, report) == "stop" or self._unwanted(suggested.trial_id, report)
        return str(TrialScheduler.STOP if ends else TrialScheduler.CONTINUE)

    def on_report(self, trial: SuggestedTrial, report: TrialReport) -> Decision:
        """Return whether a trial goes on after a report; without objectives, or off the rungs, it does."""
        trial_id, epoch = trial.trial_id, report.epoch or 0
        known = self._spared(trial_id) or (trial_id, epoch) in self._decided
        vector = report.values(self._objectives)
        if known or not set(names(self._objectives)) & (report.objectives or {}).keys():
            return "continue"
        bracket, budget = self.bracket(trial_id), self._sweep.full_budget(trial.suggestion)
        # Kept for later trials also if this one has a budget that ends here.
        recorded = self._rungs[bracket, epoch]
        recorded[trial_id] = vector
        rungs = self._spec.rungs(budget, bracket)
        if epoch not in rungs:
            return "continue"
        self._decided.add((trial_id, epoch))
        keep = 2 if self._spec.type == "median" else self._spec.eta
        found = decide(trial_id, recorded, [o.maximize for o in self._objectives], keep)
        share = f"{found.ahead} of {found.compared_to} others ahead; the best 1/{keep} continue"
        self._on_decision(
            EventRecord(
                trial_id=trial_id,
                epoch=epoch,
                kind="rung",
                at=datetime.now(UTC),
                bracket=bracket,
                rung=rungs.index(epoch),
                decision=found.decision,
                reason=f"epoch {epoch}: {share if np.isfinite(vector).all() else 'not a finite number'}",
                front_rank=found.rank,
                ahead=found.ahead,
                compared_to=found.compared_to,
                objectives=dict(zip(names(self._objectives), vector, strict=True)),
            )
        )
        return found.decision

    def _spared(self, trial_id: str) -> bool:
        """Return whether a trial is never stopped, nor compared with.

        A seed that a config has earned by its front or its full budget runs to the end.
        """
        return self._sweep.replicates.when != "all" and split_name(trial_id)[1] > 0

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: a sweep goes on from its tables, never from a pickled scheduler."""
        return {}
