"""The page on what to tune first: effects and shares of made-up tables, and the record of a sweep."""

import itertools
import json

import made_up
import polars as pl
import pytest
from contrasts import QUANTITIES
from make_weights import FACTORS, WEIGHTS, effect, levels, main, on_front, record, share, undominated

from sweep.store.write import StoreWriter

MODALITIES = tuple(f"m{m}" for m in range(5))
BETAS, SIZES, SEEDS = (0.1, 0.5, 2.5), (16, 64, 256), range(3)


@pytest.fixture
def table():
    """Return a whole grid of known effects: weights change both objectives, beta the log-likelihood alone."""
    rows = []
    for (w, name), beta, size, seed in itertools.product(enumerate(WEIGHTS), BETAS, SIZES, SEEDS):
        values = dict.fromkeys(QUANTITIES, 0.5 + 0.01 * w)
        values |= {
            "coherence": 0.5 - 0.02 * w + 0.001 * seed * w,
            "log_likelihood": -6000.0 + 10 * w + 4 * BETAS.index(beta) + 100 * seed,
        }
        settings = {"weights": name, "beta": beta, "latent_dim": size, "seed": seed}
        rows.append({**settings, "n_parameters": 1000 + size, **values})
    return pl.DataFrame(rows)


def test_effects_are_differences_of_levels(table):
    """Three steps of the weights' list, two of beta's; what a seed does to all configs does not count."""
    assert effect(table, "weights", "fours", "log_likelihood").value == pytest.approx(50)
    assert effect(table, "weights", "fours", "log_likelihood").half == pytest.approx(0, abs=1e-9)
    assert effect(table, "beta", 2.5, "log_likelihood", 0.1).value == pytest.approx(8)
    found = effect(table, "weights", "experts", "coherence")
    assert found.value == pytest.approx(0.04 - 0.002)  # of seeds 0.04, 0.038 and 0.036
    assert found.half == pytest.approx(4.3027 * 0.002 / 3**0.5, rel=1e-4)
    assert effect(table, "weights", "equal", "coherence").value == 0


def test_shares_of_independent_effects_add_up(table):
    """Variances by hand: of eight steps of 10 (63 / 12 hundred) and three of 4 (8 / 12 times 16)."""
    weights, beta = 100 * 63 / 12, 16 * 8 / 12
    assert share(table, "weights", "log_likelihood").value == pytest.approx(100 * weights / (weights + beta))
    assert share(table, "beta", "log_likelihood").value == pytest.approx(100 * beta / (weights + beta))
    assert share(table, "latent_dim", "log_likelihood").value == pytest.approx(0, abs=1e-9)


def test_to_try_are_the_levels_that_no_other_beats_in_both(table):
    """A latent size that costs nats and coherence is not; one that costs nats alone is."""
    large, nats = pl.col("latent_dim") == 256, pl.col("log_likelihood")
    worse = table.with_columns(nats - 9 * large)
    assert undominated(worse, "latent_dim") == [16, 64, 256]
    assert undominated(worse.with_columns(pl.col("coherence") - 0.1 * large), "latent_dim") == [16, 64]


def test_a_front_has_what_nothing_dominates(table):
    """Of one seed, all weightings with the largest beta; of equal configs one stands for all."""
    assert on_front(table.filter(seed=0)) == list(WEIGHTS)


def test_the_record_has_a_row_per_trial_and_makes_the_page(tmp_path, table):
    """A store's trials with their weightings by name; page and figures follow from the record alone."""
    root = tmp_path / "results"
    writer = StoreWriter(root)
    writer.write_manifest(made_up.manifest(MODALITIES))
    grid = itertools.product(WEIGHTS.values(), BETAS, SIZES[:1], SEEDS[:1])
    for number, (weights, beta, size, seed) in enumerate(grid):
        values = dict.fromkeys(("coherence", "probe", "joint", "joint_mixture"), 0.5)
        values["log_likelihood"] = -6000.0 + number
        parameters = {"beta": beta, "latent_dim": size, "subset_weights": json.dumps(weights)}
        made_up.write_study_trial(writer, number, seed, parameters, values)
    record(str(root), tmp_path / "some.parquet")
    found = pl.read_parquet(tmp_path / "some.parquet")
    assert set(found.columns) == set(table.columns)
    assert found.group_by("weights").len().sort("weights").rows() == [(n, 3) for n in sorted(WEIGHTS)]
    assert found.filter(weights="fours")["log_likelihood"].to_list() == [-5979.0, -5978.0, -5977.0]
    table.write_parquet(tmp_path / "all.parquet")
    main(folder=tmp_path, path=tmp_path / "all.parquet")
    text = (tmp_path / "weights.md").read_text(encoding="utf-8")
    assert "**The subset weights matter most.**" in text
    assert "**Beta: try 0.1, 0.5 and 2.5.**" in text
    assert "**Latent size: try 16, 64 and 256.**" in text
    assert "Against equal weights experts and experts-equal are surely more coherent" in " ".join(
        text.split()
    )
    assert "256 latents have 1.2 times the parameters of 16" in " ".join(text.split())
    assert text.count("| subset weights |") == len(WEIGHTS) - 1 + 1
    assert len(list(tmp_path.glob("weights-*.svg"))) == 2
    assert [len(levels(table, factor)) for factor in FACTORS] == [8, 3, 3]
