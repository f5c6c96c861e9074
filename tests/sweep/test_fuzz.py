"""Thousands of wrong files, overrides, manifests and tables: each is one sentence, and nothing bad passes.

What is sensible is written down here, by what a user could mean, and not read from the validators.
"""

import copy
import json
import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from spec_texts import FULL

from mopoe.errors import MopoeError, shown
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.search.status import status_report
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES
from sweep.verify import problems

SHORT, LONG = 1, 25
"""A test of `make test`, and one of `make test-slow`."""
SIZES = [SHORT, pytest.param(LONG, marks=pytest.mark.slow)]

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 64, 65536, 2**31, 2**63, 10**30, -(10**9)),
    *(0.0, -0.0, 0.5, 1e-320, 1e-30, 1.5, 1e27, 1e300, math.inf, -math.inf, math.nan),
    *("", " ", "no", "yes", "null", "x", "m0", "all", "prior", "beta", "mopoe", "none", "1e-3", "0x10"),
    *("../../x", "/etc/passwd", "a/b", "C:\\x", "os:system", "os:popen", "subprocess:getoutput", "this:s"),
    *("mopoe.checkpoint:save", "x" * 5000, "\0", "\u2028", "é", "[bold]", "{}", "<= 5", ">= nan", "<= "),
    *(
        [],
        {},
        [1],
        [0, 0],
        ["m0"],
        ["m0", "m0"],
        [None],
        [[]],
        {"a": 1},
        {"type": "int"},
        {"low": 1, "high": 0},
    ),
    *({"type": "int", "low": 1, "high": 10**12}, {"type": "choice", "values": [1, 1.0]}, {"m0": 1e308}),
    *({"type": "uniform", "low": 0, "high": math.inf}, {"type": "log_uniform", "low": 0, "high": 1}),
    *({"type": "simplex", "over": ["m0"]}, {"type": "choice", "values": []}, [{"beta": 1}, {"beta": 1.0}]),
)


def number(low: float, high: float) -> Callable[[Any], bool]:
    """Return whether a value is a number within bounds; true is none."""
    return lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high


def whole(low: int, high: int) -> Callable[[Any], bool]:
    """Return whether a value is a whole number within bounds."""
    return lambda v: type(v) is int and low <= v <= high


def one_of(*words: Any) -> Callable[[Any], bool]:
    """Return whether a value is one of some."""
    return lambda v: any(v is word or (v == word and type(v) is type(word)) for word in words)


