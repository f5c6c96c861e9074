"""The folders of examples/: files are valid and train, commands in the READMEs exist, and one runs whole."""

import contextlib
import functools
import importlib
import math
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import mopoe
from mopoe.data import _own
from sweep.cli import main
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.running.shared_inputs import _loaded
from sweep.store.read import open_store

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/*.yaml"))
MODULES = ("pictures", "captions")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a copy of an example's folder, with the data that its script makes."""

    @functools.cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("example") / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("results"))
        with contextlib.chdir(folder):
            for script in folder.glob("make_*.py"):
                runpy.run_path(str(script))
        return folder

    return make


@pytest.fixture
def example(
    tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """Return a function that works in an example's folder of its own."""

    def enter(name: str) -> Path:
        folder = Path(shutil.copytree(made(name), tmp_path / name))
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        return folder

    yield enter
    for module in MODULES:
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    _own.cache_clear()
    _loaded.cache_clear()


def commands(name: str) -> list[list[str]]:
    """Return the words of every command in the README of an example."""
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [words for line in "".join(blocks).splitlines() if (words := shlex.split(line, comments=True))]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_there_are_five() -> None:
    """Each is in the list, and has a README of a screen and a small picture of its report."""
    assert NAMES == ["cluster", "digits", "images", "tables", "text_image"]
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"({name}/README.md)" in listed
        assert len((EXAMPLES / name / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
        assert (EXAMPLES / name / "report.png").stat().st_size < 150_000


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_uses_files_and_verbs_that_exist(name: str) -> None:
    """Scripts and sweep's files beside it, and subcommands of `sweep`."""
    found = commands(name)
    for program, first, *more in found:
        if program == "python":
            assert (EXAMPLES / name / first).is_file()
        elif program == "sweep":
            assert first in {
                "run",
                "report",
                "best",
                "impute",
                "slurm",
                "watch",
                "status",
                "resume",
                "doctor",
            }
        assert not [word for word in more if word.endswith(".yaml") and not (EXAMPLES / name / word).exists()]
    assert ["sweep", "run", f"{name}.yaml"] in [words[:3] for words in found]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_and_trains(
    name: str,
    example: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`sweep show-config` takes its file, and the middle of its space takes two steps on its own data."""
    example(name)
    assert run(monkeypatch, "show-config", f"{name}.yaml") == 0
    assert f"name: {name}\n" in capsys.readouterr().out
    spec = load_spec(f"{name}.yaml")
    assert spec.name == name
    data = mopoe.load_data(spec.data.name, **spec.data.options)
    first = mopoe.Split({m: x[:12] for m, x in data.train.x.items()}, data.train.labels[:12])
    reports: list[mopoe.EpochReport] = []
    config = replace(trial_config_for(spec, []), epochs=1, batch_size=6)
    mopoe.train(config, replace(data, train=first, validation=first), reports.append)
    assert reports[0].step == 2
    assert math.isfinite(reports[0].loss)


def test_the_pictures_of_one_name_show_one_digit(example: Callable[[str], Path]) -> None:
    """Grey and coloured ones, as many as labels, and not the same hand's."""
    folder = example("images")
    data = mopoe.load_data("pictures:load")
    assert [m.shape for m in data.modalities] == [(1, 16, 16), (3, 16, 16)]
    assert len(list((folder / "ink").iterdir())) == len(list((folder / "pencil").iterdir())) == 1797
    pencil, ink = (data.train.x[m].float() for m in ("pencil", "ink"))
    assert (pencil[:, 0] - ink.mean(1)).abs().mean() > 10


def test_a_caption_is_the_digits_name(example: Callable[[str], Path]) -> None:
    """In the symbols of the alphabet, filled up with spaces."""
    example("text_image")
    captions = importlib.import_module("captions")
    train = captions.load().train
    for label, row in zip(train.labels[:20].tolist(), train.x["text"][:20].tolist(), strict=True):
        assert "".join(captions.ALPHABET[i] for i in row) == f"{captions.NAMES[label]:<8}"


def test_the_clusters_sweep_becomes_a_job(
    example: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweep slurm` without --submit prints its script."""
    folder = example("cluster")
    assert run(monkeypatch, "slurm", "cluster.yaml", "--out", str(folder / "shared"), "--nodes", "2") == 0
    assert "#SBATCH --nodes=2" in capsys.readouterr().out


@pytest.mark.ray
def test_the_tables_example_runs_whole(
    example: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, shared_ray: list[str]
) -> None:
    """Its README's commands, with fewer trials and epochs: what is imputed for the 60 patients is near."""
    folder = example("tables")
    for program, *words in commands("tables"):
        if program == "sweep":
            fewer = ["-o", "resources.concurrent=1", "-o", "trials=2"] if words[0] == "run" else []
            assert run(monkeypatch, *words, *fewer) == 0
    store = open_store(folder / "results" / "tables")
    trials = store.latest_trials().collect()
    assert trials["status"].to_list() == ["completed"] * 2
    assert trials["o_log_likelihood_conditional.mean:worst"].min() > -20
    assert (folder / "imputed.csv").read_text(encoding="utf-8").count("\n") == 570
