"""Which trial of a sweep comes next: one that was cut off, a further seed of a config, a new config."""

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from itertools import chain

from sweep.config.sweep_spec import SweepSpec
from sweep.search.front import Front
from sweep.search.outcome import Ended, replicate_name, split_name


class Next(Enum):
    """What comes next if it is no trial of a config there is."""

    NEW_CONFIG = "a config to be suggested"
    WAIT = "what runs now decides"
    END = "nothing"


class Agenda:
    """The trials of a sweep by where they stand; a step costs the same however many there are.

    Args:
        spec: the sweep: how many configs it has, and which of them get how many seeds.
        ended: trials in their final state.
        running: trials that run now.
        cut_off: trials that began, but neither ended nor run.
    """

    def __init__(
        self,
        spec: SweepSpec,
        ended: Iterable[Ended] = (),
        running: Iterable[str] = (),
        cut_off: Iterable[str] = (),
    ) -> None:
        self._spec = spec
        self.front = Front(spec.objectives, spec.reference_point)
        self._begun: set[str] = set()
        self._configs: set[str] = set()
        self._running: dict[str, None] = {}
        self._cut_off = dict.fromkeys(cut_off)
        self._missing: dict[str, None] = {}
        self._n_configs = spec.n_configs
        self.halted = False
        """Whether no further trial is to begin; those that run go on."""
        for name in running:
            self.begin(name)
        for trial in ended:
            self.begin(trial.trial_id)
            self.end(trial)

    @property
    def running(self) -> Collection[str]:
        """Return the trials that run now."""
        return self._running.keys()

    def begin(self, name: str) -> None:
        """Note that a trial runs."""
        self._cut_off.pop(name, None)
        self._missing.pop(name, None)
        self._begun.add(name)
        self._running[name] = None
        config, _ = split_name(name)
        if config not in self._configs:
            self._configs.add(config)
            if self._spec.replicates.when == "all":
                self._missing |= dict.fromkeys(self._lacking(config))

    def give_back(self, name: str) -> None:
        """Note that a trial was to begin but did not: it comes again."""
        del self._running[name]
        self._cut_off[name] = None

    def end(self, trial: Ended) -> None:
        """Note how a trial ended."""
        del self._running[trial.trial_id]
        self.front.add(trial)
        if self._spec.replicates.when == "survivors" and trial.status == "completed":
            self._missing |= dict.fromkeys(self._lacking(split_name(trial.trial_id)[0]))

    def next_trial(self) -> str | Next:
        """Return the trial to start next."""
        if self.halted:
            return Next.WAIT if self._running else Next.END
        if name := next(chain(self._cut_off, self._missing_now()), None):
            return name
        if len(self._configs) < self._n_configs:
            return Next.NEW_CONFIG
        return Next.WAIT if self._running else Next.END

    @property
    def total(self) -> int:
        """Return how many trials there are by what is known now; but for `all`, more may follow."""
        to_come = max(0, self._n_configs - len(self._configs))
        per_config = self._spec.replicates.seeds if self._spec.replicates.when == "all" else 1
        return len(self._begun) + len(self._missing_now()) + to_come * per_config

    def lacks(self, config: str) -> bool:
        """Return whether a trial of a config runs, was cut off or is missing."""
        names = [replicate_name(config, r) for r in range(self._spec.replicates.seeds)]
        if any(name in self._running or name in self._cut_off for name in names):
            return True
        missing = self._missing_now()
        return any(name in missing for name in names)

    @property
    def front_may_move(self) -> bool:
        """Return whether a config on the front has a seed to come, which may uncover what it dominates."""
        later = self._spec.replicates.when == "front"
        return any(self.lacks(config) or (later and self._lacking(config)) for config in self.front.configs)

    def _missing_now(self) -> Collection[str]:
        if self._spec.replicates.when != "front":
            return self._missing
        # Until every config has had its first seed, the front is not known.
        if len(self._configs) < self._n_configs or self._configs & self._running.keys():
            return ()
        return [name for config in sorted(self.front.configs) for name in self._lacking(config)]

    def _lacking(self, config: str) -> Sequence[str]:
        names = (replicate_name(config, r) for r in range(self._spec.replicates.seeds))
        return [name for name in names if name not in self._begun]
