"""The command line as a user meets it: what it prints, its exit status, and what it leaves on disk."""

import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from PIL import Image

from mopoe.checkpoint import check
from sweep.store.read import open_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory, quick_sweep):
    """A folder with one trained trial."""
    from sweep.config.sweep_spec import load_spec, trial_config_for
    from sweep.running.local import run_single

    folder = tmp_path_factory.mktemp("cli")
    file = folder / "tiny.yaml"
    file.write_text(quick_sweep)
    spec = load_spec(file)
    root = folder / "trials"
    config = trial_config_for(spec, ["epochs=1"])
    run_single(spec, config, root, resume=False, device="cpu", on_report=lambda report: None)
    return root


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_help_names_every_command(sweep):
    """A user without arguments sees what there is."""
    _, out, _ = sweep("--help")
    for command in (
        "run",
        "resume",
        "extend",
        "trial",
        "status",
        "watch",
        "report",
        "best",
        "samples",
        "show-config",
    ):
        assert command in out


def test_a_trial_prints_its_numbers_and_where_they_are(sweep, quick_file, tmp_path):
    """Every epoch is a line, then all objectives with their errors, then the next command, which works."""
    root = tmp_path / "out"
    status, out, err = sweep("trial", quick_file, "--set", "beta=0.5", "--set", "epochs=1", "--out", root)
    assert (status, err) == (0, "")
    assert out.startswith("epoch 1/1  loss ")
    row = open_store(root).trials().collect().row(0, named=True)
    assert f"{row['o_log_likelihood']:.4f} ± {1.959964 * row['se_log_likelihood']:.4f}" in out
    assert row["p_beta"] == 0.5
    following = out.rpartition("next: sweep ")[2].replace("\n", " ").split()
    status, out, err = sweep(*following)
    assert (status, err) == (0, "")
    assert "generated from m0" in out


def test_samples_are_one_picture(sweep, trained, tmp_path):
    """Five rows of test samples and five generated rows, one column per sample; a seed fixes the noise."""
    pictures = []
    for name, *more in (("a.png",), ("b.png",), ("c.png", "--seed", "1"), ("d.png", "--source", "prior")):
        status, _, err = sweep(
            "samples", trained, "-n", "4", "--source", "m0+m3", "--out", tmp_path / name, *more
        )
        assert (status, err) == (0, "")
        pictures.append((tmp_path / name).read_bytes())
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (4 * 30 + 2, 10 * 30 + 2)
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3