def or_none(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return whether a value is left open, or good."""
    return lambda v: v is None or good(v)


def name(v: Any) -> bool:
    """Return whether a value can name a file."""
    return isinstance(v, str) and re.fullmatch(r"[\w.-]{1,200}", v) is not None and v[0] not in ".-"


MILLION = 10**6
SETTINGS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("beta", "beta_start", "beta_style", "weight_entropy"), number(0, MILLION)),
    "beta_warmup_epochs": whole(0, MILLION),
    "beta_schedule": one_of("linear", "cosine", "cyclical"),
    **dict.fromkeys(("weight_decay", "grad_clip"), number(0, MILLION)),
    "lr_warmup_epochs": whole(0, MILLION),
    "lr_schedule": one_of("constant", "cosine"),
    "optimizer": one_of("adam", "adamw"),
    "latent_dim": whole(1, 65536),
    "style_dim": whole(0, 65536),
    "method": one_of("mopoe", "moe", "poe", "mvtcae", "mmjsd"),
    "style_outside": one_of("posterior", "auxiliary"),
    "aggregation": one_of("product", "barycentre", "hellinger"),
    **dict.fromkeys(("unimodal_elbos", "learned_weights", "learned_scale"), one_of(True, False)),
    "tc_ratio": number(0, 1),
    "mixture": one_of("stratified", "blocks", "all"),
    "mixture_path": or_none(number(-1, 1)),
    "prior_expert": one_of("full", "all", "none"),
    "posterior": one_of("gaussian", "laplace"),
    "estimator": one_of("elbo", "iwae", "dreg"),
    "samples": whole(1, 10_000),
    "missing": number(0, 0.99),
    "likelihood": one_of("laplace", "normal", "bernoulli"),
    "likelihood_scale": number(1e-6, MILLION),
    "initialisation": one_of("torch", "he"),
    "initial_logvar": number(-20, 20),
    "lr": number(1e-15, 10),
    "precision": one_of("float32", "bfloat16"),
    "compile": one_of("no", "step", "graph"),
    "batch_size": whole(1, MILLION),
    "epochs": whole(1, MILLION),
    "seed": whole(0, 2**63 - 1),
    "hidden_widths": lambda v: len(v) > 0 and all(map(whole(1, 16384), v)),
    "channels": lambda v: len(v) == 3 and all(map(whole(1, 16384), v)),
    "subset_weights": or_none(lambda v: math.isclose(sum(v), 1, abs_tol=1e-6) and min(v) >= 0),
    "style_weights": or_none(lambda v: len(v) == 5 and all(map(number(0, MILLION), v))),
    "likelihood_weights": lambda v: (
        v in ("dimensions", "none") or (any(v) and all(map(number(0, MILLION), v)))
    ),
}
"""Every setting of a trial by what it may be."""
AMOUNTS = {
    **dict.fromkeys(("coherence_samples", "joint_samples", "likelihood_samples"), whole(1, MILLION)),
    "importance_samples": whole(1, MILLION),
    "own_targets": one_of(True, False),
    "subset_sizes": lambda v: list(v) == sorted(set(v)) or all(map(whole(1, 5), v)),
}
SECTIONS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "data": {"name": lambda v: v in ("digits", "polymnist"), "seed": whole(-(2**70), 2**70)},
    "evaluation": {
        **AMOUNTS,
        "split": one_of("train", "validation", "test"),
        "every": whole(0, MILLION),
        "intermediate": lambda v: not bad_keys(v, AMOUNTS),
        "final_metrics": lambda v: isinstance(v, (list, tuple)) and len(set(v)) == len(v),
        "pictures": whole(0, 1000),
        "seed": whole(0, 2**63 - 1),
        "precision": one_of("float32", "bfloat16"),
        "inception_weights": lambda v: isinstance(v, str),
    },
    "scheduler": {
        "type": one_of("none", "halving", "asha", "median"),
        "grace": whole(1, MILLION),
        "eta": whole(2, 1000),
        "brackets": whole(1, 100),
        "objective": or_none(lambda v: v in ("log_likelihood", "joint_coherence", "conditional_coherence")),
    },
    "resources": {
        "cpu": number(0.01, 10_000),
        "gpu": lambda v: v == "auto" or number(0, 1)(v),
        "concurrent": or_none(whole(1, 100_000)),
    },
    "budget": {"hours": or_none(number(1e-4, MILLION))},
    "replicates": {
        "seeds": whole(1, 1000),
        "folds": or_none(whole(2, 1000)),
        "when": one_of("all", "survivors", "front", "uncertain"),
    },
    "faults": {
        "max_failures": whole(0, 1000),
        "identical": or_none(whole(2, MILLION)),
        "trial_minutes": or_none(number(1e-4, 1e7)),
    },
}
OBJECTIVES = ("conditional_coherence", "joint_coherence", "log_likelihood")
TOP: dict[str, Callable[[Any], bool]] = {
    "name": name,
    "trials": whole(1, MILLION),
    "seed": whole(0, 2**63 - 1),
    "sampler": one_of("tpe", "gp", "nsga2", "nsga3", "random", "qmc", "grid"),
    "objectives": lambda v: 0 < len(v) == len(set(v)) and set(v) <= set(OBJECTIVES),
    "reference_point": lambda v: all(map(number(-1e15, 1e15), v.values())),
    "keep": one_of("front", "all", "none"),
    "constraints": lambda v: all(re.fullmatch(r"\s*[<>]=\s*[-+.\deE]+\s*", limit) for limit in v.values()),
    "start_with": lambda v: isinstance(v, (list, tuple)),
    "warm_start": lambda v: all(isinstance(folder, str) for folder in v),
    "fixed": lambda v: not bad_keys(v, SETTINGS),
    "search_space": lambda v: len(v) > 0 and all(good_range(n, p) for n, p in v.items()),
    **{section: lambda v, section=section: not bad_keys(v, SECTIONS[section]) for section in SECTIONS},
}


def good_range(setting: str, parameter: dict[str, Any]) -> bool:
    """Return whether a parameter has values, and its setting may have all of them."""
    good = SETTINGS[setting]
    if parameter["type"] == "simplex":
        return setting in ("subset_weights", "style_weights", "likelihood_weights")
    if parameter["type"] == "choice":
        return len(parameter["values"]) > 0 and all(map(good, parameter["values"]))
    low, high = parameter["low"], parameter["high"]
    return low < high and good(low) and good(high)


def bad_keys(found: dict[str, Any], sensible: dict[str, Callable[[Any], bool]]) -> list[str]:
    """Return the keys whose value nobody could mean."""
    bad = []
    for key, value in found.items():
        try:
            good = sensible[key](value)
        except (TypeError, KeyError, AttributeError, ValueError):
            good = False
        bad += [] if good else [f"{key}: {value!r}"[:200]]
    return bad


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in nested mappings and lists."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [path, *(p for key in keys for p in places(tree[key], (*path, key)))]


def mangled(rng: random.Random, tree: Any) -> Any:
    """Return a copy in which one to three values are replaced, dropped, added or swapped."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *parents, last = rng.choice([p for p in places(tree) if p])
        place = tree
        for key in parents:
            place = place[key]
        kind, value = rng.randrange(8), copy.deepcopy(rng.choice(VALUES))
        if kind == 0:
            del place[last]
        elif kind == 1 and isinstance(place, dict):
            place[rng.choice(("x", "beta", "seed", "low", "type", "", "a.b", *place))] = value
        else:
            place[last] = value
    return tree


def spoilt(rng: random.Random, text: bytes) -> bytes:
    """Return a file's content with bytes changed, cut off, dropped or put in."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, n = rng.randrange(len(text) + 1), rng.randrange(1, 20)
        junk = rng.choice(
            (b"&a [*a]", b": ", b"- ", b"\t", b"!!python/name:os.system ", b"<<: ", b"\xff", b"0", b"{")
        )
        text = (
            rng.choice((text[:at], text[:at] + text[at + n :], text[:at] + junk + text[at:], text[at:]))
            or b"a"
        )
    return text


@pytest.fixture(autouse=True)
def no_commands(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Fail if anything that is read starts a process."""
    started: list[Any] = []
    for module, function in (("os", "system"), ("os", "popen"), ("os", "execv"), ("os", "remove")):
        monkeypatch.setattr(f"{module}.{function}", lambda *a, **_: started.append(a))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **_: started.append(a))
    yield started
    assert started == []


