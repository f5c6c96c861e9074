"""What must hold between the keys of a sweep's file, each of which is valid for itself."""

from typing import Any, get_args

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS
from mopoe.errors import ConfigError
from mopoe.evaluation_config import FinalMetric
from mopoe.quantities import KINDS, final_metric, kind_of, metric_of, sizes_of
from mopoe.reports import NEED_LABELS
from mopoe.wording import unknown_key
from sweep.config.keys import SweepKeys
from sweep.config.messages import problem, problems_at
from sweep.config.objectives import names
from sweep.config.parameters import Choice, Int, Parameter, middle
from sweep.config.space import Space

MAX_GRID = 10**6
"""Points of the largest grid: their order is drawn at once."""


def check(spec: SweepKeys) -> None:
    """Refuse keys that contradict each other or the data set, with the path of the one to change."""
    _check_objectives(spec)
    _check_evaluation(spec)
    twice = next((name for name in spec.search_space if name in spec.fixed), None)
    if twice:
        raise problem(f"{twice!r} is also under `fixed`; keep one of the two", "search_space", twice)
    if spec.replicates.folds and spec.data.name in DATA_SETS and spec.data.name != "tables":
        why = f"folds are of tables or data of your own, but the splits of {spec.data.name!r} are given"
        raise problem(why, "replicates", "folds")
    _check_settings(spec)
    _check_scheduler(spec)
    if spec.sampler == "grid":
        _check_grid(spec)
    for name, parameter in spec.search_space.items() if spec.sampler == "gp" else ():
        if isinstance(parameter, Int) and parameter.size > MAX_GRID:
            most = f"sampler gp enumerates them and takes at most {MAX_GRID}; raise step, or use sampler tpe"
            raise problem(f"{name} has {parameter.size} values, but {most}", "search_space", name)


def _check_objectives(spec: SweepKeys) -> None:
    """Refuse objectives that this data set has not, or whose corner is not the reference point."""
    objectives = names(spec.objectives)
    if len(spec.modalities) == 1 and "conditional_coherence" in objectives:
        why = "'conditional_coherence' generates a modality from others, but the data set has only one"
        raise problem(why, "objectives")
    for i, name in enumerate(objectives):
        _check_measured(spec, name, "objectives", i)
    for name in spec.constraints:
        _check_measured(spec, name, "constraints", name)
    for name in objectives:
        if name not in spec.reference_point:
            raise problem(f"key {name!r} is missing; every objective has one", "reference_point", name)
    for name, value in spec.reference_point.items():
        if name not in objectives:
            raise problem(unknown_key(name, objectives), "reference_point", name)
        most = 1 if kind_of(name) and "coherence" in name else 1e12
        if abs(value) > most:
            must = f"must be between {-most:g} and {most:g}"
            raise problem(f"{name} is {value:g}, but {must}", "reference_point", name)


def _check_measured(spec: SweepKeys, name: str, *at: str | int) -> None:
    """Refuse a quantity that the evaluation is not asked for."""
    final, asked = final_metric(name), spec.evaluation.final_metrics
    if final is not None and final not in asked:
        line = f"final_metrics: [{', '.join((*asked, final))}]"
        raise problem(f"{name!r} is a final metric; add `{line}` under `evaluation`", *at)
    sizes, left = spec.evaluation.subset_sizes, sizes_of(name, spec.modalities) - {0}
    if sizes and kind_of(name) and final in (None, "frechet", "fid") and not left <= {*sizes}:
        why = f"evaluation.subset_sizes is {list(sizes)}"
        raise problem(f"{name!r} is of subsets of {min(left - {*sizes})} modalities, but {why}", *at)


