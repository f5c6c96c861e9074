"""Data and networks of a user's own: the page's example from end to end, and mistakes in one sentence."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

import mopoe
from mopoe.data import _own, load_data
from mopoe.errors import ConfigError
from mopoe.evaluation.log_likelihood import log_likelihood
from sweep.cli import main
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.results import open_results
from sweep.running.shared_inputs import _loaded
from sweep.store.read import open_store

PAGE = Path(__file__).parents[3] / "docs" / "own_data.md"
# -P: as for the installed command, the current folder is no place for modules by itself.
SWEEP = [sys.executable, "-P", "-c", "from sweep.cli import main; main()"]


def block(language: str, number: int = 0) -> str:
    """Return a block of the page's code in a language, by default the first."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found[number])


@pytest.mark.ray
def test_the_pages_example_runs_from_end_to_end(
    sweep: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_ray: list[str],
) -> None:
    """Its commands train, measure and report, in workers of Ray too, from the folder of its files alone.

    The first is run as a user runs it; the others in this process, where Ray is started already.
    """
    (tmp_path / "halves.py").write_text(block("python", 1), encoding="utf-8")
    (tmp_path / "halves.yaml").write_text(block("yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setitem(sys.modules, "halves", None)
    del sys.modules["halves"]  # and again in the end
    for line in block("sh", 1).splitlines():
        command = line.split()
        assert command[0] == "sweep"
        if command[1] == "trial":
            done = subprocess.run(
                [*SWEEP, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode == 0, done.stderr
            continue
        one = ["-o", "resources.concurrent=1"] if command[1] == "run" else []
        status, _, err = sweep(*command[1:], *one)
        assert status == 0, err
    assert shared_ray == ["start local", "shutdown"]
    for folder, trials in (("halves-trials", 1), ("halves", 2)):
        store = open_store(tmp_path / "results" / folder)
        rows = store.latest_trials().collect()
        assert rows["status"].to_list() == ["completed"] * trials
        assert rows["o_conditional_coherence"].max() > 0.3
        assert set(store.subset_metrics().collect()["subset_mask"]) == {0, 1, 2, 3}
        assert set(store.pair_coherence().collect()["target"]) == {"top", "bottom"}
    assert (tmp_path / "results" / "halves" / "report").is_dir()
    check_the_best_comes_back(sweep, tmp_path)
    # The page's other sections, in its file.
    (tmp_path / "options.yaml").write_text(
        yaml.safe_dump(yaml.safe_load(block("yaml")) | yaml.safe_load(block("yaml", 1)))
    )
    config = trial_config_for(load_spec("options.yaml"), ["network.top.hidden=100"])
    expected = {"dropout": 0.15, "hidden": 300, "bottom": {"dropout": 0}, "top": {"hidden": 100}}
    assert config == mopoe.TrialConfig(network=expected)


def test_the_pages_arrays_are_a_data_set(
    sweep: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its commands but the last: a file is written for them, and its cost is told."""
    rng, n = np.random.default_rng(0), 60
    shapes = {"photo": (n, 3, 16, 16), "sketch": (n, 1, 12, 12)}
    arrays = {name: rng.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()}
    np.savez(tmp_path / "mine.npz", labels=np.arange(n) % 3, **arrays)
    (tmp_path / "mine.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mine", None)
    del sys.modules["mine"]  # and again in the end
    init, dry_run, _ = block("sh").splitlines()
    assert sweep(*init.split()[1:])[0] == 0
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert "hidden_widths" not in text  # the networks of images have none
    status, out, err = sweep(*dry_run.split()[1:], "-o", "fixed.epochs=1", "-o", "fixed.channels=[2, 2, 2]")
    assert status == 0, err
    assert out.startswith(
        "48 training, 6 validation and 6 test samples; photo [3, 16, 16], sketch [1, 12, 12]"
    )


def check_the_best_comes_back(sweep: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    """The best trial's options are in the table, its file trains it again, its model is the one measured."""
    results = open_results(folder / "results" / "halves")
    (best,) = results.best().iter_rows(named=True)
    model, spec = results.model(), results.spec
    hidden, dropout = best["p_network.hidden"], best["p_network.top.dropout"]
    top, bottom = (model.model.encoders[name].hidden for name in ("top", "bottom"))
    assert (top[1].out_features, top[3].p, bottom[1].out_features, bottom[3].p) == (
        hidden,
        dropout,
        hidden,
        0,
    )
    status, out, err = sweep("best", folder / "results" / "halves")
    assert status == 0, err
    (folder / "best.yaml").write_text(out, encoding="utf-8")
    status, out, err = sweep("trial", folder / "best.yaml", "--out", folder / "again")
    assert status == 0, err
    again = open_results(folder / "again").latest_trials().collect()
    assert again["o_log_likelihood"].to_list() == pytest.approx([best["o_log_likelihood"]], rel=1e-6)
    e = spec.evaluation
    split = load_data(spec.data.name, **spec.data.options).validation
    measured = log_likelihood(model.model, split, e.likelihood_samples, e.importance_samples, e.seed)
    assert float(measured.log_p_N.mean()) == pytest.approx(best["o_log_likelihood"], rel=1e-6)


MODULE = """
import numpy as np
import mopoe

calls = []

@mopoe.plugin
def load(n: int, word: str = "a", size: int = 2):
    calls.append((n, word, size))
    if word == "broken":
        raise KeyError("no such word")
    x = np.full((n, 3, 28, 28), size, np.uint8)
    return mopoe.data_from_arrays({f"m{i}": x for i in range(size)} | {"labels": np.arange(n) % 2})
"""
SWEEP_FILE = """\
name: own
data: {name: "MODULE:load", n: 40}
trials: 1
reference_point: {conditional_coherence: 0.0, log_likelihood: -20000}
search_space:
  subset_weights: {type: simplex, over: size}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Give the name of a module with a data set, new for each test, in the current folder."""
    name = f"own_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(SWEEP_FILE.replace("MODULE", name), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return name


def test_a_sweep_knows_options_and_modalities_of_the_users_function(own: str) -> None:
    """Defaults of the signature are filled in, the number of modalities is that of the options; one call."""
    spec = load_spec("own.yaml", ["data.size=3"])
    assert spec.modalities == ("m0", "m1", "m2")
    assert len(spec.modalities) == 3
    assert spec.plain()["data"] == {"name": f"{own}:load", "n": 40, "word": "a", "size": 3}
    assert sys.modules[own].calls == [(40, "a", 3)]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("{name: 'OWN:load'}", "own.yaml:2: data: key 'n' is missing; a whole number"),
        ("{name: 'OWN:load', n: x}", "own.yaml:2: data: n is 'x', but must be a whole number"),
        (
            "{name: 'OWN:load', n: 40, wrd: b}",
            "own.yaml:2: data: unknown key 'wrd'; did you mean 'word'? possible: name, n, word, size",
        ),
        (
            "{name: 'OWN:laod'}",
            (
                "own.yaml:2: data: data set 'OWN:laod' cannot be imported (AttributeError: module 'OWN' has "
                "no attribute 'laod'); it must be a function, as 'package.module:function'"
            ),
        ),
    ],
    ids=["missing", "type", "unknown", "name"],
)
def test_mistakes_in_the_file_have_their_line(own: str, tmp_path: Path, data: str, sentence: str) -> None:
    """As for the built-in data sets."""
    text = (tmp_path / "own.yaml").read_text().replace(f'{{name: "{own}:load", n: 40}}', data)
    (tmp_path / "own.yaml").write_text(text.replace("OWN", own))
    with pytest.raises(ConfigError) as error:
        load_spec("own.yaml")
    assert str(error.value) == sentence.replace("OWN", own)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_an_error_of_the_users_function_is_one_sentence_with_its_place(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with status 2 and says which line of the user's file raised what."""
    assert run(monkeypatch, "show-config", "own.yaml", "-o", "data.word=broken") == 2
    assert capsys.readouterr().err == (
        f"sweep: data set '{own}:load' raised KeyError: 'no such word'; {tmp_path}/{own}.py:11\n"
    )


Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Return a function that makes an installed package with one entry point."""

    def make(value: str) -> None:
        folder = tmp_path / "own-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[mopoe.data]\nmine = {value}\n")

    return make


def test_an_entry_point_is_a_data_set_by_a_short_name(
    own: str,
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sweep's file may name it, and the list shows its options."""
    install(f"{own}:load")
    text = (tmp_path / "own.yaml").read_text().replace(f'"{own}:load"', "mine")
    (tmp_path / "own.yaml").write_text(text)
    spec = load_spec("own.yaml")
    assert (spec.data.name, spec.modalities) == ("mine", ("m0", "m1"))
    assert run(monkeypatch, "data", "list") == 0
    assert (
        "mine                  modalities: known once it is loaded\n"
        f"{'':22}n: required; a whole number\n{'':22}word: a by default\n{'':22}size: 2 by default\n"
    ) in capsys.readouterr().out


def test_an_entry_point_that_cannot_be_imported_spoils_no_list(
    own: str, install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its line says why."""
    install("nowhere_at_all:load")
    assert run(monkeypatch, "data", "list") == 0
    out = capsys.readouterr().out
    assert (
        "mine                  data set 'mine' cannot be imported (ModuleNotFoundError: No module named"
        in out
    )
    assert "polymnist             m0" in out


BROKEN = """
import torch
from torch import nn
import mopoe
from mopoe.networks.polymnist import image

@mopoe.plugin
def networks(config, modality, width):
    found = image(config, modality, width)
    return mopoe.Modality(found.encoder, nn.Sequential(found.decoder, nn.Flatten()), found.likelihood)
"""


@pytest.mark.parametrize("command", ["run", "trial", "dry-run"])
def test_a_network_that_cannot_work_is_said_before_anything_is_trained(
    own: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """With the modality, and without a trial that would fail after its training."""
    text = MODULE.replace(
        '"labels": np.arange(n) % 2})', f'"labels": np.arange(n) % 2}}, networks={{"m1": "{own}:networks"}})'
    )
    (tmp_path / f"{own}.py").write_text(text + BROKEN, encoding="utf-8")
    words = {"dry-run": ["run", "own.yaml", "--dry-run"]}.get(command, [command, "own.yaml", "--out", "r"])
    status = run(monkeypatch, *words)
    err = capsys.readouterr().err
    assert status == 2, err
    assert err.startswith("sweep: modality 'm1' cannot be decoded and scored (RuntimeError: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("r/trials/*"))


def test_a_folder_does_not_take_other_data_of_the_same_name(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's function may give other samples tomorrow: neither trained, nor evaluated, nor drawn on."""
    text = (tmp_path / "own.yaml").read_text() + "fixed: {epochs: 1, channels: [2, 2, 2], latent_dim: 2}\n"
    text += "evaluation: {coherence_samples: 4, likelihood_samples: 2, importance_samples: 2}\n"
    (tmp_path / "own.yaml").write_text(text)
    assert run(monkeypatch, "trial", "own.yaml", "--out", "r") == 0
    (tmp_path / f"{own}.py").write_text(MODULE.replace("np.full", "7 * np.full"), encoding="utf-8")
    importlib.reload(sys.modules[own])
    _loaded.cache_clear()
    _own.cache_clear()
    capsys.readouterr()
    for words in (["trial", "own.yaml", "--out", "r"], ["trial", "own.yaml", "--out", "r", "--resume"]):
        assert run(monkeypatch, *words) == 2
        assert re.fullmatch(
            rf"sweep: {tmp_path}/r holds trials on other data \(fingerprint \w{{12}}; "
            rf"{own}:load here has \w{{12}}\); restore the data, or choose another folder with --out\n",
            capsys.readouterr().err,
        )
    assert run(monkeypatch, "samples", "r") == 2
    assert f"was trained on other data; {own}:load has changed since" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("anndata") is None, reason="anndata is not installed")
@pytest.mark.filterwarnings("ignore")  # anndata's own
def test_counts_come_from_anndata_files(tmp_path, monkeypatch, sweep):
    """Cells of both files, the genes that vary, and a sweep's file that fits them."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(0)
    cells, kinds = [f"c{i}" for i in range(220)], random.integers(2, size=220)
    rna = random.poisson(1 + 9 * kinds[:, None] * (np.arange(30) < 10), (220, 30)).astype(np.float32)
    protein = random.poisson(5, (220, 4)).astype(np.float32)
    about = pd.DataFrame({"cell_type": np.array(["B", "T"])[kinds]}, index=cells)
    anndata.settings.allow_write_nullable_strings = True  # pandas' own kind of text
    anndata.AnnData(csr_matrix(rna), obs=about).write_h5ad(tmp_path / "rna.h5ad")
    anndata.AnnData(protein, obs=about[["cell_type"]])[20:].copy().write_h5ad(tmp_path / "protein.h5ad")
    (tmp_path / "cells.py").write_text(block("python", -1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cells", None)
    del sys.modules["cells"]
    options = ("rna=rna.h5ad", "protein=protein.h5ad", "genes=10")
    words = [word for option in options for word in ("-o", option)]
    status, _, err = sweep("init", "cells.yaml", "--data", "cells:load", *words)
    assert status == 0, err
    spec = load_spec("cells.yaml")
    assert [o.name for o in spec.objectives] == ["conditional_coherence", "log_likelihood"]
    data = load_data(spec.data.name, **spec.data.options)
    assert len(data.train) + len(data.validation) + len(data.test) == 200
    whole = np.concatenate([getattr(data, split).x["rna"] for split in ("train", "validation", "test")])
    assert sorted(whole.sum(1)) == sorted(rna[20:, :10].sum(1))
