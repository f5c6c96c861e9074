"""The words of an error."""

from mopoe.wording import did_you_mean, show, unknown_key


def test_hints_name_the_nearest_and_all_possible():
    """A far name gets no guess, and a key that is no word is shown as it is."""
    assert did_you_mean("bta", ["beta", "lr"]) == "did you mean 'beta'? possible: beta, lr"
    assert did_you_mean("xyz", ["beta", "lr"]) == "possible: beta, lr"
    assert did_you_mean("xyz", [], these="shipped") == "shipped: none"
    assert unknown_key(3, ["beta"]) == "unknown key 3; possible: beta"


def test_show_writes_values_as_yaml():
    """Long values are told by their kind only."""
    values = [None, True, False, 1, 0.5, "14", [1, "a"], [[1]], (), {}, {"a": 1}]
    assert [show(value) for value in values] == [
        "null",
        "true",
        "false",
        "1",
        "0.5",
        "'14'",
        "[1, 'a']",
        "a list",
        "an empty list",
        "an empty mapping",
        "a mapping",
    ]
