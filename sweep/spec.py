"""The YAML file of a sweep as a validated object, and every mistake in it as one sentence with its line."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from mopoe.config import TrialConfig
from mopoe.data.registry import entry
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, Extra, RungConfig
from mopoe.records import OBJECTIVES
from mopoe.subsets import mixture_weights
from search_spaces import Document, did_you_mean, find, load_yaml, show, split_assignment, unknown_key
from sweep.errors import SpecError
from sweep.space import FITTING, Choice, Parameter, Simplex, Space, StrictModel, middle, problem, problems_at

_SETTINGS = {f.name: f.default for f in fields(TrialConfig)}


class DataSpec(StrictModel, extra="allow"):
    """The data set; its options stand beside its name, those not given at their defaults."""

    name: str
    """Name of the data set in the registry."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            return given
        with problems_at("name"):
            found = entry(given["name"])
        values = _like(given, {"name": "", **dict.fromkeys(found.required, ""), **found.options})
        for name, what in found.required.items():
            if name not in given:
                raise problem(f"key {name!r} is missing; {what}", name)
        return values

    @property
    def options(self) -> dict[str, Any]:
        """Return the data set's options by name, for its `load(**options)`."""
        return dict(self.model_extra or {})


def _gpu(value: Any) -> Any:
    good = type(value) in (int, float) and (0 <= value <= 1 or (value > 1 and value % 1 == 0))
    if value != "auto" and not good:
        raise problem(f"gpu is {show(value)}, but must be auto, a share between 0 and 1, or a whole number")
    return value


class ResourcesSpec(StrictModel):
    """What one trial takes of the machine."""

    cpu: float = Field(1.0, gt=0)
    """CPU cores per trial; shares are allowed."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_gpu)] = "auto"
    """GPUs per trial: a share of one, a whole number, or auto to let the sweep decide."""
    concurrent: int | None = Field(None, ge=1)
    """Trials at the same time; null for as many as fit."""


def _objectives(names: tuple[str, ...]) -> tuple[str, ...]:
    for i, name in enumerate(names):
        if name not in OBJECTIVES:
            raise problem(f"unknown objective {name!r}; {did_you_mean(name, OBJECTIVES)}", i)
        if name in names[:i]:
            raise problem(f"{name!r} is there twice; keep one", i)
    return names


def _search_space(space: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
    """Return the space with choices in their setting's type, or say which bound or value is impossible."""
    found: dict[str, Parameter] = {}
    for name, parameter in space.items():
        if name not in _SETTINGS:
            raise problem(unknown_key(name, _SETTINGS), name)
        fitting = FITTING.get(name) or FITTING.get(type(_SETTINGS[name]), ("choice",))
        if parameter.type not in fitting:
            kinds = " or ".join(fitting)
            raise problem(f"type is {parameter.type!r}, but {name} needs {kinds}", name, "type")
        found[name] = parameter
        if isinstance(parameter, Choice):
            values = [_setting(name, value, name, "values", i) for i, value in enumerate(parameter.values)]
            found[name] = Choice(values=tuple(values))
        elif not isinstance(parameter, Simplex):
            for bound in ("low", "high"):
                _setting(name, getattr(parameter, bound), name, bound)
    return found


def _fixed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: _setting(name, value, name) for name, value in values.items()}