def refused(act: Callable[[], Any]) -> Any:
    """Return what `act` returns, or None if it refuses in a sentence; what else it raises comes out."""
    try:
        return act()
    except MopoeError as error:
        text = shown(str(error))
    assert 0 < len(text) < 5000
    assert "Traceback" not in text
    assert "pydantic" not in text
    return None


@pytest.mark.parametrize("size", SIZES)
def test_files(size: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is accepted has sensible values alone, and gives a trial and its suggestions."""
    monkeypatch.chdir(tmp_path)
    rng, whole_file, accepted = (
        random.Random(17),
        yaml.safe_load(FULL.replace("1e-3", "0.001").replace("4e-3", "0.004")),
        0,
    )
    path = tmp_path / "x.yaml"
    for case in range(160 * size):
        if case % 4:
            content = yaml.safe_dump(mangled(rng, whole_file), allow_unicode=True).encode()
        else:
            content = spoilt(rng, FULL.encode())
        path.write_bytes(content)
        spec = refused(lambda: load_spec("x.yaml"))
        if spec is not None:
            accepted += 1
            assert not bad_keys(spec.plain(), TOP), content.decode()
            config = refused(lambda spec=spec: trial_config_for(spec, ()))
            assert config is None or not bad_keys(config.to_dict(), SETTINGS), content.decode()
    assert 0.02 < accepted / (160 * size) < 0.6


@pytest.mark.parametrize("size", SIZES)
def test_overrides(size: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for every key and setting that a command line may set, whatever stands behind the sign."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(FULL)
    rng = random.Random(18)
    keys = [
        *TOP,
        *(f"{s}.{k}" for s, inner in SECTIONS.items() for k in inner),
        *(f"fixed.{k}" for k in SETTINGS),
    ]
    keys += [
        "search_space.beta.low",
        "search_space.latent_dim.high",
        "objectives.0",
        "nowhere.x",
        "",
        "a..b",
        ".",
    ]
    for _ in range(160 * size):
        value = rng.choice(VALUES)
        text = rng.choice(
            (str(value), json.dumps(value), yaml.safe_dump(value).strip(), "064", "1:30", "&a [*a]", "no")
        )
        word = f"{rng.choice(keys)}={text}"
        spec = refused(lambda word=word: load_spec("x.yaml", [word]))
        if spec is not None:
            assert not bad_keys(spec.plain(), TOP), word
        setting = f"{rng.choice(list(SETTINGS))}={text}"
        config = refused(lambda setting=setting: trial_config_for(load_spec("x.yaml"), [setting]))
        if config is not None:
            assert not bad_keys(config.to_dict(), SETTINGS), setting


KEY = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
MANIFEST: dict[str, Callable[[Any], Any]] = {
    "sweep_id": KEY.fullmatch,
    "name": lambda v: name(v) or re.fullmatch(r"[\w.:-]+", v),
    "created_at": lambda v: re.match(r"\d{4}-?\d\d-?\d\d", v),
    "schema_version": one_of(1),
    "objectives": lambda v: TOP["objectives"]([o["name"] for o in v]),
    "reference_point": lambda v: set(v) <= set(OBJECTIVES) and all(map(number(-1e15, 1e15), v.values())),
    "modalities": lambda v: 0 < len(v) == len(set(v)) and all(map(name, v)),
    "data": one_of("digits"),
    "spec": lambda v: isinstance(v, dict),
    "spec_hash": KEY.fullmatch,
    "versions": lambda v: all(isinstance(version, str) for version in v.values()),
    "git_revision": or_none(lambda v: isinstance(v, str)),
    "allowed_changes": lambda v: all(isinstance(sentence, str) for sentence in v),
    "data_fingerprint": or_none(KEY.fullmatch),
    "shapes": lambda v: all(shape and all(map(whole(1, 2**31), shape)) for shape in v.values()),
    "n_classes": or_none(whole(0, 2**31)),
    "classes": lambda v: all(isinstance(name, str) for name in v),
    "classifier_accuracy": lambda v: all(map(number(0, 1), v.values())),
    "classifier_hash": or_none(KEY.fullmatch),
}


@pytest.mark.parametrize("size", SIZES)
def test_manifests(size: int, tmp_path: Any, make_sweep: Callable[..., Any]) -> None:
    """One that is accepted has sensible values alone, and its results can be looked at."""
    root, rng = make_sweep(tmp_path / "r"), random.Random(19)
    path = root / "sweep.json"
    whole_file = json.loads(path.read_text()) | {"shapes": {"m0": [3, 28, 28]}, "n_classes": 10}
    whole_file |= {"classifier_hash": "0a1b2c3d4e5f", "data_fingerprint": "f00d"}
    path.write_text(json.dumps(whole_file))
    assert list(problems(open_store(root))) == []
    before = sorted(p for p in tmp_path.rglob("*"))
    for case in range(100 * size):
        if case % 4:
            content = json.dumps(mangled(rng, whole_file)).encode()
        else:
            content = spoilt(rng, path.read_bytes() if case == 0 else json.dumps(whole_file).encode())
        path.write_bytes(content)
        store = refused(lambda: open_store(root))
        if store is None:
            continue
        told = json.loads(store.manifest.to_json())
        assert not bad_keys(told, MANIFEST), content.decode()
        assert not bad_keys(store.spec.plain(), TOP | {"data": lambda v: v["name"] == "digits"}), (
            content.decode()
        )
        refused(lambda store=store: list(problems(store)))
        refused(lambda store=store: status_report(store, store.spec, datetime.now(UTC)))
    assert sorted(p for p in tmp_path.rglob("*")) == before


def rows(store: Store) -> list[Any]:
    """Return all rows of all tables."""
    return [sorted(store.table(table).collect().rows(), key=repr) for table in TABLES]


@pytest.mark.parametrize("size", SIZES)
def test_damaged_tables(size: int, tmp_path: Any, make_sweep: Callable[..., Any]) -> None:
    """Whatever happens to files of rows is seen by verify, and never read as other values."""
    sound, rng = make_sweep(tmp_path / "sound"), random.Random(20)
    expected = rows(Store(sound))
    for _ in range(40 * size):
        root = shutil.copytree(sound, tmp_path / "r", dirs_exist_ok=False)
        files = sorted(root.rglob("*.parquet"))
        path, other = rng.choice(files), rng.choice(files)
        content, kind = path.read_bytes(), rng.randrange(5)
        if kind == 0:  # single bits
            flipped = bytearray(content)
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
        elif kind == 1:
            path.write_bytes(spoilt(rng, content))
        elif kind == 2:  # two files under each other's names
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        elif kind == 3:  # moved into another table
            folder = rng.choice([table for table in TABLES if table != path.parent.name])
            (root / folder).mkdir(exist_ok=True)
            path.rename(root / folder / path.name)
        else:  # lost; what had not completed may lack rows
            path = rng.choice(
                [p for p in files if p.parent.name != "trials" and p.name[:5] in ("t0000", "t0001")]
            )
            path.unlink()
        store = Store(root)
        same = refused(lambda store=store: rows(store)) == expected
        found = refused(lambda store=store: list(problems(store)))
        assert same or found is None or found, (kind, path, other)
        if kind in (0, 1) and path.read_bytes() != content:
            assert found, (kind, path)
            assert not refused(lambda store=store, path=path: store.table(path.parent.name).collect()), path
        shutil.rmtree(root)
