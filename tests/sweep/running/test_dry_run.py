"""What a sweep would cost, before it costs anything."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from mopoe.data import load_data
from mopoe.model import build_model
from sweep.config.parameters import Choice, Int, Uniform
from sweep.config.sweep_spec import load_spec
from sweep.running.dry_run import CORNERS, corners, first_suggestions, measure
from sweep.running.shared_inputs import load_inputs
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState


def with_space(tiny_sweep, tmp_path, more):
    """Return the tiny sweep with further searched settings."""
    path = tmp_path / "x.yaml"
    text = tiny_sweep.replace("latent_dim: 4, channels: [2, 2, 2], ", "")
    path.write_text(text.replace("search_space:\n", f"search_space:\n{more}"))
    return load_spec(path)


def test_corners_are_the_ends_of_what_costs(tiny_sweep, tmp_path):
    """Both ends of ranges and all choices, in every combination; beta costs nothing and is in the middle."""
    spec = with_space(
        tiny_sweep,
        tmp_path,
        "  latent_dim: {type: int, low: 4, high: 16}\n"
        "  channels: {type: choice, values: [[2, 2, 2], [4, 4, 4], [8, 8, 8]]}\n",
    )
    found = corners(spec)
    assert {(c.latent_dim, c.channels[0]) for c in found} == {(z, c) for z in (4, 16) for c in (2, 4, 8)}
    assert len({c.beta for c in found}) == 1
    widths = "  hidden_widths: {type: choice, values: [[8], [256]]}\n"
    assert {c.hidden_widths for c in corners(with_space(tiny_sweep, tmp_path, widths))} == {(8,), (256,)}


def test_whole_numbers_that_networks_take_may_cost(tiny_sweep, tmp_path):
    """Their ends are corners; shares, and words that have no ends, are not."""
    spec = with_space(tiny_sweep, tmp_path, "")
    more = {"size": Int(low=3, high=9), "m0.size": Choice(values=(8, 2, 4)), "p": Uniform(low=0, high=1)}
    more = {f"network.{n}": p for n, p in (more | {"kind": Choice(values=("a", "b"))}).items()}
    found = [
        dict(c.network) for c in corners(spec.model_copy(update={"search_space": spec.search_space | more}))
    ]
    assert [(c["size"], c["m0.size"]) for c in found] == [(3, 2), (3, 8), (9, 2), (9, 8)]
    assert {(c["p"], c["kind"]) for c in found} == {(0.5, "a")}


def test_many_corners_are_thinned_but_keep_both_ends(tiny_sweep, tmp_path):
    """At most eight, the smallest and the largest among them."""
    sizes = ", ".join(str(n) for n in range(1, 31))
    spec = with_space(tiny_sweep, tmp_path, f"  latent_dim: {{type: choice, values: [{sizes}]}}\n")
    found = [c.latent_dim for c in corners(spec)]
    assert len(found) <= CORNERS
    assert (found[0], found[-1]) == (1, 30)


def test_corners_that_contradict_themselves_are_left_out(tiny_sweep, tmp_path):
    """A method that fixes the weights has no corner with weights of its own."""
    spec = load_spec(
        _write(tmp_path, tiny_sweep.replace("  subset_weights: {type: simplex, over: size}", METHODS))
    )
    assert {c.method for c in corners(spec)} == {"mopoe", "poe", "moe"}


METHODS = "  method: {type: choice, values: [mopoe, poe, moe]}"


def _write(folder, text):
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def test_the_first_suggestions_are_those_of_the_sweep(sweep_file):
    """The same names and settings as the searcher's that runs later, whatever the replicates."""
    spec = load_spec(sweep_file, ["replicates.seeds=2"])
    one = load_spec(sweep_file)
    searcher = SweepSearcher(one, SweepState(one))
    expected = [searcher.suggest(x) for x in "abc"]
    found = first_suggestions(spec)
    assert list(found) == ["t0000", "t0001", "t0002"]
    assert [found[e["trial_id"]].beta for e in expected] == [e["suggestion"]["beta"] for e in expected]


