import math
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from sweep.report.formatting import (
    number,
    searched_settings,
    setting_text,
    setting_title,
    status_line,
    weights_notes,
    with_error,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7234, "0.723"),
        (0.0, "0"),
        (-1514.26, "-1514"),
        (123456.7, "123457"),
        (2.5e7, "2.5e+07"),
        (1e-5, "1e-05"),
        (12_345_678, "12345678"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_number(value, text):
    """A number has three significant digits, and no fewer than its whole part below a million."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.72, 0.02, "0.720 ± 0.020"),
        (-1512.34, 2.0, "-1512.3 ± 2.0"),
        (-1512.34, 41.7, "-1512 ± 42"),
        (0.5, 0.0, "0.5"),
        (0.5, math.nan, "0.5"),
        (0.5, None, "0.5"),
    ],
)
def test_value_with_error(value, error, text):
    """A value goes as far as its error's second digit; an error that is none is left out."""
    assert with_error(value, error) == text


def test_status_line_counts_in_order_of_life():
    """All statuses are counted; no trials give a text, too."""
    frame = pl.DataFrame({"status": ["running", "failed", "completed", "stopped", "infeasible", "completed"]})
    assert status_line(frame) == "6 trials: 2 completed, 1 stopped, 1 failed, 1 infeasible, 1 running"
    assert status_line(frame.clear()) == "no trials"


def test_components_of_a_simplex_are_one_setting():
    """Numbered columns are gathered if they start at 1; other trailing digits belong to the name."""
    columns = ["p_weights_1", "p_weights_2", "p_layer_2", "p_beta", "o_x"]
    assert searched_settings(columns) == {
        "weights": ["p_weights_1", "p_weights_2"],
        "layer_2": ["p_layer_2"],
        "beta": ["p_beta"],
    }


def test_a_weight_says_which_subsets_it_is_of(make_manifest):
    """Those of sizes do; a weight of a named subset and all else have their names with blanks."""
    search = {"subset_weights": {"type": "simplex", "over": "size"}, "beta": {"type": "uniform"}}
    manifest = replace(make_manifest(), spec={"search_space": search})
    assert setting_title("p_subset_weights_2", manifest) == "weight of subsets of 2"
    assert setting_title("p_latent_dim", manifest) == "latent dim"
    other = replace(manifest, spec={"search_space": {"subset_weights": {"over": ["m0", "m0+m1"]}}})
    assert setting_title("p_subset_weights_2", other) == "subset weights 2"


def test_many_weights_are_summed_up():
    """Up to six weights are written out, more are counted with their largest."""
    assert setting_text([0.5, 0.25, 0.25]) == "0.50 0.25 0.25"
    assert setting_text([0.4] + [0.1] * 6) == "7 weights, largest 0.40"


def test_numbered_options_of_networks_are_no_simplex():
    """Only the components of a simplex are one setting."""
    columns = ["p_network.hidden_1", "p_network.m0.hidden_1", "p_network.hidden_2", "p_w_1", "p_w_2"]
    alone = {name.removeprefix("p_"): [name] for name in columns[:3]}
    assert searched_settings(columns) == alone | {"w": ["p_w_1", "p_w_2"]}


def test_weights_by_size_are_explained():
    """A sentence where there is a weight for each size; none for single subsets, or for a number."""
    spaces = {"w": {"type": "simplex", "over": "size"}, "v": {"type": "simplex", "over": "subset"}}
    manifest = SimpleNamespace(spec={"search_space": spaces})
    columns = ["p_beta", *(f"p_{name}_{i}" for name in "wv" for i in (1, 2, 3))]
    assert weights_notes(columns, manifest) == ["w: the shares of all subsets of 1, 2 and 3 modalities."]
