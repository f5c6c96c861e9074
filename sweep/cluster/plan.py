"""What a sweep's command on the head is, from the cluster's file and the sweep. Pure."""

from sweep.cluster.file import ClusterFile
from sweep.errors import ClusterError
from sweep.spec.sweep_spec import SweepSpec


def shared_place(cluster: ClusterFile, name: str, out: str | None) -> str:
    """Return where all machines find the results of a sweep of this name.

    Raises:
        ClusterError: nothing says where, or it is a relative path.
    """
    # An address may end in options, as in s3://bucket/folder?region=us-west-2.
    base, mark, options = (cluster.results or "").partition("?")
    place = out or (f"{base.rstrip('/')}/{name}{mark}{options}" if base else None)
    possible = "s3://BUCKET/FOLDER, or the full path of a folder that all machines share"
    if place is None:
        raise ClusterError(f"{cluster.path} has no key metadata.results; add it or give --out: {possible}")
    if "://" not in place and not place.startswith("/"):
        raise ClusterError(f"results cannot go to {place!r}, a folder of one machine; possible: {possible}")
    return place


def growth(cluster: ClusterFile, spec: SweepSpec) -> list[str]:
    """Return the options that let a sweep count on machines that have not joined yet."""
    words = ["--workers", str(cluster.workers)] if cluster.workers else []
    wanted = spec.resources
    if cluster.gpus and wanted.gpu == "auto":
        words += ["-o", "resources.gpu=1"]
    if cluster.cpus and wanted.concurrent is None:
        words += ["-o", f"resources.concurrent={wanted.slots(cluster.cpus, cluster.gpus)}"]
    return words
