"""A metric of a user's own: the page's example from end to end, and mistakes in one sentence."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import SMALL

from mopoe.checkpoint import load_model
from mopoe.data import load_data
from mopoe.data.container import MultimodalData
from mopoe.errors import ConfigError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.final_metrics import EvalContext
from mopoe.evaluation.own import called, own_metrics
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import build_model
from mopoe.own_metrics import metric
from sweep.report.cards import measured_card
from sweep.report.view import view
from sweep.store.read import open_store

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def block(language: str) -> str:
    """Return the page's first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_the_pages_example_runs_from_end_to_end(
    sweep: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are those of a plain loop over the stored model, paired by sample, and in the report."""
    (tmp_path / "deviations.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "deviations.yaml").write_text(block("yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setitem(sys.modules, "deviations", None)
    del sys.modules["deviations"]  # and again in the end
    for line in block("sh").splitlines():
        one = ["-o", "resources.concurrent=1"] if line.startswith("sweep run") else []
        status, out, err = sweep(*line.split()[1:], *one)
        assert status == 0, err
    assert "best deviation: t" in out
    store = open_store(tmp_path / "results" / "deviations")
    trials = store.trials().filter(status="completed").collect()
    values = store.sample_values().filter(metric="deviation").collect()
    split = load_data("digits").validation
    assert values["values"].list.len().to_list() == [int((split.labels == 7).sum())] * 2
    for row in trials.iter_rows(named=True):
        mine = np.array(values.filter(trial_id=row["trial_id"])["values"][0].to_list())
        assert row["o_deviation"] == pytest.approx(mine.mean(), rel=1e-5)
        assert row["se_deviation"] == pytest.approx(mine.std(ddof=1) / len(mine) ** 0.5, rel=1e-4)
    best = trials.sort("o_deviation").row(-1, named=True)
    weights = tmp_path / "results" / "deviations" / "checkpoints" / f"{best['trial_id']}.safetensors"
    expected = _deviation_by_hand(load_model(weights), load_data("digits"))
    assert best["o_deviation"] == pytest.approx(expected, rel=1e-3)
    found = view(store)
    assert found.tradeoff.inference.unpaired == ()
    table = measured_card(found).table
    assert table is not None
    assert "deviation" in table.columns


def _deviation_by_hand(model: torch.nn.Module, data: MultimodalData) -> float:
    """Return the mean over sevens of their root mean square z-score, one sample and latent at a time."""

    def mean(split: object, i: int) -> list[float]:
        with torch.no_grad():
            x = split.batch(torch.tensor([i]), torch.device("cpu"))  # type: ignore[attr-defined]
            return model.posteriors(model.encode(x))[0][-1, 0].tolist()  # type: ignore[no-any-return,operator]

    ones = np.array([mean(data.train, i) for i in (data.train.labels == 1).nonzero().flatten().tolist()])
    at, scale = ones.mean(0), ones.std(0, ddof=1)
    sevens = (data.validation.labels == 7).nonzero().flatten().tolist()
    return float(np.mean([np.sqrt(np.mean(((mean(data.validation, i) - at) / scale) ** 2)) for i in sevens]))


MODULE = """
import torch
import mopoe

@mopoe.plugin
def plain(model, split, context):
    return None

@mopoe.metric(a="maximize")
def raising(model, split, context):
    raise KeyError("no such thing")

@mopoe.metric(a="maximize")
def nothing(model, split, context):
    pass

@mopoe.metric(a="maximize")
def number(model, split, context):
    return 0.5

@mopoe.metric(a="maximize", b="minimize")
def half(model, split, context):
    return mopoe.Metric("a", 1.0)

@mopoe.metric(a="maximize")
def other(model, split, context):
    return mopoe.Metric("c", 1.0), mopoe.Metric("a", 1.0)

@mopoe.metric(a="maximize")
def nan(model, split, context):
    return mopoe.Metric("a", float("nan"))

@mopoe.metric(a="maximize")
def word(model, split, context):
    return mopoe.Metric("a", "high")

@mopoe.metric(a="maximize")
def matrix(model, split, context):
    return mopoe.Metric("a", [[1.0, 2.0]])

@mopoe.metric(a="maximize")
def stranger(model, split, context):
    return mopoe.Metric("a", 1.0, target="m9")

@mopoe.metric(a="maximize")
def double(model, split, context):
    return [mopoe.Metric("a", 1.0), mopoe.Metric("a", 2.0)]

