"""What `sweep run` prints, with a driver in place of the real one that says what that says."""

import pytest

from sweep.store.read import open_store


@pytest.fixture
def said(monkeypatch, made_up_sweep):
    """Let a sweep only say a sentence and warn once; give what its driver was called with."""
    calls = {}

    def run_sweep(spec, root, **given):
        calls.update(given)
        given["say"]("starting Ray")
        given["warn"]("stopping")
        return open_store(made_up_sweep)

    monkeypatch.setattr("sweep.running.driver.run_sweep", run_sweep)
    return calls


def test_a_run_says_its_phases_and_what_comes_next(sweep, sweep_file, tmp_path, said):
    """In the end the front, where the tables are, and the command that comes next; warnings on stderr."""
    status, out, err = sweep("run", sweep_file, "--out", tmp_path / "r")
    assert (status, err) == (0, "stopping\n")
    assert out.startswith("starting Ray\n\n")
    assert out.endswith(f"\ntables: {tmp_path}/r\nnext:   sweep report {tmp_path}/r\n")


def test_a_quiet_run_prints_the_final_table_alone(sweep, sweep_file, tmp_path, said):
    """What is not to be missed goes to the error output all the same."""
    _, out, _ = sweep("run", sweep_file, "--out", tmp_path / "r")
    table = out.removeprefix("starting Ray\n\n").partition("\n\ntables: ")[0]
    status, out, err = sweep("run", sweep_file, "--out", tmp_path / "r", "--quiet")
    assert (status, out, err) == (0, f"{table}\n", "stopping\n")
    assert "hypervolume" in table
