"""The keys of a sweep's file, and what follows from them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, ValidationInfo

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from mopoe.own_metrics import promises
from mopoe.plugins import named_function
from mopoe.reports import OBJECTIVES
from mopoe.validation import Count
from mopoe.wording import did_you_mean
from sweep.config.constraints import Constraints, Limit, limit
from sweep.config.messages import Name, problem, problems_at
from sweep.config.objectives import Objective, Objectives, names
from sweep.config.parameters import Choice, Int, Parameter
from sweep.config.schema import (
    BudgetSpec,
    DataSpec,
    FaultsSpec,
    ReplicatesSpec,
    ResourcesSpec,
    SchedulerSpec,
    StrictModel,
)
from sweep.config.settings import SETTINGS, by_name, check_fixed, check_search_space, check_start_with
from sweep.config.space import Space, Suggestion

SAMPLERS = ("tpe", "gp", "nsga2", "nsga3", "random", "qmc", "grid")
"""The samplers of Optuna that have a name here, and the grid."""
RENAMED = {"at_rungs": "intermediate", "extras": "final_metrics"}
"""Keys of `evaluation` by their names before 0.1.0; a file may still have them."""


def _renamed(given: Any) -> Any:
    return {RENAMED.get(k, k): v for k, v in given.items()} if isinstance(given, dict) else given


def _kept(evaluation: EvaluationConfig, info: ValidationInfo) -> EvaluationConfig:
    """Return the evaluation, if its metrics promise numbers; a results folder is not asked."""
    if not info.context:
        with problems_at("metrics"):
            promises(evaluation.metrics)
    return evaluation


def _known(sampler: str, info: ValidationInfo) -> str:
    """Return the sampler, if there is one of that name, or such a function; a results folder is not asked."""
    if ":" not in sampler and sampler not in SAMPLERS:
        possible = did_you_mean(sampler, (*SAMPLERS, "module:function"))
        raise problem(f"sampler is {sampler!r}; {possible}")
    if ":" in sampler and not info.context:
        try:
            named_function(sampler)
        except ConfigError as error:
            raise problem(f"sampler {sampler!r} {error}") from None
    return sampler


class SweepKeys(StrictModel):
    """A sweep: which trials to run, on what, and what to measure."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="made of letters, digits, '.', '_' and '-', as it names a folder",
        ),
    ]
    """The sweep's name; its results are in results/<name> unless said otherwise."""
    data: DataSpec
    """The data set and its options."""
    trials: Count
    """Number of trials."""
    budget: BudgetSpec = BudgetSpec()
    """How long the whole sweep may run; it ends with fewer trials if that comes first."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of the sampler."""
    sampler: Annotated[
        str,
        Field(description=f"one of {', '.join(SAMPLERS)}, or a function, as module:function"),
        AfterValidator(_known),
    ] = "tpe"
    """How the next config is chosen, by Optuna's sampler of that name, or by one that your function returns.

    tpe: a tree-structured Parzen estimator of all parameters together; the first trials are random.
    gp: a Gaussian process, which learns more from few trials but takes seconds per choice.
    nsga2: a genetic algorithm for two or three objectives and hundreds of trials.
    nsga3: a genetic algorithm for more objectives.
    random: independent draws.
    qmc: scrambled quasi-random points, which cover the space more evenly than random ones.
    grid: every combination of values, in random order; it needs parameters of type int or choice.

    A function of yours returns any sampler of Optuna or OptunaHub; it is marked `@mopoe.plugin` and takes a
    seed and a `sweep.SamplerContext`.
    """
    evaluation: Annotated[EvaluationConfig, BeforeValidator(_renamed), AfterValidator(_kept)] = (
        EvaluationConfig()
    )
    """What is measured on held-out data."""
    objectives: Objectives = (Objective(name="conditional_coherence"), Objective(name="log_likelihood"))
    """What is optimised, in the order of the reports.

    A name is enough, since every quantity has its direction:

        objectives: [conditional_coherence, frechet]
        reference_point: {conditional_coherence: 0.1, frechet: 500}
        evaluation: {final_metrics: [frechet]}
    """
    reference_point: Mapping[Name, FiniteFloat]
    """One number per objective: the corner that fronts are measured from.

    It lies below the useful values of an objective that is maximised, above those of one that is minimised;
    what lies beyond the corner does not count.
    """
    search_space: Annotated[
        Mapping[Name, Parameter],
        Field(min_length=1, description="a mapping of settings to parameters"),
        BeforeValidator(by_name),
        AfterValidator(check_search_space),
    ]
    """The searched settings, each with the kind of parameter it is."""
    fixed: Annotated[Mapping[Name, Any], AfterValidator(check_fixed)] = Field(default_factory=dict)
    """The settings that are the same for every trial; what is neither here nor searched is at its default."""
    scheduler: SchedulerSpec = SchedulerSpec()
    """Which trials are stopped early; by default none, as only full budgets make an honest front."""
    constraints: Constraints = Field(default_factory=dict)
    """Limits on what a trial measures, by the names that objectives have.

    A config whose mean over its seeds misses a limit is infeasible and not on the front; so is, for itself,
    a trial. The number itself is allowed:

        constraints: {parameters: "<= 20e6", joint_coherence: ">= 0.1"}
    """
    start_with: Annotated[
        tuple[Mapping[Name, Any], ...], Field(strict=False), AfterValidator(check_start_with)
    ] = ()
    """Points of the search space to try first.

    A setting that a point leaves out is at the middle of its range:

        start_with: [{beta: 2.5, latent_dim: 64}, {subset_weights: [0, 0, 0, 0, 1]}]
    """
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Results folders of earlier sweeps, whose trials the sampler learns from."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial takes of the machine."""
    replicates: ReplicatesSpec = ReplicatesSpec()
    """Which configs are trained with several seeds."""
    faults: FaultsSpec = FaultsSpec()
    """How much may go wrong before a trial, or the sweep, is given up."""
    keep: Literal["front", "all", "none"] = "front"
    """Which trials' weights stay when the sweep has ended.

    front: those of the configs on the front.
    all: those of every completed trial.
    none: no trial's.
    """

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the data set's modalities, in the order of the bits of a subset mask."""
        return self.data.modalities

    @property
    def space(self) -> Space:
        """Return the search space, translated for Optuna."""
        return Space(self.search_space, self.modalities)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Return what trials record for this sweep alone: what it optimises or limits, of the rest."""
        columns = [name for name in self.constraints if name not in ("parameters", "seconds")]
        wanted = dict.fromkeys((*names(self.objectives), *columns))
        return tuple(name for name in wanted if name not in OBJECTIVES)

    @property
    def n_configs(self) -> int:
        """Return the number of configs: as many as trials are asked for, or all that the space has."""
        return int(min(self.trials, self.space.size))

    @property
    def epochs_max(self) -> int:
        """Return the full budget of the longest trial, in epochs."""
        match self.search_space.get("epochs"):
            case Int(high=high):
                return high
            case Choice(values=values):
                return int(max(values))
        return int(self.fixed.get("epochs", SETTINGS["epochs"]))

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the epochs at which the scheduler compares trials, those of all brackets together."""
        return self.scheduler.rungs(self.epochs_max)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Return the constraints."""
        return tuple(limit(name, text) for name, text in self.constraints.items())

    @property
    def known_points(self) -> list[Suggestion]:
        """Return the suggestions of `start_with`."""
        return [self.space.suggestion(self.space.complete(point)) for point in self.start_with]

    def full_budget(self, suggestion: Suggestion) -> int:
        """Return the full budget of a suggested trial, in epochs."""
        return self.trial_config(self.space.settings(suggestion)).epochs

    def trial_config(self, settings: Mapping[str, Any]) -> TrialConfig:
        """Return a trial's config: the constants, then these settings; ConfigError if impossible."""
        return TrialConfig.from_dict({**self.fixed, **settings})