def test_a_cost_is_measured(quick_file):
    """Parameters are those of the model; memory exceeds them and grows with the batch; times are positive."""
    spec = load_spec(quick_file)
    data, classifiers = load_inputs(spec)
    config = first_suggestions(spec)["t0000"]
    model = build_model(config, load_data("digits", seed=0).modalities)
    torch.set_num_threads(1)
    cost = measure(config, spec.evaluation, data, classifiers, "cpu")
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.memory > 16 * cost.parameters
    assert cost.epoch_seconds > 0
    assert cost.trial_seconds == pytest.approx(2 * cost.epoch_seconds + cost.evaluation_seconds)
    # What is due at the last epoch is no rung; the first epoch is one, by `every` and by a scheduler alike.
    for evaluation, also in ((spec.evaluation, (1, 2)), (replace(spec.evaluation, every=1), ())):
        more = measure(config, evaluation, data, classifiers, "cpu", also)
        assert more.trial_seconds > 2 * more.epoch_seconds + more.evaluation_seconds
    last = measure(config, spec.evaluation, data, classifiers, "cpu", (2,))
    assert last.trial_seconds == pytest.approx(2 * last.epoch_seconds + last.evaluation_seconds)


GROWTH = """
import sys, torch, mopoe
from dataclasses import replace
from pathlib import Path
from mopoe.data.registry import ModalitySpec
from mopoe.runtime import keep_freed_memory
from mopoe.rehearsal import training_bytes

torch.set_num_threads(1)
keep_freed_memory()
specs = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
config = mopoe.TrialConfig(latent_dim=int(sys.argv[1]), batch_size=256, epochs=1)
x = {m.name: torch.zeros(512, *m.shape, dtype=torch.uint8) for m in specs}
split = mopoe.Split(x, torch.arange(512) % 10)
data = mopoe.MultimodalData(name="", options={}, fingerprint="", modalities=specs, n_classes=10,
                            train=split, validation=split, test=split)

def mib(key):
    return int(Path("/proc/self/status").read_text().partition(key + ":")[2].split()[0]) / 1024

if sys.argv[2] == "predicted":
    print(training_bytes(config, data) / 2**20)
else:
    # What libraries take at the first call is no trial's.
    few = replace(data, train=split.take(torch.arange(8)))
    mopoe.train(replace(config, latent_dim=2, channels=(2, 2, 2)), few, bool)
    before = mib("VmRSS")
    mopoe.train(config, data, bool)
    print(mib("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("latent_dim", [64, 512])
def test_the_memory_of_training_is_predicted_within_a_fifth(latent_dim):
    """At the sizes of the PolyMNIST sweep: how a process that trains grows, against the dry run's figure."""
    predicted, grown = (
        float(
            subprocess.run(
                [sys.executable, "-c", GROWTH, str(latent_dim), what],
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            ).stdout
        )
        for what in ("predicted", "grown")
    )
    assert predicted == pytest.approx(grown, rel=0.2), (predicted, grown)


def test_the_command_prints_costs_and_writes_nothing(quick_file, tmp_path, monkeypatch, capsys):
    """A row per corner and suggestion, the whole sweep's time, and no results folder."""
    from sweep import cli

    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(
        "sys.argv",
        ["sweep", "run", str(quick_file), "--dry-run", "-o", "replicates.seeds=2", "-o", "trials=2"],
    )
    cli.app(standalone_mode=False)
    out = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert out.startswith("160 training, 40 validation and 40 test samples; m0 [3, 28, 28], m1 [3,")
    assert [line.split()[0] for line in out.splitlines()[2:5]] == ["corner", "t0000", "t0001"]
    assert "\ncorner: settings at the ends of the search space; the others are the first trials\n" in out
    assert re.search(r"^4 trials, \d+ at once on this machine \(c\w+\): about \d", out, re.MULTILINE)
