"""What tells folders from addresses, and what is said if the file system refuses."""

import tempfile
from pathlib import Path

import pytest

from sweep.errors import StoreError
from sweep.store.files import Files, LocalFiles, canonical_uri, files_at, write_atomically


@pytest.mark.parametrize(
    ("root", "kind", "shown"),
    [
        ("results/x", LocalFiles, "results/x"),
        ("file:///data/x", LocalFiles, "/data/x"),
        ("s3://bucket/x?region=eu-north-1", Files, "s3://bucket/x?region=eu-north-1"),
        # What pathlib makes of an address.
        ("s3:/bucket/x?region=eu-north-1", Files, "s3://bucket/x?region=eu-north-1"),
        ("s3://KEY:SECRET@bucket/x?region=x", Files, "s3://***@bucket/x?region=x"),
    ],
)
def test_addresses_are_told_from_folders(root, kind, shown):
    """Also an address that went through pathlib; what is shown of one lacks its secrets."""
    found = files_at(root)
    assert (type(found), str(found)) == (kind, shown)


def test_unknown_address_is_said():
    """An address of an unknown kind is refused with what is possible."""
    with pytest.raises(StoreError) as error:
        files_at("ftp://host/x")
    assert str(error.value).startswith("ftp://host/x cannot be opened: ")
    assert str(error.value).endswith("; possible: a folder, s3://, gs://")


def test_settled_place_means_the_same_everywhere(tmp_path, monkeypatch):
    """A relative folder becomes a full path; an address keeps its options and gets back its slashes."""
    monkeypatch.chdir(tmp_path)
    assert canonical_uri("x") == str(tmp_path / "x")
    assert canonical_uri("s3:/bucket/x?region=eu-north-1") == "s3://bucket/x?region=eu-north-1"
    assert files_at(canonical_uri("file:///x")).local_dir == Path("/x")


def test_copies_of_an_object_store_are_private(tmp_path, monkeypatch):
    """The folder of copies is closed to others, and one that another has put there is refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine, theirs = files_at("s3://bucket/mine?region=eu-north-1").local_dir, tmp_path / "theirs"
    assert mine.parent == tmp_path
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.rmdir()
    theirs.mkdir()
    mine.symlink_to(theirs)
    with pytest.raises(StoreError, match="belongs to another user; set TMPDIR to a folder of your own"):
        _ = files_at("s3://bucket/mine?region=eu-north-1").local_dir


def test_refusal_of_the_file_system_is_a_sentence(tmp_path):
    """Whatever cannot be written or listed is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^cannot write .*/file/a/b: "):
        write_atomically(tmp_path / "file" / "a" / "b", lambda file: file.write(b""))
    (tmp_path / "x" / "a").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"^cannot delete .*/a: "):
        LocalFiles(tmp_path / "x").delete("a")
