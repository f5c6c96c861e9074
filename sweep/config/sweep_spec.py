"""The YAML file of a sweep as a validated object."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from mopoe.methods import LISTS, check_length
from search_spaces import Document, find, load_yaml, split_assignment, unknown_key
from sweep.config.constraints import Limit, limit
from sweep.config.messages import SETTINGS, sentence
from sweep.config.objectives import Objective, check_objectives, names
from sweep.config.parameters import Choice, Int, Parameter, StrictModel, middle, problem, problems_at
from sweep.config.parts import (
    DataSpec,
    SchedulerSpec,
    check_constraints,
    check_fixed,
    check_search_space,
    check_start_with,
    fill_evaluation,
    setting,
)
from sweep.config.schema import FaultsSpec, ReplicatesSpec, ResourcesSpec
from sweep.config.space import Space, Suggestion
from sweep.errors import SpecError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""The name of a sweep, which names a folder."""
FREE = ("name", "trials", "resources", "replicates", "faults", "keep")
"""Keys that may change between two runs of one sweep: no trial's numbers depend on them."""
MAX_GRID = 10**6
"""Points of the largest grid: their order is drawn at once."""


class SweepSpec(StrictModel):
    """A sweep: which trials to run, on what, and what to measure."""

    name: Annotated[str, Field(pattern=NAME)]
    """The sweep's name; its results are in results/<name> unless said otherwise."""
    data: DataSpec
    """The data set and its options."""
    trials: int = Field(ge=1, le=1_000_000)
    """Number of trials."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sampler."""
    sampler: Literal["tpe", "gp", "nsga2", "nsga3", "random", "qmc", "grid"] = "tpe"
    """How the next trial is chosen."""
    objectives: Annotated[
        tuple[Objective, ...], Field(strict=False, min_length=1), AfterValidator(check_objectives)
    ] = (Objective(name="conditional_coherence"), Objective(name="log_likelihood"))
    """The quantities to optimise, each a name, which is maximised, or `{name: ..., direction: minimize}`."""
    reference_point: Mapping[str, float]
    """One number per objective: the corner that fronts are measured from; what is below it does not count."""
    search_space: Annotated[Mapping[str, Parameter], Field(min_length=1), AfterValidator(check_search_space)]
    """The searched parameters by name of the `TrialConfig` field."""
    fixed: Annotated[Mapping[str, Any], AfterValidator(check_fixed)] = Field(default_factory=dict)
    """Settings held constant, by name of the `TrialConfig` field."""
    evaluation: Annotated[EvaluationConfig, BeforeValidator(fill_evaluation)] = EvaluationConfig()
    """What is measured on held-out data."""
    scheduler: SchedulerSpec = SchedulerSpec()
    """Which trials are stopped early; none unless said so: only full budgets make an honest front."""
    constraints: Annotated[Mapping[str, str], AfterValidator(check_constraints)] = Field(default_factory=dict)
    """Limits on measured quantities; a trial that misses one is infeasible and not on the front."""
    start_with: Annotated[
        tuple[Mapping[str, Any], ...], Field(strict=False), AfterValidator(check_start_with)
    ] = ()
    """Points to try first; what one leaves out is at the middle of its range."""
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Results folders of earlier sweeps, whose trials the sampler learns from."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial takes of the machine."""
    replicates: ReplicatesSpec = ReplicatesSpec()
    """Which configs are trained with several seeds."""
    faults: FaultsSpec = FaultsSpec()
    """What a trial may do wrong before it is given up."""
    keep: Literal["front", "all", "none"] = "front"
    """Whose weights stay: those of configs on the front, of every completed trial, or of none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_objectives()
        twice = next((name for name in self.search_space if name in self.fixed), None)
        if twice:
            raise problem(f"{twice!r} is also under `fixed`; keep one of the two", "search_space", twice)
        for name in LISTS:
            self._check_lengths(name)
        for at, sizes in (
            ((), self.evaluation.subset_sizes),
            (("at_rungs",), self.evaluation.at_rungs.subset_sizes),
        ):
            if sizes and not (max(sizes) <= self.n_modalities and min(sizes) < max(2, self.n_modalities)):
                raise problem(
                    f"subset_sizes is {list(sizes)}, but must hold sizes from 1 to {self.n_modalities}, "
                    "one of them smaller, so that a target is left",
                    "evaluation",
                    *at,
                    "subset_sizes",
                )
        self._check_together()
        self._check_scheduler()
        if self.sampler == "grid":
            self._check_grid()
        for name, parameter in self.search_space.items() if self.sampler == "gp" else ():
            if isinstance(parameter, Int) and parameter.size > MAX_GRID:
                wide = f"{name} has {parameter.size} values, but gp looks at each; at most {MAX_GRID}"
                raise problem(f"{wide}; raise step, or take tpe", "search_space", name)
        return self

    def _check_objectives(self) -> None:
        """Refuse objectives that this data set has not, or whose corner is not the reference point."""
        if self.n_modalities == 1 and "conditional_coherence" in names(self.objectives):
            why = "'conditional_coherence' generates a modality from others, but the data set has only one"
            raise problem(why, "objectives")
        for name in names(self.objectives):
            if name not in self.reference_point:
                raise problem(f"key {name!r} is missing; every objective has one", "reference_point", name)
        for name, value in self.reference_point.items():
            if name not in names(self.objectives):
                raise problem(unknown_key(name, names(self.objectives)), "reference_point", name)
            most = 1 if name.endswith("coherence") else 1e12
            if abs(value) > most:
                must = f"must be between {-most:g} and {most:g}"
                raise problem(f"{name} is {value:g}, but {must}", "reference_point", name)

    def _check_lengths(self, name: str) -> None:
        """Refuse a list of numbers that has another length than the data set's modalities ask for."""
        searched = self.search_space.get(name)
        places: dict[tuple[str | int, ...], Any] = {("fixed", name): self.fixed.get(name, SETTINGS[name])}
        for i, value in enumerate(searched.values if isinstance(searched, Choice) else ()):
            places["search_space", name, "values", i] = value
        for at, value in places.items():
            with problems_at(*at):
                check_length(name, value, self.n_modalities)

    def _check_together(self) -> None:
        """Refuse constants and searched settings that contradict each other, at the first that does."""
        settings = dict(self.fixed)
        with problems_at("fixed"):
            TrialConfig.from_dict(settings)
        above: list[str] = []
        for name, parameter in self.search_space.items():
            settings[name] = middle(parameter, self.modalities)
            above.append(name)
            self._check_values(name, {n: settings[n] for n in (*self.fixed, *above)})
        for name in above:
            self._check_values(name, settings)

    def _check_values(self, name: str, settings: Mapping[str, Any]) -> None:
        """Refuse a value of a parameter that contradicts the settings, where the parameter exists."""
        parameter = self.search_space[name]
        values = parameter.values if isinstance(parameter, Choice) else (settings[name],)
        for i, value in enumerate(values):
            at = ("values", i) if isinstance(parameter, Choice) else ()
            found = {**settings, name: value, **self._needed(name)}
            active = self.space.active(found)
            with problems_at("search_space", name, *at):
                TrialConfig.from_dict({n: v for n, v in found.items() if n in active or n in self.fixed})

    def _needed(self, name: str) -> dict[str, Any]:
        """Return the settings under which a parameter exists."""
        when = dict(self.search_space[name].when or {})
        for other in list(when):
            when |= self._needed(other)
        return when

    def _check_scheduler(self) -> None:
        """Refuse a scheduler that could not stop any trial."""
        s = self.scheduler
        with problems_at("scheduler", "objective"):
            s.compared(self.objectives)
        if s.type == "none":
            return
        found = self.rungs
        if not found:
            least = f"but trials have {self.epochs_max} epochs and a rung must lie below"
            raise problem(f"grace is {s.grace}, {least}", "scheduler", "grace")
        if s.brackets > len(found):
            epochs = ", ".join(map(str, found))
            raise problem(f"brackets is {s.brackets}, but rungs are at: {epochs}", "scheduler", "brackets")

    def _check_grid(self) -> None:
        """Refuse a grid that is endless, too large to shuffle or smaller than the number of trials."""
        if self.space.conditional:
            raise problem("sampler is 'grid', but a grid has no parameter with `when`", "sampler")
        for name, parameter in self.search_space.items():
            if not isinstance(parameter, Choice | Int):
                kind = f"type is {parameter.type!r}, but a grid needs int or choice"
                raise problem(kind, "search_space", name, "type")
        size = self.space.size
        if self.trials > size:
            raise problem(f"trials is {self.trials}, but the grid has {size} points", "trials")
        if size > MAX_GRID:
            raise problem(f"the grid has {size} points, but may have {MAX_GRID} at most", "search_space")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the data set's modalities, in the order of the bits of a subset mask."""
        return self.data.modalities

    @property
    def n_modalities(self) -> int:
        """Return the number of modalities M."""
        return len(self.modalities)

    @property
    def space(self) -> Space:
        """Return the search space, translated for Optuna."""
        return Space(self.search_space, self.modalities)

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

    def budget(self, suggestion: Suggestion) -> int:
        """Return the full budget of a suggested trial, in epochs."""
        return self.trial_config(self.space.settings(suggestion)).epochs

    def plain(self) -> dict[str, Any]:
        """Return the file's keys with every default filled in, fit for JSON and for `model_validate`."""
        plain = self.model_dump(mode="json")
        for parameter in plain["search_space"].values():
            if parameter["when"] is None:
                del parameter["when"]
        return plain

    @property
    def spec_hash(self) -> str:
        """Return a short hash of what decides a sweep's results: equal hashes may share a results folder.

        Left out are the keys of `FREE`: a label, how many trials there are, and how they are run.
        In it are what a trial's numbers depend on (data, constants with the defaults of `TrialConfig`,
        evaluation), what the sequence of trials depends on (search space, sampler, seed, objectives), and the
        reference point, so that a folder has one measure of progress. Keys that came later count only where
        they are used, so that a folder of before is still known.
        """
        later: dict[str, Any] = {"scheduler": SchedulerSpec().model_dump()}
        later |= {"constraints": {}, "start_with": [], "warm_start": []}
        plain = {k: v for k, v in self.plain().items() if not (k in later and v == later[k])}
        content = {k: v for k, v in plain.items() if k not in FREE}
        constants = TrialConfig.from_dict(self.fixed).to_dict()
        content["fixed"] = {k: v for k, v in constants.items() if k not in self.search_space}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def trial_config(self, settings: Mapping[str, Any]) -> TrialConfig:
        """Return a trial's config: the constants, then these settings; ConfigError if impossible."""
        return TrialConfig.from_dict({**self.fixed, **settings})


