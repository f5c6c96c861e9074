"""What people are shown: no secret, and no line without an end."""

import pytest

from mopoe.errors import masked, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://AKIA:wJalr/XUt+nF@bucket/x", "s3://***@bucket/x"),
        ("s3:/KEY:SECRET@bucket/x", "s3:/***@bucket/x"),
        ("a postgresql+psycopg2://me:p@ss@host:5432/db b", "a postgresql+psycopg2://***@host:5432/db b"),
        ("mysql://host/db?user=me&password=pw&ssl=1", "mysql://host/db?user=me&password=***&ssl=1"),
        ("s3://bucket/x?aws_secret_access_key=abc", "s3://bucket/x?aws_secret_access_key=***"),
        ("http://127.0.0.1:9000/a@b", "http://127.0.0.1:9000/a@b"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("C:/x y:z@w", "C:/x y:z@w"),
    ],
)
def test_addresses_lose_what_opens_them(text: str, expected: str) -> None:
    """User and password before the host, and options that hold one; ports and other signs stay."""
    assert masked(text) == expected


def test_long_lines_lose_their_middle() -> None:
    """Head and end stay, where the key is and what is possible; other lines are as they were."""
    found = shown(f"short\nkey is {'x' * 5000}; possible: a, b")
    first, second = found.split("\n")
    assert first == "short"
    assert len(second) < 800
    assert second.startswith("key is xxx")
    assert second.endswith("x; possible: a, b")
