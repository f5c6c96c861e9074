"""Every mistake that pydantic finds in a sweep's file as one sentence with its line."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from mopoe.config import TrialConfig
from mopoe.reports import OBJECTIVES
from search_spaces import Document, did_you_mean, show, unknown_key
from sweep.config.constraints import MEASURED
from sweep.config.objectives import Objective
from sweep.config.parameters import Parameter

MUST = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a word (a number or date in quotes)",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "dataclass_type": "the name of an objective, or a mapping such as {{name: ..., direction: minimize}}",
    "dataclass_exact_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping such as {{type: uniform, low: 1, high: 2}}; constants go to `fixed`",
    "too_short": "non-empty",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "made of letters, digits, '.', '_' and '-', as it names a folder",
}
SETTINGS = {f.name: f.default for f in fields(TrialConfig)}
"""Default by name of a trial's setting."""
_PARAMETERS = {kind.model_fields["type"].default: kind for kind in get_args(get_args(Parameter)[0])}


def sentence(error: ErrorDetails, document: Document, sections: Mapping[str, type[BaseModel]]) -> str:
    """Return what pydantic found as one sentence that starts with the place in the file.

    Args:
        error: one of pydantic's errors.
        document: the file.
        sections: the model of each key whose value has keys of its own, and of the whole file under "".
    """
    kind, loc, found, details = error["type"], error["loc"], error["input"], error.get("ctx", {})
    siblings: Any = sections.get(str(loc[0]) if loc else "", sections[""]).model_fields
    at = loc
    if loc[-1:] == ("[key]",):  # pydantic's mark for a key that is no word
        kind, at = "invalid_key", loc[:-1]
        siblings = {"reference_point": OBJECTIVES, "constraints": MEASURED}.get(str(loc[0]), SETTINGS)
    elif loc[:1] == ("search_space",) and len(loc) > 2:  # pydantic puts the type of parameter after its name
        siblings, at = _PARAMETERS[loc[2]].model_fields, loc[:2] + loc[3:]
    elif kind == "unexpected_keyword_argument":
        siblings = [f.name for f in fields(Objective)]
    match kind:
        case "sweep":
            at, text = at + details["at"], details["sentence"]
        case "extra_forbidden" | "unexpected_keyword_argument" | "invalid_key":
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
            must = MUST.get(kind, "of another form").format(**details)
            key = f"entry {at[-1] + 1}" if isinstance(at[-1], int) else at[-1]
            text = f"{key} is {show(found)}, but must be {must}"
    holder = ".".join(map(str, at[:-1]))
    return ": ".join(filter(None, (document.where(at), holder, text)))
