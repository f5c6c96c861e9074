import json
from pathlib import Path

import pytest

from sweep.errors import StoreError
from sweep.store.records import Manifest

PATH = Path("results/digits/sweep.json")


def test_manifest_survives_its_text(make_manifest):
    """A manifest read back from its JSON is the same manifest."""
    before = make_manifest()
    assert Manifest.from_json(before.to_json(), PATH) == before


def test_manifest_of_an_earlier_release_has_no_hash(make_manifest):
    """The classifiers' hash came later: a file without it is whole."""
    found = json.loads(make_manifest().to_json())
    del found["classifier_hash"]
    assert Manifest.from_json(json.dumps(found), PATH).classifier_hash is None


def test_newer_manifest_is_refused(make_manifest):
    """A manifest of a newer release is refused with both versions and a way out."""
    found = json.loads(make_manifest().to_json()) | {"schema_version": 7, "colour": "blue"}
    with pytest.raises(StoreError) as error:
        Manifest.from_json(json.dumps(found), PATH)
    assert str(error.value) == (
        f"{PATH} has schema version 7, but this release reads versions up to 1: "
        "install the release that wrote it, or a newer one"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("schema_version", "it has no 'schema_version'"),
        ("objectives", "objectives: field required"),
        ("sweep_id", "sweep_id: field required"),
        ("spec", "spec: field required"),
    ],
)
def test_manifest_without_a_field_is_damaged(make_manifest, name, what):
    """A missing field is named."""
    found = json.loads(make_manifest().to_json())
    del found[name]
    with pytest.raises(StoreError) as error:
        Manifest.from_json(json.dumps(found), PATH)
    assert str(error.value) == f"{PATH} is damaged: {what}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": "x"}', '{"schema_version": null}'])
def test_damaged_manifest_names_the_file(text):
    """Text that is no manifest raises StoreError with the file's name, whatever is wrong."""
    with pytest.raises(StoreError, match=r"^results/digits/sweep\.json is damaged: "):
        Manifest.from_json(text, PATH)