def check_labels(spec: SweepKeys, n_classes: int) -> None:
    """Refuse what compares with labels if the data set has none, which only loading it tells.

    Raises:
        ConfigError: names what is asked for, and what is possible.
    """
    asked = (*names(spec.objectives), *spec.evaluation.final_metrics, *spec.constraints)
    if not n_classes and (needing := [name for name in asked if metric_of(name) in NEED_LABELS]):
        known = KINDS, get_args(FinalMetric)
        objectives, final = (", ".join(n for n in every if n not in NEED_LABELS) for every in known)
        raise ConfigError(
            f"the sweep asks for {needing[0]}, which compares with labels, but the data set has none; "
            f"without labels objectives may be: {objectives}; and final_metrics: {final}"
        )


def _check_evaluation(spec: SweepKeys) -> None:
    """Refuse sizes of observed subsets that the data set has not, or that leave no target."""
    m, whole = len(spec.modalities), spec.evaluation
    for at, amounts in ((("evaluation",), whole), (("evaluation", "intermediate"), whole.intermediate)):
        sizes = amounts.subset_sizes
        if sizes and not (max(sizes) <= m and min(sizes) < max(2, m)):
            must = f"must hold sizes from 1 to {m}, at least one below {m}, so that a target is left"
            raise problem(f"subset_sizes is {list(sizes)}, but {must}", *at, "subset_sizes")


def _check_settings(spec: SweepKeys) -> None:
    """Refuse constants and searched settings that contradict each other, at the first that does."""
    with problems_at("fixed"):
        TrialConfig.from_dict(spec.fixed)
    above: dict[str, Parameter] = {}
    for name, parameter in spec.search_space.items():
        above[name] = parameter
        _check_values(spec, Space(above, spec.modalities), name)
    for name in above:
        _check_values(spec, spec.space, name)


def _check_values(spec: SweepKeys, space: Space, name: str) -> None:
    """Refuse a value of a parameter that contradicts the constants or the others of a space."""
    parameter = spec.search_space[name]
    values = parameter.values if isinstance(parameter, Choice) else (middle(parameter, spec.modalities),)
    for i, value in enumerate(values):
        at = ("values", i) if isinstance(parameter, Choice) else ()
        with problems_at("search_space", name, *at):
            spec.trial_config(space.complete({name: value, **_needed(spec, name)}))


def _needed(spec: SweepKeys, name: str) -> dict[str, Any]:
    """Return the settings under which a parameter exists."""
    when = dict(spec.search_space[name].when or {})
    for other in list(when):
        when |= _needed(spec, other)
    return when


def _check_scheduler(spec: SweepKeys) -> None:
    """Refuse a scheduler that could not stop any trial."""
    scheduler, rungs = spec.scheduler, spec.rungs
    with problems_at("scheduler", "objective"):
        compared = scheduler.compared(spec.objectives)
    if scheduler.type == "none":
        return
    for name in names(compared):
        if final_metric(name) is not None:
            last = f"{name} is measured after the last epoch alone"
            raise problem(f"{scheduler.type} compares trials at rungs, but {last}", "scheduler", "type")
    if not rungs:
        least = f"but trials have {spec.epochs_max} epochs and a rung must lie below"
        raise problem(f"grace is {scheduler.grace}, {least}", "scheduler", "grace")
    if scheduler.brackets > len(rungs):
        why = f"brackets is {scheduler.brackets}, but rungs are at: {', '.join(map(str, rungs))}"
        raise problem(why, "scheduler", "brackets")


def _check_grid(spec: SweepKeys) -> None:
    """Refuse a grid that is endless, too large to shuffle or smaller than the number of trials."""
    if spec.space.conditional:
        raise problem("sampler is 'grid', but a grid does not support `when`", "sampler")
    for name, parameter in spec.search_space.items():
        if not isinstance(parameter, Choice | Int):
            kind = f"type is {parameter.type!r}, but a grid needs int or choice"
            raise problem(kind, "search_space", name, "type")
    size = spec.space.size
    if spec.trials > size:
        raise problem(f"trials is {spec.trials}, but the grid has {size} points", "trials")
    if size > MAX_GRID:
        raise problem(f"the grid has {size} points, but at most {MAX_GRID} are possible", "search_space")
