"""`sweep trial` on images of two sizes and texts: every table is filled, and the pictures can be seen."""

import io
import struct
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.io import savemat

from sweep.cli import main
from sweep.store.read import open_store


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Give a sweep's file beside 120 + 40 made-up digits and house numbers: bars whose place is the class."""
    (tmp_path / "data").mkdir()
    for mnist, svhn, n in (("train", "train", 120), ("t10k", "test", 40)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = np.zeros((n, 32, 32), np.uint8)
        images[np.arange(n), 3 * labels] = 255
        for kind, array in (("images-idx3", images[:, :28, :28]), ("labels-idx1", labels)):
            head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
            (tmp_path / "data" / f"{mnist}-{kind}-ubyte").write_bytes(head + array.tobytes())
        x = np.stack([images, 255 - images, images], 3).transpose(1, 2, 3, 0)
        y = np.where(labels == 0, 10, labels)[:, None]
        savemat(tmp_path / "data" / f"{svhn}_32x32.mat", {"X": x, "y": y})
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\n"
        "data: {name: mnist_svhn_text, path: data, pairings: 2}\n"
        "trials: 1\n"
        "reference_point: {conditional_coherence: 0.0, log_likelihood: -20000}\n"
        "search_space: {beta: {type: log_uniform, low: 0.5, high: 2}}\n"
        "fixed: {epochs: 2, batch_size: 64, latent_dim: 4, lr: 0.001, likelihood_weights: dimensions}\n"
        "evaluation: {coherence_samples: 20, joint_samples: 20, likelihood_samples: 4, "
        "importance_samples: 7, pictures: 3}\n"
    )
    monkeypatch.chdir(tmp_path)
    return path


def test_a_trial_reports_coherence_and_likelihood(file, monkeypatch, capsys):
    """Both objectives are numbers; 7 subsets, 21 pairs, 12 strips of images, 5 of texts; a grid is drawn."""
    run(monkeypatch, "trial", str(file), "--device", "cpu")
    store = open_store(file.parent / "results" / "x-trials")
    (trial,) = store.trials().collect().rows(named=True)
    assert trial["status"] == "completed"
    assert 0 <= trial["o_conditional_coherence"] <= 1
    # The Laplace densities of 784 + 3072 pixels are at most 1 / 1.5 each, a text's probability at most 1.
    assert -20_000 < trial["o_log_likelihood"] < -1563.4
    kl = store.subset_metrics().filter(pl.col("metric") == "kl").collect()
    assert sorted(kl["subset_mask"]) == list(range(1, 8))
    assert store.pair_coherence().collect().height == 21
    sizes, samples = {}, store.samples().collect()
    for target, png in samples.filter(pl.col("target") != "text").select("target", "png").iter_rows():
        with Image.open(io.BytesIO(png)) as image:
            sizes.setdefault(target, []).append((image.mode, *image.size))
    assert sizes == {"mnist": [("L", 84, 28)] * 6, "svhn": [("RGB", 96, 32)] * 6}
    texts = samples.filter(target="text")["texts"].to_list()
    assert [[len(text) for text in row] for row in texts] == [[8, 8, 8]] * 5
    run(monkeypatch, "samples", "results/x-trials", "--source", "text", "-n", "3", "--out", "s.png")
    assert "rows 4 to 6 are generated from text" in capsys.readouterr().out
    with Image.open("s.png") as image:
        assert image.size == (2 + 3 * 66, 2 + 6 * 34)


def run(monkeypatch, *arguments):
    """Run the command line, which ends with status 0."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
