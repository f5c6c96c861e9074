"""A sampler of the user's own: what its function is given, and mistakes in one sentence."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mopoe.errors import ConfigError
from sweep.config.sweep_spec import SweepSpec
from sweep.search.past import trial_records
from sweep.search.samplers import SamplerContext, check_sampler
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult
from sweep.store.read import open_store

GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"
MODULE = """
import mopoe
from optuna.samplers import RandomSampler

seen = []

@mopoe.plugin
def drawn(seed, context):
    seen.append((seed, context))
    return RandomSampler(seed=seed)

@mopoe.plugin
def nothing(seed, context):
    pass

@mopoe.plugin
def raising(seed, context):
    raise KeyError("no such thing")

def unmarked(seed, context):
    return RandomSampler(seed=seed)

class Broken(RandomSampler):
    def sample_relative(self, study, trial, search_space):
        if trial.number:
            raise ValueError("cannot decide")
        return {}

    def after_trial(self, study, trial, state, values):
        raise ValueError("cannot learn")

@mopoe.plugin
def broken(seed, context):
    return Broken(seed=seed)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Give the name of a module with samplers, new for each test, in the current folder."""
    name = f"own_samplers_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return name


def with_sampler(text: str, sampler: str) -> str:
    """Return the text of a sweep's file with another sampler, and a space with a condition."""
    return re.sub("sampler: .*", f"sampler: '{sampler}'", text)


def test_a_function_is_given_the_seed_and_the_space(
    module: str, load: Callable[..., SweepSpec], quick_sweep: str
) -> None:
    """What it returns suggests: a random sampler of one's own the configs of the project's, also later."""
    own, plain = load(with_sampler(quick_sweep, f"{module}:drawn")), load(quick_sweep)

    def asked(spec: SweepSpec, **known: object) -> list[object]:
        study = ConfigStudy(spec, **known)  # type: ignore[arg-type]
        return [study.ask(name) for name in "abc"]

    first = asked(own)
    assert first == asked(plain)
    past = [ConfigResult(name="t0000", suggestion=first[0], status="failed")]  # type: ignore[arg-type]
    assert asked(own, past=past) == asked(plain, past=past)
    seen: list[tuple[int, SamplerContext]] = sys.modules[module].seen
    assert [seed for seed, _ in seen] == [0, 1]
    context = seen[0][1]
    assert (context.n_trials, context.conditional) == (3, False)
    assert context.directions == ("maximize", "maximize")
    assert context.search_space == own.space.distributions()
    assert (context.search_space["beta"].low, context.search_space["beta"].log) == (0.1, True)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("absent", "cannot be imported (AttributeError: "),
        (
            "unmarked",
            "is not marked as a plugin, so it is not called; if it is yours, put @mopoe.plugin above",
        ),
    ],
)
def test_a_function_that_may_not_be_called_is_refused_with_its_line(
    module: str, refusal: Callable[..., str], quick_sweep: str, function: str, message: str
) -> None:
    """When the file is read, by every command."""
    found = refusal(with_sampler(quick_sweep, f"{module}:{function}"))
    assert re.match(rf"x\.yaml:\d+: sampler '{module}:{function}' {re.escape(message)}", found), found


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "returned null, but must return an optuna.samplers.BaseSampler"),
        ("raising", "failed (KeyError: 'no such thing'; "),
    ],
)
def test_a_function_that_returns_no_sampler_ends_a_sweep_before_it_begins(
    module: str,
    sweep: Callable[..., tuple[int, str, str]],
    quick_sweep: str,
    function: str,
    message: str,
) -> None:
    """With exit status 2 and nothing written; so does a dry run, while `show-config` does not call it."""
    Path("own.yaml").write_text(with_sampler(quick_sweep, f"{module}:{function}"), encoding="utf-8")
    for more in ([], ["--dry-run"]):
        status, _, err = sweep("run", "own.yaml", *more)
        assert status == 2
        assert f"sampler '{module}:{function}' {message}" in " ".join(err.split())
        assert not Path("results").exists()
    assert sweep("show-config", "own.yaml")[0] == 0


def test_a_sampler_that_raises_in_a_sweep_is_a_sentence(
    module: str, load: Callable[..., SweepSpec], quick_sweep: str
) -> None:
    """It names the sampler and the user's line."""
    spec = load(with_sampler(quick_sweep, f"{module}:broken"))
    check_sampler(spec)
    message = rf"^sampler '{module}:broken' failed \(ValueError: cannot decide; .*{module}\.py:\d+\)$"
    study = ConfigStudy(spec)
    asked = study.ask("a")
    assert asked is not None
    with pytest.raises(ConfigError, match=message):
        study.ask("b")
    with pytest.raises(ConfigError, match=message.replace("decide", "learn")):
        study.tell(ConfigResult(name="a", suggestion=asked, status="failed"))


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_the_guides_sampler_runs_and_resumes_and_reading_imports_nothing(
    sweep: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick_sweep: str,
) -> None:
    """Two trials, then a third, whose settings lie in the space; the tables are read without the module."""
    code = re.search(r"```python\n(\"\"\"A sampler.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "mysamplers.py").write_text(code[1], encoding="utf-8")
    text = with_sampler(quick_sweep, "mysamplers:independent_tpe").replace("trials: 3", "trials: 2")
    (tmp_path / "own.yaml").write_text(text + "resources: {concurrent: 1}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setitem(sys.modules, "mysamplers", None)
    del sys.modules["mysamplers"]  # and again in the end
    for words in (["run", "own.yaml"], ["extend", "results/tiny", "--trials", "1"]):
        status, _, err = sweep(*words)
        assert status == 0, err
    del sys.modules["mysamplers"]
    (tmp_path / "mysamplers.py").unlink()
    store = open_store(tmp_path / "results" / "tiny")
    records = trial_records(store)
    assert [record.status for record in records] == ["completed"] * 3
    assert len({record.config_id for record in records}) == 3
    assert store.spec.sampler == "mysamplers:independent_tpe"
    assert sweep("status", "results/tiny")[0] == 0
    assert "mysamplers" not in sys.modules
