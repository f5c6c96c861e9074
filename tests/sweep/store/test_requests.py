"""What users ask of a sweep, as files of its folder."""

from datetime import UTC, datetime

import pytest

from sweep.errors import StoreError
from sweep.store.files import files_at
from sweep.store.requests import Request, ask, read_request, waiting


@pytest.mark.parametrize("kind", ["a folder", "an object store"])
def test_a_request_is_there_until_it_is_deleted(kind, tmp_path, request):
    """Those asked earlier come first, whatever the order of writing; a folder without any has none."""
    files = files_at(tmp_path if kind == "a folder" else request.getfixturevalue("s3"))
    assert waiting(files) == {}
    late = Request(kind="stop", trial_id="t0007", at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    settings = {"beta": 2.0, "subset_weights": [0.5, 0.5], "channels": None}
    early = Request(kind="add", settings=settings, at=datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC))
    names = [ask(files, late), ask(files, early)]
    assert list(waiting(files).items()) == [(names[1], early), (names[0], late)]
    files.delete(names[0])
    assert list(waiting(files).values()) == [early]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it: invalid JSON"),
        ('{"kind": "run", "at": "2026-01-02T00:00:00Z"}', "kind: input should be 'add' or 'stop'"),
        ('{"kind": "add", "at": "2026-01-02T00:00:00"}', "at: input should have timezone info"),
        ('{"kind": "stop", "at": "2026-01-02T00:00:00Z", "trial_id": "../x"}', "trial_id: string should"),
        ('{"kind": "add", "at": "2026-01-02T00:00:00Z", "run": "os.system"}', "run: unexpected keyword"),
    ],
)
def test_what_is_no_request_is_a_sentence(tmp_path, content, why):
    """It names the file; whoever lists the requests does without it."""
    files = files_at(tmp_path)
    files.put("requests/a.json", lambda file: file.write(content.encode()))
    with pytest.raises(StoreError, match=rf"requests/a\.json is no request: {why}"):
        read_request(files, "requests/a.json")
    assert waiting(files) == {}
