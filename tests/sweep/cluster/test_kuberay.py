"""The manifest for Kubernetes: what KubeRay takes, what Kueue asks for, and what cluster.yaml says."""

import re
import urllib.request
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
RAY = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]
TEXT = (ROOT / "docs" / "kuberay.yaml").read_text(encoding="utf-8")
CRD = "https://raw.githubusercontent.com/ray-project/kuberay/v1.5.1/ray-operator/config/crd/bases/ray.io_rayjobs.yaml"

STRING, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
STRINGS = {"type": "object", "additionalProperties": STRING}


def mapping(*required, **fields):
    """Return the schema of a mapping with these fields."""
    return {"type": "object", "properties": fields, "required": list(required)}


def items(schema):
    """Return the schema of a list of these."""
    return {"type": "array", "items": schema}


CONTAINER = mapping(
    *("name", "image", "resources"),
    name=STRING,
    image=STRING,
    env=items(mapping("name", name=STRING, value=STRING)),
    resources=mapping(requests=STRINGS, limits=STRINGS),
    volumeMounts=items(mapping("name", "mountPath", name=STRING, mountPath=STRING)),
)
POD = mapping(
    *("containers",),
    serviceAccountName=STRING,
    containers=items(CONTAINER),
    volumes=items(mapping("name", name=STRING, configMap=mapping("name", name=STRING))),
)
GROUP = {"rayStartParams": STRINGS, "template": mapping("spec", spec=POD)}
CLUSTER = mapping(
    *("headGroupSpec",),
    rayVersion=STRING,
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=mapping(idleTimeoutSeconds=COUNT),
    authOptions=mapping(mode={"enum": ["disabled", "token"]}),
    headGroupSpec=mapping("rayStartParams", "template", **GROUP),
    workerGroupSpecs=items(
        mapping(
            *("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
            groupName=STRING,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            **GROUP,
        )
    ),
)
JOB = mapping(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=mapping("name", name=STRING, labels=STRINGS),
    spec=mapping(
        entrypoint=STRING,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)
"""What the manifest uses of RayJob, by the API reference of KubeRay 1.5."""


def strict(schema):
    """Return an OpenAPI schema that takes no field that it does not name, as `kubectl --validate=strict`."""
    if not isinstance(schema, dict):
        return schema
    new = {key: strict(value) for key, value in schema.items() if key not in ("properties", "anyOf")}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        new["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        new.setdefault("additionalProperties", schema.get("x-kubernetes-preserve-unknown-fields", False))
    return new


def check(job, schema):
    """Raise unless a manifest is what a schema says; metadata are Kubernetes' own."""
    jsonschema.Draft202012Validator(strict(schema)).validate(job)


@pytest.fixture
def job():
    """Return the shipped manifest."""
    return yaml.safe_load(TEXT)


@pytest.fixture
def queued():
    """Return the manifest with what its comment on Kueue says."""
    text = re.sub(r"# (labels: .*)", r"\1", TEXT).replace("Autoscaling: true", "Autoscaling: false")
    return yaml.safe_load(text.replace(" replicas: 0", " replicas: 8"))


def test_the_manifest_agrees_with_the_cluster_file(job):
    """The manifest's versions, limits, environment and authentication are those of cluster.yaml."""
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == RAY
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 60 * cluster["idle_timeout_minutes"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = spec["workerGroupSpecs"]
    worker = cluster["available_node_types"]["gpu_spot"]
    assert (group["minReplicas"], group["maxReplicas"]) == (worker["min_workers"], worker["max_workers"])
    (head,), (pod,) = (g["template"]["spec"]["containers"] for g in (spec["headGroupSpec"], group))
    limits = pod["resources"]["limits"]
    wanted = {"cpu": str(worker["resources"]["CPU"]), "nvidia.com/gpu": str(worker["resources"]["GPU"])}
    assert wanted.items() <= limits.items()
    assert pod["resources"]["requests"] == limits
    assert (head["image"], head["env"]) == (pod["image"], pod["env"])
    exported = " ".join(cluster["setup_commands"])
    assert all(f"{e['name']}={e['value']}" in exported for e in pod["env"])
    assert f"resources.concurrent={worker['max_workers']}" in job["spec"]["entrypoint"]


def test_the_manifest_is_a_rayjob(job, queued):
    """No field is misspelled, none has the wrong kind; the same with the comment on Kueue followed."""
    check(job, JOB)
    check(queued, JOB)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("spec", "rayClusterSpec", "autoscalerOptions", "idleTimeoutSecond"), 600),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), "8"),
        (
            ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "images"),
            "x",
        ),
        (("spec", "suspended"), True),
    ],
)
def test_what_kubernetes_would_refuse_is_found(job, where, value):
    """A misspelled field at any depth, and a number where a string is asked."""
    *path, last = where
    inner = job
    for step in path:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        check(job, JOB)


def test_kueue_gets_what_it_asks_for(queued):
    """A queue, all workers from the beginning, no autoscaling, and a cluster that ends with its job."""
    assert set(queued["metadata"]["labels"]) == {"kueue.x-k8s.io/queue-name"}
    spec = queued["spec"]["rayClusterSpec"]
    assert spec["enableInTreeAutoscaling"] is False
    assert queued["spec"]["shutdownAfterJobFinishes"] is True
    (group,) = spec["workerGroupSpecs"]
    assert group["replicas"] == group["maxReplicas"]
    assert len(spec["workerGroupSpecs"]) <= 7


@pytest.mark.slow
def test_the_manifest_is_what_the_operator_takes(job, queued):
    """By the schema that KubeRay 1.5.1 itself installs; our own excerpt is no more than that."""
    try:
        with urllib.request.urlopen(CRD, timeout=20) as file:
            crd = yaml.safe_load(file)
    except OSError as error:
        pytest.skip(f"KubeRay's schema cannot be fetched: {error}")
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema["properties"]["metadata"]["x-kubernetes-preserve-unknown-fields"] = True
    check(job, schema)
    check(queued, schema)