def _evaluation(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    values = _amounts(given, EvaluationConfig)
    at_rungs = RungConfig(**_amounts(values["at_rungs"], RungConfig, "at_rungs"))
    return EvaluationConfig(**{**values, "at_rungs": at_rungs})


def _amounts(
    given: Mapping[Any, Any], kind: type[EvaluationConfig] | type[RungConfig], *at: str
) -> dict[str, Any]:
    """Return a section of amounts with its defaults filled in, every value checked where it stands."""
    defaults = {f.name: f.default for f in fields(kind)}
    values = _like(given, {k: {} if isinstance(v, RungConfig) else v for k, v in defaults.items()}, *at)
    for i, name in enumerate(values.get("extras", ())):
        if name not in get_args(Extra):
            raise problem(
                f"unknown extra {show(name)}; {did_you_mean(str(name), get_args(Extra))}", "extras", i
            )
    for name, value in values.items():
        if name != "at_rungs":
            with problems_at(*at, name):
                kind(**{name: value})
    return values


class SweepSpec(StrictModel):
    """A sweep: which trials to run, on what, and what to measure."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The sweep's name; its results are in results/<name> unless said otherwise."""
    data: DataSpec
    """The data set and its options."""
    trials: int = Field(ge=1)
    """Number of trials."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the sampler."""
    sampler: Literal["tpe", "random", "nsga2", "qmc"] = "tpe"
    """How the next trial is chosen."""
    objectives: Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(_objectives)] = (
        "conditional_coherence",
        "log_likelihood",
    )
    """The quantities to maximise."""
    reference_point: Mapping[str, float]
    """One number per objective: the corner that fronts are measured from; what is below it does not count."""
    search_space: Annotated[Mapping[str, Parameter], Field(min_length=1), AfterValidator(_search_space)]
    """The searched parameters by name of the `TrialConfig` field."""
    fixed: Annotated[Mapping[str, Any], AfterValidator(_fixed)] = Field(default_factory=dict)
    """Settings held constant, by name of the `TrialConfig` field."""
    evaluation: Annotated[EvaluationConfig, BeforeValidator(_evaluation)] = EvaluationConfig()
    """What is measured on held-out data."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial takes of the machine."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.objectives:
            if name not in self.reference_point:
                raise problem(f"key {name!r} is missing; every objective has one", "reference_point", name)
        for name in self.reference_point:
            if name not in self.objectives:
                raise problem(unknown_key(name, self.objectives), "reference_point", name)
        twice = next((name for name in self.search_space if name in self.fixed), None)
        if twice:
            raise problem(f"{twice!r} is also under `fixed`; keep one of the two", "search_space", twice)
        with problems_at("fixed", "subset_weights"):
            mixture_weights(self.fixed.get("subset_weights"), self.n_modalities)
        searched = self.search_space.get("subset_weights")
        for i, weights in enumerate(searched.values if isinstance(searched, Choice) else ()):
            with problems_at("search_space", "subset_weights", "values", i):
                mixture_weights(weights, self.n_modalities)
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
        return self

    def _check_together(self) -> None:
        """Refuse constants and searched settings that contradict each other, at the first that does."""
        settings = dict(self.fixed)
        with problems_at("fixed"):
            TrialConfig.from_dict(settings)
        for name, parameter in self.search_space.items():
            settings[name] = middle(parameter, self.n_modalities)
            values = parameter.values if isinstance(parameter, Choice) else (settings[name],)
            for i, value in enumerate(values):
                at = ("values", i) if isinstance(parameter, Choice) else ()
                with problems_at("search_space", name, *at):
                    TrialConfig.from_dict({**settings, name: value})

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the data set's modalities, in the order of the bits of a subset mask."""
        return tuple(modality.name for modality in entry(self.data.name).modalities)

    @property
    def n_modalities(self) -> int:
        """Return the number of modalities M."""
        return len(self.modalities)

    @property
    def space(self) -> Space:
        """Return the search space, translated for Optuna."""
        return Space(self.search_space, self.n_modalities)

    def plain(self) -> dict[str, Any]:
        """Return the file's keys with every default filled in, fit for JSON and for `model_validate`."""
        return self.model_dump(mode="json")

    @property
    def spec_hash(self) -> str:
        """Return a short hash of what decides a sweep's results: equal hashes may share a results folder.

        Left out are `name` (a label), `trials` (more may follow) and `resources` (no number depends on them).
        In it are what a trial's numbers depend on (data, constants with the defaults of `TrialConfig`,
        evaluation), what the sequence of trials depends on (search space, sampler, seed, objectives), and the
        reference point, so that a folder has one measure of progress.
        """
        content = {k: v for k, v in self.plain().items() if k not in ("name", "trials", "resources")}
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
        document = reduce(Document.override, overrides, load_yaml(find(path)))
        return SweepSpec.model_validate(document.data)
    except ConfigError as error:
        raise SpecError(str(error)) from None
    except ValidationError as error:
        # An unknown key is often the cause of a missing one, so it comes first.
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise SpecError("\n".join(_sentence(e, document) for e in found[:3])) from None