def load_spec(path: str | Path, overrides: Mapping[str, str] | Sequence[str] = ()) -> SweepSpec:
    """Return the sweep that a YAML file, or a shipped one of that name, describes.

    Overrides replace values of the file: `trials=30` or `evaluation.every=2`, the value read as YAML.

    Raises:
        SpecError: the file or an override is wrong; up to three lines, one sentence each, starting with the
            place in the file, or with the override.
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={value}" for key, value in overrides.items()]
    try:
        document = load_yaml(find(path))
    except ConfigError as error:
        raise SpecError(str(error)) from None
    return spec_of(document, overrides)


def spec_of(document: Document, overrides: Sequence[str] = (), modalities: tuple[str, ...] = ()) -> SweepSpec:
    """Return the sweep that a document describes; SpecError as for `load_spec`.

    With the names of its modalities the data set is not asked for them: no code of anybody's is run.
    """
    try:
        document = reduce(Document.override, overrides, document)
        return SweepSpec.model_validate(document.data, context=modalities)
    except ConfigError as error:
        raise SpecError(str(error)) from None
    except ValidationError as error:
        # An unknown key is often the cause of a missing one, so it comes first.
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        sections: dict[str, type[BaseModel]] = {
            "": SweepSpec,
            "resources": ResourcesSpec,
            "replicates": ReplicatesSpec,
            "faults": FaultsSpec,
            "scheduler": SchedulerSpec,
        }
        raise SpecError("\n".join(sentence(e, document, sections) for e in found[:3])) from None


def trial_config_for(spec: SweepSpec, assignments: Sequence[str]) -> TrialConfig:
    """Return one trial's config: the constants, the `middle` of each searched parameter, then assignments.

    An assignment such as `beta=2.5` names any setting of a trial and may leave the search space.

    Raises:
        SpecError: an assignment is malformed, names no setting or has an impossible value.
    """
    given: dict[str, Any] = {}
    for text in assignments:
        try:
            name, value = split_assignment(text)
            given[name] = setting(name, value, spec.modalities)
            check_length(name, given[name], spec.n_modalities)
        except (ConfigError, PydanticCustomError) as error:
            raise SpecError(f"{text!r}: {error}") from None
    try:
        return spec.trial_config(spec.space.complete(given))
    except ConfigError as error:
        raise SpecError(str(error)) from None
