"""What a machine finds out about itself."""

from sweep.cluster.doctor import FOLDER, Search, listening, look


def test_a_machine_that_sees_the_marker_writes_its_own(tmp_path):
    """The driver finds the file again under the name in the facts."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "m").write_text("here")
    facts = look(Search(root=str(tmp_path), marker=f"{FOLDER}/m", data=None))
    assert facts.results is None
    assert (tmp_path / facts.wrote).read_bytes() == b"seen"
    assert dict(facts.versions).keys() == {"python", "ray", "torch", "mopoe-sweep"}
    assert facts.threads >= 1


def test_a_folder_of_its_own_is_not_taken_for_a_shared_one(tmp_path):
    """A path that exists on every machine, each its own, is told by the missing marker."""
    facts = look(Search(root=str(tmp_path), marker=f"{FOLDER}/m", data=None))
    assert facts.results == "what the driver has just written there is not to be seen"
    assert facts.wrote is None


def test_a_folder_that_refuses_is_told_with_its_reason(tmp_path):
    """A file where the folder should be."""
    (tmp_path / "r").write_text("")
    facts = look(Search(root=str(tmp_path / "r"), marker=f"{FOLDER}/m", data=None))
    assert facts.results


def test_data_is_told_by_its_fingerprint_or_the_reason(tmp_path):
    """Digits are built in; PolyMNIST needs files."""
    search = Search(root=None, marker="", data=("digits", (("seed", 0),)))
    facts = look(search)
    assert len(facts.fingerprint) == 12
    assert facts.data_error is None
    facts = look(Search(root=None, marker="", data=("polymnist", (("path", str(tmp_path / "none")),))))
    assert facts.fingerprint is None
    assert str(tmp_path / "none") in facts.data_error


def test_only_ports_open_to_everybody_count():
    """Loopback, one address alone and connections do not; IPv6 does."""
    head = "  sl  local_address rem_address   st tx_queue\n"
    tcp = (
        "   0: 00000000:2049 00000000:0000 0A 0\n"
        "   1: 0100007F:18EB 00000000:0000 0A 0\n"
        "   2: 0A00000A:1F90 00000000:0000 0A 0\n"
        "   3: 00000000:0016 0100007F:1234 01 0\n"
    )
    tcp6 = "   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0\n"
    assert listening(head + tcp, head + tcp6) == (8081, 8265)
