from sweep.store.reference import PAGE, page


def test_page_is_that_of_the_schemas():
    """`docs/tables.md` is what `python -m sweep.store.reference` writes today."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m sweep.store.reference`"


def test_page_has_a_line_per_column():
    """A column stands with its type, unit and sentence under its table, behind the table's key."""
    epochs = page().partition("## epochs")[2].partition("## ")[0]
    assert "Key: trial_id, attempt, epoch." in epochs
    assert "| epoch | int32 | epochs | Epochs finished, counted from 1. |" in epochs.splitlines()
