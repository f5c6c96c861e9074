"""Which trial of a sweep comes next: one that was cut off, a further seed of a config, a new config. Pure."""

from collections.abc import Collection, Iterator, Sequence
from enum import Enum

from sweep.analysis.fronts import front_mask
from sweep.search.outcome import Ended, completed_points, replicate_name, split_name
from sweep.spec.sweep_spec import SweepSpec


class Next(Enum):
    """What comes next if it is no trial of a config there is."""

    NEW_CONFIG = "a config to be suggested"
    WAIT = "what runs now decides"
    END = "nothing"


def next_trial(
    spec: SweepSpec, ended: Sequence[Ended], running: Collection[str] = (), cut_off: Sequence[str] = ()
) -> str | Next:
    """Return the trial to start next.

    Args:
        spec: the sweep: how many configs it has, and which of them get how many seeds.
        ended: trials in their final state.
        running: trials that run now.
        cut_off: trials that began, but neither ended nor run.
    """
    if cut_off:
        return cut_off[0]
    if missing := next(missing_trials(spec, ended, running), None):
        return missing
    if len(_configs(ended, running)) < spec.trials:
        return Next.NEW_CONFIG
    return Next.WAIT if running else Next.END


def trials_in_all(spec: SweepSpec, ended: Sequence[Ended], running: Collection[str]) -> int:
    """Return how many trials the sweep has by what is known now; but with `all`, more may follow."""
    to_come = max(0, spec.trials - len(_configs(ended, running)))
    per_config = spec.replicates.seeds if spec.replicates.when == "all" else 1
    return len(ended) + len(running) + len([*missing_trials(spec, ended, running)]) + to_come * per_config


def missing_trials(spec: SweepSpec, ended: Sequence[Ended], running: Collection[str]) -> Iterator[str]:
    """Give the trials that known configs lack by what is known now, config by config."""
    begun = {trial.trial_id for trial in ended} | set(running)
    configs = _configs(ended, running)
    match spec.replicates.when:
        case "all":
            due = configs
        case "survivors":
            due = {split_name(t.trial_id)[0] for t in ended if t.status == "completed"}
        case "front":
            found = completed_points(ended, spec.objectives)
            on_front = {t for t, on in zip(found.trial_ids, front_mask(found), strict=True) if on}
            # Until every config has had its first seed, the front is not known.
            spent = len(configs) >= spec.trials and not configs & set(running)
            due = {split_name(t)[0] for t in on_front} if spent else set()
    for config in sorted(due):
        names = (replicate_name(config, r) for r in range(spec.replicates.seeds))
        yield from (name for name in names if name not in begun)


def _configs(ended: Sequence[Ended], running: Collection[str]) -> set[str]:
    return {split_name(name)[0] for name in (*(trial.trial_id for trial in ended), *running)}
