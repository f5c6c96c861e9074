"""What `sweep compact`, `verify`, `merge` and `export` print, and their exit status."""

import shutil


def test_compact_says_how_many_files_became_one(sweep, tmp_path, make_sweep):
    """A line per table that has files."""
    status, out, _ = sweep("compact", make_sweep(tmp_path))
    assert status == 0
    assert "trials               7 files -> 1\nepochs               5 files -> 1\n" in out


def test_verify_of_a_sound_folder_is_one_sentence(sweep, tmp_path, make_sweep):
    """Exit status 0."""
    assert sweep("verify", make_sweep(tmp_path)) == (0, f"{tmp_path} is sound\n", "")


def test_verify_prints_problems_and_exits_with_1(sweep, tmp_path, make_sweep):
    """One line per problem on the standard output."""
    make_sweep(tmp_path)
    (tmp_path / "epochs" / "x.parquet").write_bytes(b"PAR1")
    status, out, err = sweep("verify", tmp_path)
    assert (status, err) == (1, "")
    assert out.startswith(f"{tmp_path}/epochs/x.parquet cannot be read: ")
    assert len(out.splitlines()) == 1


def test_merge_says_what_was_renamed(sweep, tmp_path, make_sweep):
    """New names, trials that are the same config and seed, and the total."""
    make_sweep(tmp_path / "a", "run-a")
    make_sweep(tmp_path / "b", "run-b", first=2)
    status, out, _ = sweep("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert status == 0
    assert out.splitlines() == [
        f"{tmp_path}/b: t0002 is renamed to t0006",
        f"{tmp_path}/b: t0003 is renamed to t0007",
        "4 trials share config and seed with another trial, so they are not replicates",
        f"{tmp_path}/c holds 8 trials",
    ]
    assert sweep("verify", tmp_path / "c")[0] == 0


def test_export_names_what_it_wrote(sweep, tmp_path, make_sweep):
    """A line per CSV file, and one for DeepCAVE."""
    make_sweep(tmp_path / "x")
    out, run = tmp_path / "csv", tmp_path / "run"
    status, printed, _ = sweep("export", tmp_path / "x", "--csv", out, "--deepcave", run)
    assert status == 0
    assert printed.splitlines()[0] == f"{out}/trials.csv"
    assert printed.splitlines()[-1] == f"{run}: a run for DeepCAVE, without 0 trials that lack a parameter"
    assert sorted(path.name for path in run.iterdir()) == ["configspace.csv", "trials.csv"]


def test_export_to_nowhere_is_said(sweep, tmp_path, make_sweep):
    """Without --csv and --deepcave there is nothing to do."""
    status, _, err = sweep("export", make_sweep(tmp_path))
    assert status == 2
    assert err == "sweep: no output is given; add --csv FOLDER, --deepcave FOLDER or both\n"


def test_commands_take_an_address(sweep, s3, tmp_path, make_sweep):
    """What is done with a folder is done with an address; samples need the weights here, and say so."""
    make_sweep(s3)
    assert sweep("verify", s3) == (0, f"{s3} is sound\n", "")
    assert "trials               7 files -> 1\n" in sweep("compact", s3)[1]
    assert sweep("merge", s3, "--out", f"{s3}/copy")[1] == f"{s3}/copy holds 4 trials\n"
    assert sweep("export", f"{s3}/copy", "--csv", tmp_path)[0] == 0
    status, out, _ = sweep("report", s3)
    assert (status, out.splitlines()[-1]) == (0, f"report: {s3}/report/report.html")
    status, _, err = sweep("samples", s3)
    assert (status, err) == (
        2,
        f"sweep: {s3} is an object store; `sweep fetch {s3}` copies it here\n",
    )


def test_tensorboard_needs_a_folder(sweep, s3, sweep_file):
    """TensorBoard's files are appended to: an address is refused before anything is made."""
    status, _, err = sweep("run", sweep_file, "--out", s3, "--tensorboard")
    assert status == 2
    assert err.endswith(f"sweep: --tensorboard needs a folder to write to, but --out is {s3}\n")


def test_an_unsound_run_is_not_merged(sweep, make_sweep, tmp_path):
    """The sentence says what is wrong first; nothing is written, and the status is not 0."""
    for name, first in (("a", 0), ("b", 4)):
        make_sweep(tmp_path / name, name, first)
    shutil.rmtree(tmp_path / "b" / "epochs")
    status, out, err = sweep("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert (status, out) == (2, "")
    assert err == (
        f"sweep: {tmp_path}/b is not sound, so it is not merged: "
        "epochs: trial_id t0004 has rows of 0 of its 2 epochs\n"
    )
    assert not (tmp_path / "c").exists()
