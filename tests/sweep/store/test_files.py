"""Files of a folder and of an object store behave alike; the store's stand-in is a folder seen as buckets."""

import pytest
from pyarrow import fs

from sweep.errors import StoreError
from sweep.store.files import Files, LocalFiles, files_at, local_folder, write_atomically
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES


def remote(folder):
    """Return the stand-in: as in an object store, keys need no folders."""
    for name in ("", "a", "checkpoints", *TABLES):
        (folder / "bucket" / "x" / name).mkdir(parents=True, exist_ok=True)
    return Files(fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), "bucket/x", "s3://bucket/x")


@pytest.fixture(params=["local", "remote"])
def files(request, tmp_path):
    """Give the files of an empty folder of either kind."""
    return LocalFiles(tmp_path / "x") if request.param == "local" else remote(tmp_path)


def test_put_open_list_delete(files):
    """What is put can be read and is listed with its size until it is deleted, which may be twice."""
    assert files.list("a") == {}
    files.put("a/two", lambda file: file.write(b"22"))
    files.put("a/one", lambda file: file.write(b"old"))
    files.put("a/one", lambda file: file.write(b"1"))
    assert list(files.list("a").items()) == [("a/one", 1), ("a/two", 2)]
    assert files.list() == {}
    with files.open("a/one") as file:
        assert file.read() == b"1"
    for _ in range(2):
        files.delete("a/one")
    assert list(files.list("a")) == ["a/two"]
    with pytest.raises(FileNotFoundError):
        files.open("a/one")


def test_half_a_file_is_never_there(files):
    """If writing fails midway the old content stands, and nothing else is listed."""

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    files.put("a/one", lambda file: file.write(b"old"))
    for name in ("a/one", "a/two"):
        with pytest.raises(RuntimeError, match="power cut"):
            files.put(name, fail)
    assert files.list("a") == {"a/one": 3}


def test_store_reads_from_both_alike(files, make_sweep, tmp_path):
    """A sweep copied file by file gives the same tables from a folder and from an object store."""
    local = LocalFiles(make_sweep(tmp_path / "source"))
    for folder in ("", *TABLES):
        for name in local.list(folder):
            files.put(name, lambda to, name=name: to.write(local.open(name).read()))
    store, expected = open_store(files), Store(local)
    assert store.manifest == expected.manifest
    for table in TABLES:
        assert store.table(table).sort("*").collect().equals(expected.table(table).sort("*").collect())
    done = store.trials().filter(status="completed").select("o_log_likelihood", "trial_id").sort("trial_id")
    assert done.collect().rows() == [(-1500.0, "t0000"), (-1501.0, "t0001")]


@pytest.mark.parametrize(
    ("root", "kind", "shown"),
    [
        ("results/x", LocalFiles, "results/x"),
        ("file:///data/x", LocalFiles, "/data/x"),
        ("s3://bucket/x?region=eu-north-1", Files, "s3://bucket/x"),
        ("s3:/bucket/x?region=eu-north-1", Files, "s3://bucket/x"),  # what pathlib makes of an address
    ],
)
def test_addresses_are_told_from_folders(root, kind, shown):
    """A folder, a file address and an object store's, also one that went through pathlib."""
    found = files_at(root)
    assert (type(found), str(found)) == (kind, shown)


def test_unknown_address_is_said():
    """An address of an unknown kind is refused with what is possible."""
    with pytest.raises(StoreError) as error:
        files_at("ftp://host/x")
    assert str(error.value).startswith("ftp://host/x cannot be opened: ")
    assert str(error.value).endswith("; possible: a folder, s3://, gs://")


def test_trials_need_a_folder(tmp_path):
    """An object store as --out is refused in one sentence that says what to do."""
    with pytest.raises(StoreError) as error:
        local_folder("s3://bucket/x?region=eu-north-1")
    assert str(error.value) == (
        "s3://bucket/x is an object store, but trials need a folder of a file system for their checkpoints: "
        "run with a folder as --out, then `sweep merge FOLDER --out s3://bucket/x`"
    )
    assert local_folder(tmp_path / "x") == tmp_path / "x"


def test_missing_store_is_said(tmp_path):
    """A bucket without the folder's files, and one without a manifest, are told apart."""
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    with pytest.raises(StoreError, match=r"^there is no results folder s3://bucket/y$"):
        open_store(Files(system, "bucket/y", "s3://bucket/y"))
    with pytest.raises(StoreError, match=r"^s3://bucket/x is no results folder: it holds no sweep.json$"):
        open_store(remote(tmp_path))


def test_refusal_of_the_file_system_is_a_sentence(tmp_path):
    """Whatever cannot be written or listed is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^cannot write .*/file/a/b: "):
        write_atomically(tmp_path / "file" / "a" / "b", lambda file: file.write(b""))
    (tmp_path / "x" / "a").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"^cannot delete .*/a: "):
        LocalFiles(tmp_path / "x").delete("a")