def test_show_config_fills_in_every_default_and_reads_back(sweep, sweep_file, tmp_path):
    """The printed file is a sweep's file itself, with the same hash."""
    from sweep.config.sweep_spec import load_spec

    status, out, _ = sweep("show-config", sweep_file, "-o", "trials=7")
    assert status == 0
    shown = yaml.safe_load(out)
    assert (shown["trials"], shown["fixed"]["prior_expert"]) == (7, "full")
    again = tmp_path / "again.yaml"
    again.write_text(out)
    assert load_spec(again).spec_hash == load_spec(sweep_file).spec_hash


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "{file}", "-o", "samplr=tpe"], "unknown key 'samplr'; did you mean 'sampler'?"),
        (["run", "{file}", "-o", "search_space.beta.low=9"], "beta"),
        (["run", "{dir}/absent.yaml"], "absent.yaml"),
        (["run", "{file}", "--out", "{dir}"], "holds files but no sweep.json"),
        (["trial", "{file}", "--set", "bta=1"], "unknown key 'bta'; did you mean 'beta'?"),
        (["trial", "{file}", "--set", "beta=-1"], "beta is -1, but must be a number between 0 and 1,000,000"),
        (["trial", "{file}", "--device", "tpu"], "--device is 'tpu', but must be auto, cpu or cuda"),
        (["trial", "{file}", "--resume", "--out", "{dir}/none"], "leave out --resume to start it"),
        (["trial", "{file}", "--out", "{file}"], "is a file, but results need a folder"),
        (["report", "{dir}/none"], "none"),
        (["run", "{file}", "--cluster", "{dir}/c.yaml"], "c.yaml cannot be read: "),
        (["fetch", "/mnt/x", "{dir}/x"], "/mnt/x is a folder; to fetch it from"),
        (["resume", "{dir}/none"], "there is no results folder"),
        (["extend", "{dir}", "--trials", "2"], "is not a results folder: it holds no sweep.json"),
        (["resume", "{trained}"], "a sweep and single trials cannot share a folder"),
        (
            ["resume", "{trained}", "-o", "trials=0"],
            "'trials=0': trials is 0, but must be a whole number between 1 and 1,000,000",
        ),
        (["report", "{dir}"], "sweep.json"),
        (["samples", "{dir}"], "sweep.json"),
        (["samples", "{trained}", "--trial", "t9"], "holds no checkpoint of trial 't9'; there are: "),
        (["samples", "{trained}", "--source", "m0+x"], "there is no subset 'm0+x'; did you mean 'm0+m4'?"),
        (["samples", "{trained}", "--out", "{dir}/a.gif"], "must end in .png or .jpg"),
        (
            ["samples", "{trained}", "--out", "{dir}/no/a.png"],
            "/no is not a folder",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(sweep, sweep_file, trained, tmp_path, arguments, sentence):
    """No traceback, the sentence on standard error, and not one file made or changed."""
    places = {"file": sweep_file, "dir": tmp_path, "trained": trained}
    before = tree(tmp_path), tree(trained)
    status, out, err = sweep(*(a.format(**places) for a in arguments))
    assert status == 2
    assert sentence in err
    assert err.startswith("sweep: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert (tree(tmp_path), tree(trained)) == before


def test_a_diverging_trial_ends_with_status_1_and_a_record(sweep, quick_file, tmp_path):
    """The reason is on standard error and in the table."""
    status, _, err = sweep("trial", quick_file, "--set", "lr=10", "--out", tmp_path / "r")
    assert status == 1
    assert err.startswith("sweep: the loss is not finite at step ")
    assert open_store(tmp_path / "r").trials().collect()["status"].to_list() == ["failed"]


def test_a_damaged_checkpoint_is_named(sweep, trained, tmp_path):
    """A truncated checkpoint gives its path and one sentence."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    checkpoint = next((copy / "checkpoints").iterdir())
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    status, _, err = sweep("samples", copy)
    assert status == 2
    assert err.startswith(f"sweep: {checkpoint}: not a readable checkpoint (")


def test_the_installed_command_runs():
    """The console script exists beside this interpreter and shows its help quickly and lightly."""
    script = Path(sys.executable).parent / "sweep"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "Hyperparameter sweeps for MoPoE" in done.stdout


MAIN = [sys.executable, "-c", "from sweep.cli import main; main()"]


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGUSR2, 130),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 130, marks=pytest.mark.slow),
    ],
    ids=["term", "usr2", "int", "hup"],
)
def test_a_signal_interrupts_a_trial(sweep, quick_file, tmp_path, number, status):
    """Its row says so, and the printed command goes on from its checkpoint; SIGUSR2 waits for one."""
    root = tmp_path / "r"
    words = ["trial", quick_file, "--out", root, "--set", "epochs=100000"]
    with subprocess.Popen([*MAIN, *map(str, words)], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(root.glob("trials/*.parquet")):
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    again = shlex.split(err.partition("To continue: ")[2])
    assert again == ["sweep", *map(str, words[:2]), "--set", "epochs=100000", "--out", str(root), "--resume"]
    (row,) = open_store(root).latest_trials().collect().iter_rows(named=True)
    assert (row["status"], row["error"]) == ("failed", "interrupted; continue with --resume")
    weights = list((root / "checkpoints").glob("*.safetensors"))
    if number == signal.SIGUSR2:
        assert check(weights[0]).epoch == row["epochs"] == open_store(root).epochs().collect().height


def test_a_trial_without_finite_objectives_has_failed(sweep, quick_file, tmp_path, monkeypatch):
    """An estimate above what its likelihoods allow is none: the reason is said, and the status is 1."""
    monkeypatch.setattr("mopoe.likelihoods.Laplace.most", lambda self, n: -1e9)
    status, _, err = sweep("trial", quick_file, "--set", "epochs=1", "--out", tmp_path / "r")
    (row,) = open_store(tmp_path / "r").trials().collect().iter_rows(named=True)
    assert (status, row["status"], row["o_conditional_coherence"] > 0) == (1, "failed", True)
    assert err == f"sweep: the trial failed: {row['error']}\n"
    assert row["error"].startswith("log_likelihood ")


def test_trials_of_one_folder_may_differ_in_what_was_searched(sweep, quick_sweep, tmp_path):
    """One file chooses between true and false, the other does not; every command reads all of them."""
    root, file = tmp_path / "r", tmp_path / "x.yaml"
    for choice in (
        "unimodal_elbos: {type: choice, values: [true, false]}",
        "beta_warmup_epochs: {type: int, low: 0, high: 2}",
    ):
        file.write_text(quick_sweep.replace("search_space:\n", f"search_space:\n  {choice}\n"))
        for setting in ("unimodal_elbos=false", "unimodal_elbos=true"):
            assert sweep("trial", file, "--set", setting, "--set", "epochs=1", "--out", root)[0] == 0
    assert open_store(root).trials().collect().height == 4
    for command in ("status", "best", "report", "verify", "compact"):
        status, _, err = sweep(command, root)
        assert (status, err) == (0, "")


def test_a_cache_that_cannot_be_written_is_one_sentence(sweep, quick_file, tmp_path, monkeypatch):
    """It names the folder and what to set."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "file" / "x"))
    before = tree(tmp_path)
    status, _, err = sweep("trial", quick_file, "--out", tmp_path / "r")
    assert (status, tree(tmp_path)) == (2, before)
    assert err == (
        f"sweep: cannot write {tmp_path}/file/x: Not a directory; set MOPOE_CACHE to a writable folder\n"
    )


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    """The one that the command was started in."""
    (tmp_path / "gone").mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from sweep.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "list"],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "sweep: the current folder no longer exists; change to another one\n"


def test_the_package_is_the_command():
    """As `python -m sweep`."""
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "data", "list"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("celeba ")


@pytest.mark.parametrize("command", ["run", "trial"])
def test_a_trial_that_does_not_fit_is_said_before_a_step(sweep, quick_file, tmp_path, monkeypatch, command):
    """A dry run foretells it, and nothing is trained; the sentence has both sizes."""
    monkeypatch.setattr("mopoe.rehearsal.free_memory", lambda _: 2**20)
    words = ["--dry-run"] if command == "run" else ["--out", tmp_path / "r"]
    status, _, err = sweep(command, quick_file, *words)
    assert status == 2
    assert re.fullmatch(
        r"sweep: training takes about [\d.]+ GiB, but cpu has 0\.0 GiB free; lower batch_size, latent_dim or "
        r"channels\n",
        err,
    )
    assert not (tmp_path / "r").exists()


def test_memory_that_runs_out_is_one_sentence(sweep, quick_file, tmp_path, monkeypatch):
    """And the trial's row has the reason."""

    def full(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes.")

    monkeypatch.setattr("sweep.running.local.run_trial", full)
    status, _, err = sweep("trial", quick_file, "--out", tmp_path / "r")
    help_ = "lower batch_size, latent_dim or channels, or raise resources"
    reason = f"out of memory (tried to allocate 80 bytes); {help_}"
    assert (status, err) == (2, f"sweep: {reason}\n")
    assert open_store(tmp_path / "r").trials().collect()["error"].to_list() == [reason]


@pytest.mark.parametrize("completed", [0, 1])
def test_a_sweep_whose_trials_all_failed_has_failed(
    sweep, quick_file, tmp_path, monkeypatch, make_planned, make_planned_record, completed
):
    """By its exit status; one that completed is a success."""
    spec, writer = make_planned(tmp_path / "r", trials=2)
    good = {"conditional_coherence": 0.5, "log_likelihood": -7000.0}
    ended = {"ended_at": datetime.now(UTC)}
    for number in range(2):
        end = {"status": "failed", "error": "broken"}
        if number < completed:
            end = {"status": "completed", "epochs": 2, "objectives": good}
        writer.write_trial(make_planned_record(spec, number, **end, **ended))
    monkeypatch.setattr("sweep.running.driver.run_sweep", lambda *_, **__: open_store(tmp_path / "r"))
    status, out, err = sweep("run", quick_file, "--out", tmp_path / "r")
    assert "failed: broken" in out
    failed = "sweep: all 2 trials failed; see the reasons above\n"
    assert (status, err) == ((0, "") if completed else (1, failed))
