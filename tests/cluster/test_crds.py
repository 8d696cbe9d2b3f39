"""The custom resource definitions and the chart's installation, on a fresh API server without the controller.

The server is this module's own: the first tests need one that has never seen the definitions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import JSON, CommandError, Kubectl, run

NAME = "crds"
CRDS = "charts/crds/crds"
ROOT = Path(__file__).resolve().parents[2]
KINDS = ["daskautoscalers", "daskclusters", "daskjobs", "daskworkergroups"]


@pytest.fixture(scope="module")
def bare_kubeconfig() -> Iterator[str]:
    """A control plane of this module's own, gone at the end."""

    def tool(*words: str) -> str:
        command = [sys.executable, str(ROOT / "ci/kubernetes"), *words, "--name", NAME]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    tool("down")
    yield tool("up", "--no-node").splitlines()[-1]
    tool("down")


@pytest.fixture(scope="module")
def admin(bare_kubeconfig: str) -> Kubectl:
    return Kubectl(bare_kubeconfig)


@pytest.fixture
def kubectl(admin: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    here = Kubectl(admin.kubeconfig, f"t-{uuid.uuid4().hex[:8]}")
    here("create", "namespace", here.namespace)
    yield here
    here("delete", "namespace", here.namespace, "--wait=false")


@pytest.fixture(scope="module")
def definitions(admin: Kubectl) -> None:
    """The definitions of this tree, established."""
    admin("apply", "--server-side", "-f", str(ROOT / CRDS))
    for kind in KINDS:
        admin(
            "wait",
            f"crd/{kind}.kubernetes.dask.org",
            "--for=condition=Established",
            "--timeout=30s",
        )


def helm(program: str, kubectl: Kubectl, *words: str) -> str:
    """Helm in the test's namespace."""
    return run(program, "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace, *words)


def resource(kind: str, name: str, spec: Any) -> JSON:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def refused(kubectl: Kubectl, manifest: JSON) -> str:
    """What the API server says against a manifest."""
    with pytest.raises(CommandError) as error:
        kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(manifest))
    return str(error.value)


def write_status(kubectl: Kubectl, kind: str, name: str, status: JSON) -> None:
    """As the controller does."""
    patch = json.dumps({"status": status})
    kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


class ReadyByHand:
    """Plays the controller: reports every cluster as ready, over and over."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        while not self.stop.wait(0.3):
            try:
                clusters = self.kubectl.list("daskclusters")
            except CommandError:
                continue  # not defined yet
            for cluster in clusters:
                if (
                    cluster.get("status", {}).get("observedGeneration")
                    == cluster["metadata"]["generation"]
                ):
                    continue
                status = {
                    "observedGeneration": cluster["metadata"]["generation"],
                    "conditions": [{"type": "Ready", "status": "True", "reason": "AllReady"}],
                }
                name = cluster["metadata"]["name"]
                write_status(self.kubectl, "daskcluster", name, status)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


# The chart, installed by Helm. Before anything else: these tests remove the definitions.

each_helm = pytest.mark.parametrize("program", ["helm", "helm3"])


@each_helm
def test_without_the_definitions_helm_says_what_is_missing(kubectl: Kubectl, program: str) -> None:
    words = [
        "--set",
        "crds.enabled=false,controller.enabled=false",
        "--set-json",
        "clusters.demo={}",
    ]
    with pytest.raises(
        CommandError, match=r'no matches for kind "DaskCluster"[^"]*"kubernetes.dask.org/v1"'
    ) as error:
        helm(program, kubectl, "install", "dask", str(ROOT), *words)
    assert "ensure CRDs are installed first" in str(error.value)


@each_helm
def test_first_install_scale_upgrade_and_uninstall(kubectl: Kubectl, program: str) -> None:
    """Definitions, controller and cluster in one release, on a cluster that knows none of them."""
    assert kubectl("get", "crds", "-o", "name").count("kubernetes.dask.org") == 0
    wait = ["--wait", "--timeout", "90s"]
    clusters = [
        "--set-json",
        'clusters={"demo":{"worker":{"replicas":"external"},"workerGroups":{"gpu":{"replicas":"external"}}}}',
    ]
    with ReadyByHand(kubectl):
        # The group stays as it is, nobody reports it: only the cluster is waited for.
        notes = helm(
            program, kubectl, "install", "dask", str(ROOT), "--set-json", "clusters.demo={}", *wait
        )
        assert "DaskCluster demo" in notes
        helm(program, kubectl, "upgrade", "dask", str(ROOT), *clusters)
        kubectl("scale", "daskworkergroup", "demo-gpu", "--replicas=7")
        kubectl("scale", "daskcluster", "demo", "--replicas=5")
        helm(
            program,
            kubectl,
            "upgrade",
            "dask",
            str(ROOT),
            *clusters,
            "--set",
            "defaults.labels.changed=yes",
        )
    group, cluster = kubectl.get("daskworkergroup", "demo-gpu"), kubectl.get("daskcluster", "demo")
    assert group["metadata"]["labels"]["changed"] == "yes"
    assert group["spec"] == {"cluster": "demo", "worker": {"replicas": 7}}, (
        "an upgrade keeps what kubectl scale set"
    )
    assert cluster["spec"] == {"worker": {"replicas": 5}}
    # A group that leaves the values goes, the cluster stays.
    helm(program, kubectl, "upgrade", "dask", str(ROOT), "--set-json", "clusters.demo={}")
    assert not kubectl.exists("daskworkergroup", "demo-gpu")
    assert kubectl.exists("daskcluster", "demo")

    # Without --wait: Helm 4.2 then always waits for its whole timeout, also for objects that are long gone.
    helm(program, kubectl, "uninstall", "dask")
    kubectl("wait", "daskclusters", "--all", "--for=delete", "--timeout=10s")  # no finalizers
    assert kubectl.list("daskclusters") == []
    assert kubectl("get", "crds", "-o", "name").count("kubernetes.dask.org") == 4, (
        "definitions stay"
    )
    kubectl("delete", "crd", *(f"{kind}.kubernetes.dask.org" for kind in KINDS))


def test_the_controllers_pod_is_allowed_where_only_restricted_pods_are(kubectl: Kubectl) -> None:
    kubectl(
        "label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    manifests = yaml.safe_load_all(run("helm", "template", "dask", ROOT, "-n", kubectl.namespace))
    (deployment,) = [m for m in manifests if m and m["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    template["spec"].pop("serviceAccountName")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))


def test_helm_show_crds_upgrades_them(admin: Kubectl) -> None:
    """The way for users of plain Helm, which never upgrades definitions."""
    for program in ("helm", "helm3"):
        shown = run(program, "show", "crds", ROOT)
        applied = admin("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=shown)
        assert applied.count("serverside-applied") == 4


# The definitions.

with_definitions = pytest.mark.usefixtures("definitions")

# As they are written for the Dask operator.
UPSTREAM = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: simple
  annotations: {example.com/a: b}
spec:
  idleTimeout: 0
  worker:
    replicas: 2
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: worker
        image: "ghcr.io/dask/dask:latest"
        imagePullPolicy: "IfNotPresent"
        args: [dask-worker, --name, $(DASK_WORKER_NAME), --dashboard, --dashboard-address, "8788"]
        ports:
        - {name: http-dashboard, containerPort: 8788, protocol: TCP}
        env: [{name: HELLO_WORLD, value: hello}]
        resources: {limits: {cpu: 1, memory: 2G}}
  scheduler:
    spec:
      containers:
      - name: scheduler
        image: "ghcr.io/dask/dask:latest"
        args: [dask-scheduler]
        ports:
        - {name: tcp-comm, containerPort: 8786, protocol: TCP}
        - {name: http-dashboard, containerPort: 8787, protocol: TCP}
        readinessProbe: {httpGet: {port: http-dashboard, path: /health}, initialDelaySeconds: 5, periodSeconds: 10}
    service:
      type: NodePort
      selector: {dask.org/cluster-name: simple, dask.org/component: scheduler}
      ports:
      - {name: tcp-comm, protocol: TCP, port: 8786, targetPort: tcp-comm}
      - {name: http-dashboard, protocol: TCP, port: 8787, targetPort: http-dashboard}
---
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata: {name: simple-additional}
spec:
  cluster: simple
  worker:
    replicas: 2
    spec: {containers: [{name: worker, image: "ghcr.io/dask/dask:latest", args: [dask-worker]}]}
---
apiVersion: kubernetes.dask.org/v1
kind: DaskAutoscaler
metadata: {name: simple}
spec: {cluster: simple, minimum: 1, maximum: 10}
---
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata: {name: simple-job}
spec:
  job:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - {name: job, image: "ghcr.io/dask/dask:latest", args: [python, -c, "from dask.distributed import Client; client = Client()"]}
  cluster:
    spec:
      worker:
        replicas: 2
        spec: {containers: [{name: worker, image: "ghcr.io/dask/dask:latest", args: [dask-worker]}]}
      scheduler:
        spec: {containers: [{name: scheduler, image: "ghcr.io/dask/dask:latest", args: [dask-scheduler]}]}
        service:
          type: ClusterIP
          selector: {dask.org/cluster-name: simple-job, dask.org/component: scheduler}
          ports: [{name: tcp-comm, protocol: TCP, port: 8786, targetPort: tcp-comm}]
"""


@with_definitions
def test_manifests_of_the_dask_operator_apply_unchanged(kubectl: Kubectl) -> None:
    said = kubectl("apply", "-f", "-", stdin=UPSTREAM)
    assert said.count("created") == 4
    for manifest in yaml.safe_load_all(UPSTREAM):
        stored = kubectl.get(manifest["kind"], manifest["metadata"]["name"])
        assert stored["spec"] == manifest["spec"]
    assert kubectl("apply", "-f", "-", stdin=UPSTREAM).count("unchanged") == 4


@with_definitions
def test_nothing_needs_to_be_said(kubectl: Kubectl) -> None:
    kubectl.apply(
        resource("DaskCluster", "empty", {}),
        resource("DaskWorkerGroup", "group", {"cluster": "empty"}),
        resource("DaskJob", "job", {"job": {}}),
    )
    none = resource("DaskCluster", "none", {})
    del none["spec"]
    kubectl.apply(none)
    for name in ("empty", "none"):
        cluster = kubectl.get("daskcluster", name)
        # The one default: an empty map, see the definition.
        assert cluster["spec"] == {"worker": {}}, "no default is written into what git declares"
        assert cluster["status"] == {"observedGeneration": -1}, (
            "in progress for every tool that waits"
        )


@with_definitions
def test_pod_fields_of_tomorrow_are_kept_and_nulls_are_not(kubectl: Kubectl) -> None:
    spec = {"fieldOfTomorrow": {"a": 1}, "containers": [{"name": "worker", "alsoNew": True}]}
    kubectl.apply(
        resource(
            "DaskWorkerGroup", "g", {"cluster": "c", "worker": {"spec": spec, "replicas": None}}
        ),
        resource(
            "DaskCluster",
            "c",
            {"scheduler": {"spec": spec, "service": {"new": 1}}, "idleTimeout": None},
        ),
    )
    assert kubectl.get("daskworkergroup", "g")["spec"]["worker"] == {"spec": spec}
    assert kubectl.get("daskcluster", "c")["spec"] == {
        "scheduler": {"spec": spec, "service": {"new": 1}},
        "worker": {},  # the one default
    }


LONG = "a" * 64
REFUSED = {
    "cluster with a dot": (resource("DaskCluster", "a.b", {}), ["metadata.name", "no dots"]),
    "cluster too long": (resource("DaskCluster", LONG[:54], {}), ["metadata.name", "at most 53"]),
    "cluster starts with a digit": (resource("DaskCluster", "1a", {}), ["metadata.name", "start with a letter"]),
    "job with a dot": (resource("DaskJob", "a.b", {"job": {}}), ["metadata.name", "no dots"]),
    "job too long": (resource("DaskJob", LONG[:54], {"job": {}}), ["metadata.name", "at most 53"]),
    "group with a dot": (resource("DaskWorkerGroup", "a.b", {"cluster": "c"}), ["metadata.name", "no dots"]),
    "group too long": (resource("DaskWorkerGroup", LONG, {"cluster": "c"}), ["metadata.name", "at most 63"]),
    "autoscaler with a dot": (resource("DaskAutoscaler", "a.b", {"cluster": "c", "minimum": 0, "maximum": 1}), ["metadata.name"]),
    "negative replicas": (resource("DaskCluster", "c", {"worker": {"replicas": -1}}), ["spec.worker.replicas"]),
    "typo": (resource("DaskCluster", "c", {"wroker": {}}), ['unknown field "spec.wroker"']),
    "typo in a worker": (resource("DaskWorkerGroup", "g", {"cluster": "c", "worker": {"replica": 1}}), ["spec.worker.replica"]),
    "group without a cluster": (resource("DaskWorkerGroup", "g", {}), ["spec.cluster", "Required"]),
    "job without a job": (resource("DaskJob", "j", {}), ["spec.job", "Required"]),
    "minimum above maximum": (
        resource("DaskAutoscaler", "a", {"cluster": "c", "minimum": 3, "maximum": 1}),
        ["spec.minimum must not be greater than spec.maximum"],
    ),
    "inline minimum above maximum": (
        resource("DaskCluster", "c", {"autoscaler": {"minimum": 3, "maximum": 1}}),
        ["spec.autoscaler", "autoscaler.minimum must not be greater"],
    ),
    "inline group called default": (resource("DaskCluster", "c", {"workerGroups": [{"name": "default"}]}), ["workerGroups", '"default"']),
    "inline group with a dot": (resource("DaskCluster", "c", {"workerGroups": [{"name": "a.b"}]}), ["workerGroups", "lower-case"]),
    "inline group too long": (resource("DaskCluster", "cc", {"workerGroups": [{"name": LONG[:61]}]}), ["workerGroups", "at most 63"]),
    "inline groups of one name": (resource("DaskCluster", "c", {"workerGroups": [{"name": "a"}, {"name": "a"}]}), ["workerGroups", "Duplicate"]),
    "group with a strategy for a scheduler": (
        resource("DaskWorkerGroup", "g", {"cluster": "c", "updateStrategy": {"scheduler": "OnDelete"}}),
        ['unknown field "spec.updateStrategy.scheduler"'],
    ),
    "containers as a map": (
        resource("DaskCluster", "c", {"worker": {"spec": {"containers": {"worker": {}}}}}),
        ["spec.worker.spec.containers", "array"],
    ),
    "a container in one word": (
        resource("DaskCluster", "c", {"scheduler": {"spec": {"containers": ["x"]}}}),
        ["spec.scheduler.spec.containers[0]", "object"],
    ),
    "a stray dash": (
        resource("DaskWorkerGroup", "g", {"cluster": "c", "worker": {"spec": {"tolerations": [None]}}}),
        ["spec.worker.spec.tolerations[0]", "object"],
    ),
    "tolerations as a map": (
        resource("DaskJob", "j", {"job": {"spec": {"tolerations": {"key": "a"}}}}),
        ["spec.job.spec.tolerations", "array"],
    ),
    "a text for seconds": (
        resource("DaskCluster", "c", {"workerGroups": [{"name": "g", "worker": {"spec": {"terminationGracePeriodSeconds": "5"}}}]}),
        ["spec.workerGroups[0].worker.spec.terminationGracePeriodSeconds", "integer"],
    ),
    "ports of the Service as a map": (
        resource("DaskCluster", "c", {"scheduler": {"service": {"ports": {"extra": 9000}}}}),
        ["spec.scheduler.service.ports", "array"],
    ),
    "unknown idleAction": (resource("DaskCluster", "c", {"idleAction": "Stop"}), ["spec.idleAction", '"Delete", "Scale"']),
}  # fmt: skip


@with_definitions
@pytest.mark.parametrize(("manifest", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name(kubectl: Kubectl, manifest: JSON, words: list[str]) -> None:
    said = refused(kubectl, manifest)
    for word in words:
        assert word in said


def with_strategy(kind: str, strategy: JSON, name: str = "x") -> JSON:
    spec = {"updateStrategy": strategy}
    if kind == "DaskJob":
        return resource(kind, name, {"job": {}, "cluster": {"spec": spec}})
    return resource(kind, name, {"cluster": "c", **spec} if kind == "DaskWorkerGroup" else spec)


NO_SHARE = "a number of workers (0 or more) or a percentage such as 25%"
NO_STEP = "must not both be 0, no worker could ever be replaced"
BAD_ROLL_OUTS: list[tuple[str, JSON, str, str]] = [  # kind, spec.updateStrategy, field, message
    *((kind, {field: value}, f"updateStrategy.{field}", NO_SHARE)
        for kind in ("DaskCluster", "DaskWorkerGroup", "DaskJob")
        for field in ("maxSurge", "maxUnavailable")
        for value in (-1, "-1%", "1.5%", "25", "", "25 %")),
    *((kind, strategy, "updateStrategy", NO_STEP)
        for kind in ("DaskCluster", "DaskWorkerGroup", "DaskJob")
        for strategy in ({"maxSurge": 0, "maxUnavailable": 0}, {"maxSurge": "00%", "maxUnavailable": "0%"})),
    *((kind, {"maxSurge": surge}, "updateStrategy", NO_STEP) for kind in ("DaskCluster", "DaskJob") for surge in (0, "0%")),
    ("DaskCluster", {"maxSurge": 0.5}, "updateStrategy.maxSurge", "Invalid value"),
    ("DaskCluster", {"scheduler": "whenIdle"}, "updateStrategy.scheduler", '"WhenIdle", "Immediate", "OnDelete"'),
    ("DaskCluster", {"schedulerDeadlineSeconds": -1}, "updateStrategy.schedulerDeadlineSeconds", "greater than or equal to 0"),
]  # fmt: skip
NO_TIMES = [
    "now", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T12:00:00+99:99",
    "2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00z", "0000-01-01T00:00:00Z",
]  # fmt: skip
BAD_FIELDS = [
    *({"restartedAt": time} for time in NO_TIMES),
    {"progressDeadlineSeconds": 0},
    {"whenUnreachable": "Wait"},
]


@with_definitions
def test_roll_outs_that_cannot_be_meant_are_refused_by_name(kubectl: Kubectl) -> None:
    expected: dict[str, tuple[str, str]] = {}
    manifests = []
    for number, (kind, strategy, field, words) in enumerate(BAD_ROLL_OUTS):
        expected[f"strategy-{number}"] = (field, words)
        manifests.append(with_strategy(kind, strategy, f"strategy-{number}"))
    for number, spec in enumerate(BAD_FIELDS):
        (field,) = spec
        expected[f"field-{number}"] = (f"spec.{field}", "Invalid value|Unsupported value")
        manifests.append(resource("DaskCluster", f"field-{number}", spec))
    said = refused(kubectl, {"apiVersion": "v1", "kind": "List", "items": manifests})
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        (answer,) = [line for line in said.splitlines() if f'"{name}"' in line]
        field, words = expected[name]
        assert field in answer, manifest
        assert any(choice in answer for choice in words.split("|")), (manifest, answer)


@with_definitions
def test_roll_outs_are_described_as_they_are_meant(kubectl: Kubectl) -> None:
    """Numbers, percentages and times are stored as they were written."""
    strategies = [
        {"maxSurge": 0, "maxUnavailable": 1},
        {"maxSurge": "0%", "maxUnavailable": "1%"},
        {"maxSurge": "150%", "maxUnavailable": 0},
        {"maxSurge": 1000000},
        {"maxUnavailable": "0%"},
        {},
    ]
    for kind in ("DaskCluster", "DaskWorkerGroup"):
        for strategy in strategies:
            kubectl.apply(with_strategy(kind, strategy))
            assert kubectl.get(kind, "x")["spec"].get("updateStrategy") == strategy
    # A group takes from its cluster what it does not say itself.
    kubectl.apply(with_strategy("DaskWorkerGroup", {"maxSurge": 0}))
    spec = {
        "updateStrategy": {"scheduler": "Immediate", "schedulerDeadlineSeconds": 0},
        "progressDeadlineSeconds": 1,
        "whenUnreachable": "Drain",
        "worker": {},
    }
    for time in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789+23:59"):
        kubectl.apply(resource("DaskCluster", "steered", {**spec, "restartedAt": time}))
        assert kubectl.get("daskcluster", "steered")["spec"] == {**spec, "restartedAt": time}


@with_definitions
def test_the_longest_names_work(kubectl: Kubectl) -> None:
    """A cluster of 53 characters has a default group of 61."""
    kubectl.apply(
        resource("DaskCluster", LONG[:53], {"workerGroups": [{"name": "b" * 9}]}),
        resource("DaskWorkerGroup", f"{LONG[:53]}-default", {"cluster": LONG[:53]}),
        resource("DaskWorkerGroup", LONG[:63], {"cluster": LONG[:53]}),
        resource("DaskJob", LONG[:53], {"job": {}}),
    )


@with_definitions
def test_a_group_stays_with_its_cluster(kubectl: Kubectl) -> None:
    scaler = {"minimum": 0, "maximum": 1}
    kubectl.apply(
        resource("DaskWorkerGroup", "g", {"cluster": "one"}),
        resource("DaskAutoscaler", "a", {"cluster": "one", **scaler}),
    )
    assert "spec.cluster is immutable" in refused(
        kubectl, resource("DaskWorkerGroup", "g", {"cluster": "two"})
    )
    assert "spec.cluster is immutable" in refused(
        kubectl, resource("DaskAutoscaler", "a", {"cluster": "two", **scaler})
    )


@with_definitions
@pytest.mark.parametrize("kind", ["daskworkergroup", "daskcluster"])
def test_scale(kubectl: Kubectl, kind: str) -> None:
    """Also while replicas was never set, and by the names that `kubectl get` knows."""
    kubectl.apply(
        resource("DaskCluster", "x", {}), resource("DaskWorkerGroup", "x", {"cluster": "x"})
    )
    kubectl("scale", kind, "x", "--replicas=3")
    write_status(kubectl, kind, "x", {"replicas": 2, "selector": "dask.org/workergroup-name=x"})
    scale = json.loads(kubectl("get", kind, "x", "--subresource=scale", "-o", "json"))
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": "dask.org/workergroup-name=x"}
    with pytest.raises(CommandError, match="greater than or equal to 0"):
        kubectl("scale", kind, "x", "--replicas=-1")


@with_definitions
def test_status_is_apart_from_the_spec(kubectl: Kubectl) -> None:
    """Writing a status makes no new generation, and applying a manifest does not touch the status."""
    manifest = resource("DaskCluster", "c", {})
    kubectl.apply(manifest)
    status = {
        "observedGeneration": 1,
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    write_status(kubectl, "daskcluster", "c", status)
    kubectl.apply({**manifest, "spec": {"idleTimeout": 5}, "status": {"phase": "Nonsense"}})
    stored = kubectl.get("daskcluster", "c")
    assert stored["metadata"]["generation"] == 2
    assert stored["status"] == status
    with pytest.raises(CommandError, match="Unsupported value"):
        write_status(
            kubectl, "daskcluster", "c", {"conditions": [{"type": "Ready", "status": "Yes"}]}
        )


def table(kubectl: Kubectl, *words: str) -> dict[str, str]:
    """The row that people see, by column. No cell of these tests has two spaces in a row."""
    head, row = kubectl("get", *words).splitlines()
    starts = [i for i, c in enumerate(head) if c != " " and (i == 0 or head[i - 1] == " ")]
    ends = [*starts[1:], None]
    return {head[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}


@with_definitions
def test_columns(kubectl: Kubectl) -> None:
    conditions = [
        {"type": "Reconciling", "status": "True", "reason": "Wrong", "message": "wrong"},
        {
            "type": "Ready",
            "status": "False",
            "reason": "ImagePullBackOff",
            "message": "no-such-image",
        },
    ]
    kubectl("apply", "-f", "-", stdin=UPSTREAM)
    for kind, name, status in [
        ("daskcluster", "simple", {
            "phase": "Pending", "workers": {"ready": 3, "desired": 4}, "scheduler": {"restarts": 2},
            "schedulerAddress": "tcp://s:8786", "dashboardAddress": "http://s:8787",
        }),
        ("daskworkergroup", "simple-additional", {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2}),
        ("daskautoscaler", "simple", {"currentReplicas": 3, "desiredReplicas": 5, "lastDecision": "up"}),
        ("daskjob", "simple-job", {"jobStatus": "Running", "attempts": 1, "jobRunnerPodName": "simple-job-runner"}),
    ]:  # fmt: skip
        write_status(kubectl, kind, name, {**status, "conditions": conditions})

    def row(*words: str) -> dict[str, str]:
        found = table(kubectl, *words)
        assert found.pop("AGE").endswith("s")
        return found

    ready = {"STATUS": "ImagePullBackOff"}
    assert row("dsk") == {
        "NAME": "simple",
        "READY": "3",
        "DESIRED": "4",
        **ready,
    }
    assert row("daskworkers") == {
        "NAME": "simple-additional", "CLUSTER": "simple", "DESIRED": "2", "READY": "1", "UPDATED": "2", **ready,
    }  # fmt: skip
    assert row("daskautoscalers") == {
        "NAME": "simple", "CLUSTER": "simple", "MINIMUM": "1", "MAXIMUM": "10", "CURRENT": "3", "DESIRED": "5", **ready,
    }  # fmt: skip
    assert row("djb") == {
        "NAME": "simple-job",
        "JOB": "Running",
        "ATTEMPTS": "1",
        "STARTED": "",
        "ENDED": "",
        **ready,
    }
    wide = row("daskcluster", "-o", "wide")
    assert (wide["RESTARTS"], wide["SCHEDULER"], wide["DASHBOARD"], wide["MESSAGE"]) == (
        "2", "tcp://s:8786", "http://s:8787", "no-such-image",
    )  # fmt: skip
    assert kubectl("get", "dask", "-o", "name").count("/") == 4, "the category holds all four kinds"


def test_objects_older_than_a_rule_can_still_be_written(admin: Kubectl, kubectl: Kubectl) -> None:
    """Names were not checked before: adopting such objects, their status must be writable and they must be fixable."""
    text = (ROOT / CRDS / "daskclusters.yaml").read_text(encoding="utf-8")
    new = yaml.safe_load(
        text.replace("kubernetes.dask.org", "older.dask.example.com").replace("daskcluster, ", "")
    )
    schema = new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    old = json.loads(json.dumps(new))
    del old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
    assert len(schema["x-kubernetes-validations"]) >= 2
    name = new["metadata"]["name"]
    try:
        admin("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(old))
        admin("wait", f"crd/{name}", "--for=condition=Established", "--timeout=30s")
        manifest = {
            **resource("DaskCluster", "a.dotted." + LONG[:53], {}),
            "apiVersion": "older.dask.example.com/v1",
        }
        kubectl.apply(manifest)
        admin("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(new))
        # The new rules are in force as soon as a new object with such a name is refused.
        twin = {**manifest, "metadata": {"name": "another.dot"}}
        for _ in range(50):
            try:
                kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(twin))
            except CommandError:
                break
        assert "no dots" in refused(kubectl, twin)
        dotted = manifest["metadata"]["name"]
        write_status(kubectl, name, dotted, {"phase": "Error"})
        kubectl("patch", name, dotted, "--type=merge", "-p", '{"spec":{"idleTimeout":5}}')
        kubectl("delete", name, dotted)
    finally:
        admin("delete", "crd", name, "--ignore-not-found")


WRONG_SHAPES: dict[str, JSON] = {
    "map": {"containers": {"worker": {}}},
    "word": {"containers": ["x"]},
    "dash": {"tolerations": [None]},
    "deep": {"containers": [{"name": "worker", "env": {"A": "1"}}]},
    "text": {"terminationGracePeriodSeconds": "5"},
}


def without_shapes(node: Any) -> Any:
    """A definition as it was when Kubernetes' own specs could be anything."""
    if isinstance(node, list):
        return [without_shapes(item) for item in node]
    if not isinstance(node, dict):
        return node
    anything = node.get("x-kubernetes-preserve-unknown-fields")
    return {
        key: without_shapes(value)
        for key, value in node.items()
        if not (anything and key == "properties")
    }


@pytest.mark.parametrize("shape", WRONG_SHAPES)
def test_objects_of_a_wrong_shape_can_still_be_written_and_mended(
    admin: Kubectl, kubectl: Kubectl, shape: str
) -> None:
    """They were taken before: their status and scale must be writable, and a person must be able to mend them."""
    group = f"{shape}.dask.example.com"
    text = (ROOT / CRDS / "daskclusters.yaml").read_text(encoding="utf-8")
    new = yaml.safe_load(text.replace("kubernetes.dask.org", group).replace("daskcluster, ", ""))
    name = new["metadata"]["name"]
    right = {"scheduler": {"spec": {"nodeName": "x"}}, "worker": {"replicas": 1}}

    def manifest(called: str, spec: JSON) -> str:
        return yaml.safe_dump(
            {**resource("DaskCluster", called, spec), "apiVersion": f"{group}/v1"}
        )

    wrong = {**right, "scheduler": {"spec": WRONG_SHAPES[shape]}, "worker": {"replicas": 1, "spec": WRONG_SHAPES[shape]}}  # fmt: skip
    ways = {"client": ["apply"], "server": ["apply", "--server-side"]}
    try:
        admin("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(without_shapes(new)))
        admin("wait", f"crd/{name}", "--for=condition=Established", "--timeout=30s")
        for way, words in ways.items():
            kubectl(*words, "-f", "-", stdin=manifest(way, wrong))
        admin("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(new))
        if shape != "deep":  # which no definition sees: the controller tells
            for _ in range(50):
                try:
                    kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest("twin", wrong))
                except CommandError:
                    break
            with pytest.raises(CommandError, match=r"spec\.scheduler\.spec\."):
                kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest("twin", wrong))
        for way, words in ways.items():
            write_status(kubectl, name, way, {"phase": "Error"})
            number = 7
            if shape == "map":  # the API server cannot tell that such a one did not change
                number = 1
                with pytest.raises(CommandError, match=r"spec\.worker\.spec\.containers"):
                    kubectl("scale", name, way, "--replicas=7")
            else:
                kubectl("scale", name, way, "--replicas=7")
            write_status(kubectl, name, way, {"phase": "Pending", "replicas": number})
            found = kubectl.get(name, way)
            assert found["spec"]["worker"] == {"replicas": number, "spec": WRONG_SHAPES[shape]}
            assert found["status"]["phase"] == "Pending"
            mending: JSON = {**right, "worker": {"replicas": number, "spec": None}}
            if way == "server":
                del mending["worker"]["spec"]
            if way == "server" and shape in ("map", "text", "word"):
                # It reads what is there, too: it names the field, and `replace` mends it.
                with pytest.raises(CommandError, match=r"\.spec\.scheduler\.spec\."):
                    kubectl(*words, "-f", "-", stdin=manifest(way, mending))
                words = ["replace"]
            kubectl(*words, "-f", "-", stdin=manifest(way, mending))
            mended = kubectl.get(name, way)["spec"]
            assert mended["scheduler"] == right["scheduler"]
            assert "spec" not in mended["worker"]
    finally:
        admin("delete", "crd", name, "--ignore-not-found")
