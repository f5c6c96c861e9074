"""The YAML file of a sweep as a validated object."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig
from mopoe.network_options import named
from search_spaces import Document, find, load_yaml, split_assignment
from sweep.config.checks import check
from sweep.config.keys import SweepKeys
from sweep.config.messages import sentences
from sweep.config.schema import SchedulerSpec
from sweep.config.settings import setting

CHANGEABLE = ("name", "trials", "budget", "resources", "replicates", "faults", "keep")
"""Keys that may change between two runs of one sweep: no trial's numbers depend on them."""
LATER = (
    *("aggregation", "style_outside", "optimizer", "weight_decay", "lr_schedule", "lr_warmup_epochs"),
    *("grad_clip", "hidden_widths"),
)
"""Settings of a trial that came when there were results folders already; their defaults change nothing."""


class SweepSpec(SweepKeys):
    """A sweep: which trials to run, on what, and what to measure."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check(self)
        return self

    def plain(self) -> dict[str, Any]:
        """Return the file's keys with every default filled in, fit for JSON and for `model_validate`."""
        plain = self.model_dump(mode="json")
        for parameter in plain["search_space"].values():
            if parameter["when"] is None:
                del parameter["when"]
        if not self.evaluation.metrics:  # a key that came when there were results folders already
            del plain["evaluation"]["metrics"]
        if self.replicates.folds is None:
            del plain["replicates"]["folds"]
        return plain

    @property
    def spec_hash(self) -> str:
        """Return a short hash of what decides a sweep's results: equal hashes may share a results folder.

        Left out are the keys of `CHANGEABLE`: a label, how many trials there are, and how they are run.
        In it are what a trial's numbers depend on (data, constants with the defaults of `TrialConfig`,
        evaluation), what the sequence of trials depends on (search space, sampler, seed, objectives), and the
        reference point, so that a folder has one measure of progress. The keys `unused`, the settings `LATER`
        and the number of folds count only where they differ from their defaults.
        """
        unused: dict[str, Any] = {"constraints": {}, "start_with": [], "warm_start": []}
        unused["scheduler"] = SchedulerSpec().model_dump()
        plain = {k: v for k, v in self.plain().items() if k not in unused or v != unused[k]}
        content = {k: v for k, v in plain.items() if k not in CHANGEABLE}
        if self.replicates.folds:
            content["folds"] = self.replicates.folds
        constants, defaults = TrialConfig.from_dict(self.fixed).to_dict(), TrialConfig().to_dict()
        same = {k for k in LATER if constants[k] == defaults[k]}
        content["fixed"] = {
            k: v for k, v in constants.items() if k not in self.search_space and k not in same
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Return the sweep that a YAML file, or a shipped one of that name, describes.

    Overrides replace values of the file: `trials=30` or `evaluation.every=2`, the value read as YAML.

    Raises:
        ConfigError: the file or an override is wrong; up to three lines, one sentence each, starting with the
            place in the file, or with the override.
    """
    return spec_of(load_yaml(find(path)), overrides)


def spec_of(document: Document, overrides: Sequence[str] = (), modalities: tuple[str, ...] = ()) -> SweepSpec:
    """Return the sweep that a document describes; ConfigError as for `load_spec`.

    With the names of its modalities the data set is not asked for them: no code of anybody's is run.
    """
    document = reduce(Document.override, overrides, document)
    try:
        return SweepSpec.model_validate(document.data, context=modalities)
    except ValidationError as error:
        raise ConfigError(sentences(SweepSpec, error, document)) from None


def trial_config_for(spec: SweepSpec, assignments: Sequence[str]) -> TrialConfig:
    """Return one trial's config: the constants, the `middle` of each searched parameter, then assignments.

    An assignment such as `beta=2.5` names any setting of a trial and may leave the search space.

    Raises:
        ConfigError: an assignment is malformed, names no setting or has an impossible value.
    """
    given: dict[str, Any] = {}
    for text in assignments:
        assigned = dict([split_assignment(text)])
        try:
            for name, value in named(assigned):
                given[name] = setting(name, value, spec.modalities, specs=spec.data.specs)
        except (ConfigError, PydanticCustomError) as error:
            raise ConfigError(f"{text!r}: {error}") from None
    return spec.trial_config(spec.space.complete(given))


def one_trial(spec: SweepSpec, config: TrialConfig, name: str) -> dict[str, Any]:
    """Return the keys of a file that `sweep trial` runs as this trial and `sweep run` as a sweep of one.

    Every setting is held constant, but for the first searched one: a file must have a search space, so
    that setting has a choice of one value. What is at its default is left out.
    """
    settings, plain = config.to_dict(), spec.plain()
    searched = next(name for name in (*spec.search_space, "beta") if name in settings)
    values = [settings.pop(searched)]
    known = DATA_SETS.get(spec.data.name)
    usual = spec.model_copy(update={"evaluation": EvaluationConfig()}).plain()["evaluation"]
    return {
        "name": name,
        "trials": 1,
        "data": _unusual(plain["data"], known.options if known else {}),
        **{key: plain[key] for key in ("objectives", "reference_point")},
        "evaluation": _unusual(plain["evaluation"], usual),
        "search_space": {searched: {"type": "choice", "values": values}},
        "fixed": _unusual(settings, TrialConfig().to_dict()),
    }


def _unusual(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from their defaults."""
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}
