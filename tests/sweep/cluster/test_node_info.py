"""What a machine reports about itself."""

from sweep.cluster.node_info import FOLDER, NodeQuery, open_ports, probe


def test_a_machine_that_sees_the_marker_writes_its_own(tmp_path):
    """The driver finds the file again under the name in the answer."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "m").write_text("here")
    info = probe(NodeQuery(root=str(tmp_path), marker=f"{FOLDER}/m", data=None))
    assert info.results_error is None
    assert (tmp_path / info.written).read_bytes() == b"written"
    assert dict(info.versions).keys() == {"python", "ray", "torch", "mopoe-sweep"}
    assert info.threads >= 1


def test_a_folder_of_its_own_is_not_taken_for_a_shared_one(tmp_path):
    """A path that exists on every machine, each its own, is told by the missing marker."""
    info = probe(NodeQuery(root=str(tmp_path), marker=f"{FOLDER}/m", data=None))
    assert info.results_error == "a file that the driver has just written there is missing"
    assert info.written is None


def test_a_folder_that_refuses_is_told_with_its_reason(tmp_path):
    """A file where the folder should be."""
    (tmp_path / "r").write_text("")
    info = probe(NodeQuery(root=str(tmp_path / "r"), marker=f"{FOLDER}/m", data=None))
    assert info.results_error


def test_data_is_told_by_its_fingerprint_or_the_reason(tmp_path):
    """Digits are built in; PolyMNIST needs files."""
    query = NodeQuery(root=None, marker="", data=("digits", (("seed", 0),)))
    info = probe(query)
    assert len(info.fingerprint) == 12
    assert info.data_error is None
    info = probe(NodeQuery(root=None, marker="", data=("polymnist", (("path", str(tmp_path / "none")),))))
    assert info.fingerprint is None
    assert str(tmp_path / "none") in info.data_error


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
    assert open_ports(head + tcp, head + tcp6) == (8081, 8265)