def trial_config_for(spec: SweepSpec, assignments: Sequence[str]) -> TrialConfig:
    """Return one trial's config: the constants, the `middle` of each searched parameter, then assignments.

    An assignment such as `beta=2.5` names any setting of a trial and may leave the search space.

    Raises:
        SpecError: an assignment is malformed, names no setting or has an impossible value.
    """
    settings = {name: middle(parameter, spec.n_modalities) for name, parameter in spec.search_space.items()}
    for text in assignments:
        try:
            name, value = split_assignment(text)
            settings[name] = _setting(name, value)
            mixture_weights(settings.get("subset_weights"), spec.n_modalities)
        except (ConfigError, PydanticCustomError) as error:
            raise SpecError(f"{text!r}: {error}") from None
    try:
        return spec.trial_config(settings)
    except ConfigError as error:
        raise SpecError(str(error)) from None


def _like(values: Mapping[Any, Any], defaults: Mapping[str, Any], *at: str) -> dict[str, Any]:
    """Return the defaults with these values above them, each of its default's type; lists become tuples."""
    found = dict(defaults)
    for name, value in values.items():
        if name not in defaults:
            raise problem(unknown_key(name, defaults), *at, name)
        kind = type(defaults[name])
        found[name] = tuple(value) if kind is tuple and isinstance(value, list) else value
        if type(found[name]) is not kind:
            must = {int: "int_type", str: "string_type", tuple: "tuple_type", dict: "dict_type"}[kind]
            raise problem(f"{name} is {show(value)}, but must be {_MUST[must]}", *at, name)
    return found


def _setting(name: str, value: Any, *at: str | int) -> Any:
    """Return a value in its setting's type, or say at this path that it is impossible."""
    if name not in _SETTINGS:
        raise problem(unknown_key(name, _SETTINGS), *at)
    with problems_at(*at):
        return getattr(TrialConfig.from_dict({name: value}), name)


_MUST = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a word (a number or date in quotes)",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "dataclass_exact_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping such as {{type: uniform, low: 1, high: 2}}; constants go to `fixed`",
    "too_short": "non-empty",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "string_pattern_mismatch": "made of letters, digits, '.', '_' and '-', as it names a folder",
}
_PARAMETERS = {kind.model_fields["type"].default: kind for kind in get_args(get_args(Parameter)[0])}


def _sentence(error: ErrorDetails, document: Document) -> str:
    """Return what pydantic found as one sentence that starts with the place in the file."""
    kind, loc, found, details = error["type"], error["loc"], error["input"], error.get("ctx", {})
    siblings: Any = (ResourcesSpec if loc[:1] == ("resources",) else SweepSpec).model_fields
    at = loc
    if loc[-1:] == ("[key]",):  # pydantic's mark for a key that is no word
        kind, at = "invalid_key", loc[:-1]
        siblings = OBJECTIVES if loc[0] == "reference_point" else _SETTINGS
    elif loc[:1] == ("search_space",) and len(loc) > 2:  # pydantic puts the type of parameter after its name
        siblings, at = _PARAMETERS[loc[2]].model_fields, loc[:2] + loc[3:]
    match kind:
        case "sweep":
            at, text = at + details["at"], details["sentence"]
        case "extra_forbidden" | "invalid_key":
            text = unknown_key(at[-1], siblings)
        case "missing":
            text = f"key {at[-1]!r} is missing"
        case "union_tag_not_found":
            at, text = (*at, "type"), f"key 'type' is missing; possible: {', '.join(_PARAMETERS)}"
        case "literal_error" | "union_tag_invalid":
            if kind == "union_tag_invalid":
                at, found = (*at, "type"), found["type"]
            possible = re.findall("'(.*?)'", details.get("expected") or details["expected_tags"])
            text = f"{at[-1]} is {show(found)}; {did_you_mean(found, possible)}"
        case _:
            must = _MUST.get(kind, "of another form").format(**details)
            key = f"entry {at[-1] + 1}" if isinstance(at[-1], int) else at[-1]
            text = f"{key} is {show(found)}, but must be {must}"
    holder = ".".join(map(str, at[:-1]))
    return ": ".join(filter(None, (document.where(at), holder, text)))
