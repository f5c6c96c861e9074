"""The shipped sweeps, and the reader of their YAML files: plain values with the line each came from."""

import re
from collections.abc import Hashable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from mopoe.errors import ConfigError
from mopoe.wording import did_you_mean, show

_SHIPPED = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML file as plain values."""

    path: Path
    """The file, as it was named."""
    data: dict[str, Any]
    """The values: dicts, lists and scalars."""
    root: yaml.Node | None
    """The file as a tree of YAML nodes, which know their lines; None for values from elsewhere."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """The assignments whose values replaced the file's, by the key path joined with dots."""

    def where(self, key_path: tuple[Hashable, ...]) -> str:
        """Return where a key comes from, for a message: `x.yaml:12`, or the assignment that set it.

        `("search_space", "beta", "low")` is the key `low`, `("objectives", 0)` the first element of a list.
        A key with dots may also be one of nested mappings. A key that the file lacks is at the line of its
        nearest ancestor; a missing top-level key has no line.
        """
        parts = ".".join(map(str, key_path)).split(".")
        for n in range(len(parts), 0, -1):
            if (name := ".".join(parts[:n])) in self.overrides:
                return repr(self.overrides[name])
        node, line = self.root, ""
        for key in key_path:
            found = _child(node, key)
            if found is None:
                break
            place, node = found
            line = f":{place.start_mark.line + 1}"
        return f"{self.path}{line}"

    def override(self, assignment: str) -> "Document":
        """Return the document with another value for one key: `trials=30` or `evaluation.every=2`.

        Raises:
            ConfigError: the assignment is malformed, or a key on its way holds no mapping.
        """
        name, value = split_assignment(assignment)
        data = deepcopy(self.data)
        *parents, last = _keys(data, name.split("."))
        place: Any = data
        for key in parents:
            place = place.setdefault(key, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict):
            raise ConfigError(f"{assignment!r}: {'.'.join(parents)} is not a mapping and has no key {last!r}")
        place[last] = value
        return replace(self, data=data, overrides={**self.overrides, name: assignment})


def _keys(place: Any, parts: list[str]) -> list[str]:
    """Return the keys on the way that parts of a name stand for; a key that is there may have dots itself."""
    if not parts:
        return []
    known = place if isinstance(place, dict) else {}
    n = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in known), 1)
    key = ".".join(parts[:n])
    return [key, *_keys(known.get(key), parts[n:])]


def find(name_or_path: str | Path) -> Path:
    """Return the path of a file as it is, or else of the shipped file of that name.

    The shipped `digits.yaml` is found as "digits", "digits.yaml" or "search_spaces/digits.yaml".

    Raises:
        ConfigError: there is no such file; the message lists the shipped ones.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = _SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent in (Path(), Path(_SHIPPED.name)) and shipped.is_file():
        return shipped
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, but must be a YAML file")
    names = sorted(p.stem for p in _SHIPPED.glob("*.yaml"))
    raise ConfigError(f"there is no file {path}; {did_you_mean(path.stem, names, these='shipped')}")


def load_yaml(path: Path) -> Document:
    """Return the content of a YAML file whose top level is a mapping.

    Numbers are read as in YAML 1.2 (`1e-3` is a number), and a key may stand only once in a mapping.

    Raises:
        ConfigError: the file cannot be read, is not valid YAML, is empty or is not a mapping; the message
            is one sentence that starts with the path and, where there is one, the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parsed(text, path)


def parsed(text: str, path: Path) -> Document:
    """Return the content of a YAML file that is already read; see `load_yaml`."""
    root, data = _parse(text, path)
    if data is None:
        raise ConfigError(f"{path} is empty, but must have keys and values such as `trials: 14`")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: the file is {show(data)}, but must be a mapping of keys to values")
    return Document(path=path, data=data, root=root)


def split_assignment(text: str) -> tuple[str, Any]:
    """Return the key and the value of an assignment; the value is read as YAML.

    Raises:
        ConfigError: there is no key or no equals sign, or the value is not valid YAML.

    >>> split_assignment("latent_dim=64")
    ('latent_dim', 64)
    """
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise ConfigError(f"{text!r} is not an assignment; write KEY=VALUE, for example trials=30")
    try:
        return key.strip(), _parse(value)[1]
    except ConfigError as error:
        raise ConfigError(f"{text!r}: {error}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses duplicate keys and resolves words by YAML 1.2's core schema.

    PyYAML reads YAML 1.1, where 064 is 52, 1:30 is 90, `no` is false and 1e-3 a word.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        lines: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                problem = f"key {key.value!r} appears twice, in lines {lines[name]} and {line}; keep one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[name] = line
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _form in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})$"), None)


def _whole(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


def _float(_: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=[a-zA-Z])", "", node.value))  # .inf, .nan


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
MOST_NODES = 100_000
"""What a file may have of keys and values, aliases written out."""


def _expanded(node: yaml.Node, above: frozenset[int] = frozenset()) -> int:
    """Return how many nodes a tree has with its aliases written out, and refuse one without an end."""
    if id(node) in above:
        problem = "an alias refers to a node that contains it"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    total = 1
    children = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
    for child in () if isinstance(node, yaml.ScalarNode) else children:
        total += _expanded(child, above | {id(node)})
        if total > MOST_NODES:
            problem = f"more than {MOST_NODES:,} keys and values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return total


def _parse(text: str, path: Path | None = None) -> tuple[yaml.Node | None, Any]:
    """Return the root node and the value of a text, or raise a ConfigError, with the place in a file."""
    mark = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _expanded(root)
        return root, None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        problem, mark = error.problem or error.context, error.problem_mark or error.context_mark
    except RecursionError:
        problem = "nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # a forbidden character, or a number of thousands of digits
        problem = str(error).splitlines()[0]
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    raise ConfigError((f"{path}{place}: " if path else "") + f"invalid YAML: {problem}")


def _child(node: yaml.Node | None, key: Hashable) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node that names a child (its key, or the element itself) and the child."""
    if isinstance(node, yaml.MappingNode):
        for k, v in reversed(node.value):
            if k.value == str(key):
                return k, v
        inside = ((v, str(key).removeprefix(f"{k.value}.")) for k, v in reversed(node.value))
        return next((found for v, rest in inside if rest != str(key) and (found := _child(v, rest))), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
        return node.value[key], node.value[key]
    return None