@mopoe.metric(a="maximize", b="minimize")
def good(model, split, context):
    noise = torch.randn(5, generator=context.generator, device=context.device)
    first, second = model.names[:2]
    return [
        mopoe.Metric("a", noise + torch.randn(5)),
        mopoe.Metric("b", 3.0, stderr=0.5, subset=[first], target=second),
        mopoe.Metric("b", 5.0, subset=[second], target=first),
    ]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Give the name of a module with metrics, new for each test, in the current folder."""
    name = f"own_metrics_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return name


@pytest.fixture
def context(tiny_data: MultimodalData) -> Callable[..., EvalContext]:
    """Give what makes the context of an evaluation with some metrics."""

    def make(*references: str) -> EvalContext:
        config = EvaluationConfig(metrics=references)
        return EvalContext(
            data=tiny_data, classifiers=Classifiers(networks={}, accuracy={}, hash="none"), config=config
        )

    return make


MUST = "but must be a finite number, or a list of one per held-out sample"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raising", "failed (KeyError: 'no such thing'; "),
        ("nothing", "returned None, but must return a mopoe.Metric, or a list of them"),
        ("number", "returned 0.5, but must return a mopoe.Metric, or a list of them"),
        ("half", "did not return 'b'; it promises: a, b"),
        ("other", "returned 'c'; it promises: a"),
        ("nan", f": a is nan, {MUST}"),
        ("word", f": a is 'high', {MUST}"),
        ("matrix", f": a is [[1.0, 2.0]], {MUST}"),
        ("stranger", ": a is of 'm9', but the modalities are: grey, colour"),
        ("double", "returned two numbers for one name, subset and target"),
    ],
)
def test_a_metric_that_breaks_its_promise_is_one_sentence(
    module: str, context: Callable[..., EvalContext], function: str, message: str
) -> None:
    """Raised before the first trial; in a trial it stands beside the NaN of every number that is promised."""
    reference = f"{module}:{function}"
    given = context(reference)
    model = build_model(SMALL, given.data.modalities)
    with pytest.raises(ConfigError) as caught:
        called(reference, model, given.data.validation, given)
    assert str(caught.value).startswith(f"metric {reference!r}{'' if message[0] == ':' else ' '}{message}")
    metrics, values = own_metrics(model, given.data.validation, given)
    assert {row.error for row in metrics} == {str(caught.value)}
    assert all(np.isnan(row.value) for row in metrics)
    assert values == {}


def test_numbers_keep_their_subset_target_and_samples(
    module: str, context: Callable[..., EvalContext]
) -> None:
    """The same random numbers in every call, whatever was drawn before, which does not notice the call."""
    given = context(f"{module}:good")
    model = build_model(SMALL, given.data.modalities).train()
    torch.manual_seed(0)
    metrics, values = own_metrics(model, given.data.validation, given)
    after = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.randn(3))
    again, _ = own_metrics(model, given.data.validation, given)
    assert metrics == again
    assert not model.training
    a, first, second = metrics
    assert (a.subset_mask, a.target, a.n) == (3, None, 5)
    assert a.value == pytest.approx(float(values["a"].mean()))
    assert a.stderr == pytest.approx(float(values["a"].std()) / 5**0.5)
    assert (first.subset_mask, first.target, first.value, first.stderr, first.n) == (1, "colour", 3.0, 0.5, 0)
    assert (second.subset_mask, second.target, second.stderr) == (2, "grey", None)
    assert set(values) == {"a"}


def test_a_file_with_metrics_is_checked_before_anything_runs(
    module: str, load: Callable[..., object], refusal: Callable[..., str], quick_sweep: str
) -> None:
    """Directions come from the promise; a mistake has the line of its key, and an unused key no hash."""

    def text(metrics: str, objectives: str = "[a, log_likelihood]") -> str:
        corner = "reference_point: {a: 0, log_likelihood: -20000}"
        file = re.sub("reference_point.*", f"{corner}\nobjectives: {objectives}", quick_sweep)
        return file.replace("pictures: 2", f"metrics: [{metrics}]")

    spec = load(text(f"'{module}:good'", "[b, log_likelihood]").replace("{a: 0", "{b: 0"))
    assert [o.direction for o in spec.objectives] == ["minimize", "maximize"]  # type: ignore[attr-defined]
    assert spec.plain()["evaluation"]["metrics"] == [f"{module}:good"]  # type: ignore[attr-defined]
    assert "metrics" not in load(quick_sweep).plain()["evaluation"]  # type: ignore[attr-defined]
    wrong = refusal(text(f"'{module}:good'", "[{name: a, direction: minimize}, log_likelihood]"))
    assert "direction is 'minimize', but larger values of a are better; leave it out" in wrong
    assert "is no metric; put @mopoe.metric" in refusal(text(f"'{module}:plain'"))
    assert "cannot be imported" in refusal(text(f"'{module}:absent'"))
    twice = refusal(text(f"'{module}:good', '{module}:nan'"))
    assert "promises a, as another metric does; rename one" in twice
    assert "unknown quantity 'c'; " in refusal(text(f"'{module}:good'", "[c, log_likelihood]"))
    assert "'a:m9' names no target; possible: m0" in refusal(text(f"'{module}:good'", "['a:m9']"))
    pattern = refusal(text("good"))
    assert "metrics: entry 1 is 'good', but must be a function, as module:function" in pattern


def test_a_marked_function_promises_names_of_its_own() -> None:
    """Not those of the project, and with one of the two directions."""
    with pytest.raises(ConfigError, match=r"^'kl' is a metric of the project; choose another name$"):
        metric(kl="minimize")
    with pytest.raises(ConfigError, match=r"^the direction of a is 'down'; possible: maximize, minimize$"):
        metric(a="down")  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("trial",)])
def test_a_metric_that_fails_is_told_before_the_first_trial(
    module: str, sweep: Callable[..., tuple[int, str, str]], quick_sweep: str, command: tuple[str, ...]
) -> None:
    """With exit status 2, and no trial in the folder."""
    Path("bad.yaml").write_text(quick_sweep.replace("pictures: 2", f"metrics: ['{module}:nan']"))
    status, _, err = sweep(*command, "bad.yaml")
    assert status == 2
    assert f"metric '{module}:nan': a is nan, but must be" in " ".join(err.split())
    assert not list(Path("results").rglob("*.parquet"))
