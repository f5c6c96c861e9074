"""`sweep evaluate`, `impute`, `embed` and `generate`, as a user meets them."""

import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from sweep.results import open_results


@pytest.fixture
def given(tmp_path):
    """A file with three samples of one modality."""
    path = tmp_path / "given.npz"
    np.savez(path, m0=np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28), dtype=np.uint8))
    return path


def test_the_other_modalities_are_written(sweep, trained_folder, given, tmp_path):
    """All that the file lacks, from the trial that is named, and the sentence says their shapes."""
    out = tmp_path / "out.npz"
    trial = min((trained_folder / "checkpoints").glob("*.safetensors")).stem.rpartition("-")[0]
    status, said, err = sweep("impute", trained_folder, "--from", given, "--out", out, "--trial", trial)
    assert (status, err) == (0, "")
    shapes = ", ".join(f"m{m} [3, 3, 28, 28]" for m in range(1, 5))
    assert said == f"{out}: {shapes}\n"
    assert sorted(np.load(out)) == ["m1", "m2", "m3", "m4"]


def test_the_trial_that_imputes_is_told_with_the_reason(sweep, trained_folder, given, tmp_path):
    """Without --trial it is the one that `sweep best` prints, and for the same reason."""
    first = sweep("best", trained_folder)[1].partition("\n")[0]
    trial, why = re.fullmatch(r"# (\S+) of \S+: (the [^;]+); .*", first).groups()
    status, said, err = sweep("impute", trained_folder, "--from", given, "--out", tmp_path / "out.npz")
    assert (status, err) == (0, "")
    assert said.endswith(f"m4 [3, 3, 28, 28]; by {trial}, {why}\n")


def test_latents_are_written_beside_ids(sweep, trained_folder, tmp_path):
    """As the model in Python gives them: a column for each, and with --std one for each deviation."""
    m0 = np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "given.npz", m0=m0, id=np.array(["a", "b", "c"]))
    mean, std = open_results(trained_folder).model().embed({"m0": m0}, std=True)
    for options, expected in (((), mean), (("--std",), np.concatenate([mean, std], 1))):
        out = tmp_path / "z.parquet"
        words = ("--from", tmp_path / "given.npz", "--out", out, *options)
        status, said, err = sweep("embed", trained_folder, *words)
        assert (status, err) == (0, "")
        assert said.startswith(f"{out}: z [3, {mean.shape[1]}]")
        table = pl.read_parquet(out)
        assert table["id"].to_list() == ["a", "b", "c"]
        assert table.columns[:2] == ["id", "z_0"]
        np.testing.assert_allclose(table.drop("id").to_numpy(), expected, rtol=1e-5)


def test_new_samples_are_written(sweep, trained_folder, tmp_path, monkeypatch):
    """Of all modalities, as the model in Python generates them; not where it would need covariates."""
    words = ("--n", 4, "--seed", 7, "--out", tmp_path / "new.npz")
    assert sweep("generate", trained_folder, *words)[0] == 0
    expected = open_results(trained_folder).model().generate(4, 7)
    with np.load(tmp_path / "new.npz") as found:
        assert sorted(found) == sorted(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5)
    model = SimpleNamespace(modalities={}, covariates=(SimpleNamespace(name="age"),))
    monkeypatch.setattr("sweep.results.Results.model", lambda *_: model)
    status, _, err = sweep("generate", trained_folder, *words)
    assert (status, err.count("\n")) == (2, 1)
    assert "conditioned on covariates" in err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_vectors_are_written_as_columns(sweep, trained_folder, given, tmp_path, monkeypatch, suffix):
    """One column per element, in their order."""
    found = {"a": np.arange(6.0).reshape(3, 2), "b": np.ones((3, 1))}

    plain = {name: SimpleNamespace(spec=SimpleNamespace(features=())) for name in found}
    model = SimpleNamespace(modalities=plain, covariates=(), impute=lambda *_, **__: found)
    monkeypatch.setattr("sweep.results.Results.model", lambda *_: model)
    out = tmp_path / f"out.{suffix}"
    assert sweep("impute", trained_folder, "--from", given, "--out", out)[0] == 0
    table = pl.read_csv(out) if suffix == "csv" else pl.read_parquet(out)
    assert table.columns == ["a_0", "a_1", "b_0"]
    np.testing.assert_array_equal(table.to_numpy(), np.concatenate(list(found.values()), 1))


