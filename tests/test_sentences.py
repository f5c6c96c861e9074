"""What users read is read by the maintainers too: every change of a text is seen in the stored list."""

from difflib import unified_diff

from sentences import STORED, listing


def test_the_stored_texts_are_those_of_the_sources() -> None:
    """After a change: `python tests/sentences.py --write`, and read the difference."""
    stored = STORED.read_text(encoding="utf-8").splitlines()
    difference = list(unified_diff(stored, listing().splitlines(), "stored", "sources", lineterm="", n=0))
    assert not difference, "\n".join(["run python tests/sentences.py --write", *difference])