def test_ids_beside_arrays_are_kept(sweep, trained_folder, tmp_path, monkeypatch):
    """As those beside columns are; what the model gets is modalities alone."""
    seen, plain = [], SimpleNamespace(spec=SimpleNamespace(features=()))
    model = SimpleNamespace(
        modalities={"m0": plain, "b": plain},
        covariates=(SimpleNamespace(name="age"),),
        impute=lambda x, covariates: seen.append((x, covariates)) or {"b": np.ones((2, 1))},
    )
    monkeypatch.setattr("sweep.results.Results.model", lambda *_: model)
    given, out = tmp_path / "ids.npz", tmp_path / "out.parquet"
    np.savez(given, m0=np.zeros((2, 4)), subject=np.array(["007", "8"]), age=np.array([30, 40]))
    assert sweep("impute", trained_folder, "--from", given, "--out", out)[0] == 0
    ((x, covariates),) = seen
    assert x.keys() == {"m0"}
    assert covariates["age"].to_list() == [30, 40]
    assert pl.read_parquet(out).to_dict(as_series=False) == {
        "subject": ["007", "8"],
        "age": [30, 40],
        "b_0": [1.0, 1.0],
    }


def test_a_covariate_that_the_file_lacks_is_asked_for(sweep, trained_folder, given, tmp_path, monkeypatch):
    """With what to do about it, and nothing is written."""
    plain = SimpleNamespace(spec=SimpleNamespace(features=()))
    model = SimpleNamespace(modalities={"m0": plain}, covariates=(SimpleNamespace(name="age"),))
    monkeypatch.setattr("sweep.results.Results.model", lambda *_: model)
    status, _, err = sweep("impute", trained_folder, "--from", given, "--out", tmp_path / "out.npz")
    absent = f"{given}: there is no column 'age', but the model is conditioned on it"
    assert (status, err) == (2, f"sweep: {absent}; add it to the file, one value a row\n")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("source", "out", "sentence"),
    [
        ("given.npz", "out.csv", "m1 is no vector, so it does not fit out.csv; write an .npz file"),
        ("given.npz", "out.txt", "must end in .npz, .csv or .parquet"),
        ("no.npz", "out.npz", "no.npz: not a readable .npz file"),
        ("bad.npz", "out.npz", "bad.npz: not a readable .npz file"),
        ("one.npy", "out.npz", "one.npy: not a readable .npz file"),
        ("other.npz", "out.npz", "there is no modality 'm7'; possible: m0, m1, m2, m3, m4"),
        (
            "given.npz --from other.npz",
            "out.npz",
            "--from is given several times, but only .csv and .parquet",
        ),
    ],
)
def test_what_cannot_be_imputed_is_one_sentence(
    sweep, trained_folder, given, tmp_path, monkeypatch, source, out, sentence
):
    """With status 2, and nothing is written."""
    (tmp_path / "bad.npz").write_bytes(given.read_bytes()[:100])
    np.save(tmp_path / "one.npy", np.zeros((2, 3)))
    np.savez(tmp_path / "other.npz", m7=np.zeros(3))
    files = [word for name in source.split(" --from ") for word in ("--from", tmp_path / name)]
    status, _, err = sweep("impute", trained_folder, *files, "--out", tmp_path / out)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--split", "validation"), "have been measured on validation already"),
        (("--split", "tset"), "split is 'tset'; did you mean 'test'?"),
        (
            ("--trial", "t0009"),
            "keeps no weights of t0009 at full budget; a sweep's key `keep` says whose it keeps",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(sweep, trained_folder, options, sentence):
    """With status 2, before any data are loaded."""
    status, _, err = sweep("evaluate", trained_folder, *options)
    assert status == 2
    assert sentence in err
