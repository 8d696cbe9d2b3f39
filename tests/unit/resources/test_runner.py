"""Jobs: runner Pod and cluster as whole manifests, and one small test per option."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources import labels, names
from dask_gitops.resources.observed import CustomResource, Pod
from dask_gitops.resources.runner import (
    cluster_revision,
    job_cluster,
    runner_pod,
    runner_revision,
)

from tests.manifests import manifests
from tests.unit.objects import TIME
from tests.unit.resources.test_pods import TOLERATIONS

JSON = dict[str, Any]
GATE = {"name": "dask.org/scheduler-ready"}


def job(spec: JSON, name: str = "nightly", **meta: Any) -> CustomResource:
    given = {"name": name, "namespace": "ns", "uid": "job-uid", "generation": 1}
    metadata = {**given, "creationTimestamp": TIME, **meta}
    return CustomResource.of({"kind": "DaskJob", "metadata": metadata, "spec": spec})


def runner(of: CustomResource, attempt: int = 1, restarted_at: str | None = None) -> JSON:
    return runner_pod(
        of, attempt, started=TIME, restarted_at=restarted_at, default_image="default:1"
    )


def one(spec: JSON | None = None, **more: Any) -> JSON:
    """The runner of a Pod spec."""
    return runner(job({"job": {"spec": spec or {"containers": [{"name": "job"}]}}, **more}))


def owner(name: str) -> list[JSON]:
    return [
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskJob",
            "name": name,
            "uid": "job-uid",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def declared(name: str) -> CustomResource:
    """One of the jobs of the existing operator's users."""
    (found,) = [m for m in manifests("jobs") if m["metadata"]["name"] == name]
    return job(found["spec"], **found["metadata"])


def test_the_runner_of_a_manifest_of_the_existing_operator() -> None:
    of = declared("simple-job")
    made = runner(of)
    made["metadata"]["annotations"].pop(labels.HANDED_ON)
    assert made == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "simple-job-runner",
            "namespace": "ns",
            "labels": {
                "sidecar.istio.io/inject": "false",
                "part": "runner",
                "dask.org/cluster-name": "simple-job",
                "dask.org/component": "job-runner",
            },
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
                "dask.org/revision": runner_revision(of),
                "dask.org/attempt": "1",
                "dask.org/run-started": TIME,
                "note": "of the job",
            },
            "ownerReferences": owner("simple-job"),
        },
        "spec": {
            "enableServiceLinks": False,
            "restartPolicy": "OnFailure",
            "schedulingGates": [GATE],
            "tolerations": TOLERATIONS,
            "containers": [
                {
                    "name": "job",
                    "image": "dask:latest",
                    "imagePullPolicy": "IfNotPresent",
                    "args": [
                        "python",
                        "-c",
                        "from dask.distributed import Client; client = Client()",
                    ],
                    "env": [
                        {
                            "name": "DASK_SCHEDULER_ADDRESS",
                            "value": "tcp://simple-job-scheduler.ns.svc:8786",
                        }
                    ],
                }
            ],
        },
    }


def test_its_cluster() -> None:
    of = declared("failed-job")
    made = job_cluster(of, restarted_at=None)
    assert made["metadata"]["annotations"].pop(labels.HANDED_ON)
    assert made == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": "failed-job",
            "namespace": "ns",
            "labels": {"part": "cluster"},
            "annotations": {"dask.org/revision": cluster_revision(of)},
            "ownerReferences": owner("failed-job"),
        },
        "spec": of.spec["cluster"]["spec"],
    }
    assert runner(of)["spec"]["restartPolicy"] == "Never"


def test_all_of_the_clusters_spec_but_what_is_the_jobs_to_say() -> None:
    spec = {
        "autoscaler": {"minimum": 1, "maximum": 3},
        "workerGroups": [{"name": "gpu"}],
        "idleTimeout": 10,
        "worker": {"replicas": None},
    }
    made = job_cluster(
        job({"job": {}, "cluster": {"spec": {**spec, "suspend": True}}}), restarted_at=TIME
    )
    assert made["spec"] == {**spec, "worker": {}}
    assert made["metadata"]["annotations"]["dask.org/restarted-at"] == TIME


@pytest.mark.parametrize("cluster", [{}, {"cluster": {}}, {"cluster": {"spec": {}}}])
def test_a_job_that_says_nothing_of_its_cluster(cluster: JSON) -> None:
    assert job_cluster(job({"job": {}, **cluster}), restarted_at=None)["spec"] == {}


@pytest.mark.parametrize(
    ("declared", "limit", "policy"),
    [
        (None, None, "OnFailure"),
        ("OnFailure", None, "OnFailure"),
        ("Always", None, "OnFailure"),
        ("Never", None, "Never"),
        ("OnFailure", 0, "Never"),
        (None, 3, "Never"),
    ],
)
def test_restart_policy(declared: str | None, limit: int | None, policy: str) -> None:
    spec = {"restartPolicy": declared, "containers": [{"name": "job"}]}
    assert one(spec, backoffLimit=limit)["spec"]["restartPolicy"] == policy


@pytest.mark.parametrize("scheduler", [{"args": ["dask", "scheduler"]}, {"command": ["/start.sh"]}])
def test_a_variable_may_refer_to_the_schedulers_address(scheduler: JSON) -> None:
    """Kubernetes puts in only what stands before."""
    own = {"name": "ADDRESS", "value": "$(DASK_SCHEDULER_ADDRESS)"}
    cluster = {
        "spec": {"scheduler": {"spec": {"containers": [{"name": "scheduler", **scheduler}]}}}
    }
    given = {"job": {"spec": {"containers": [{"name": "job", "env": [own]}]}}, "cluster": cluster}
    (container,) = runner(job(given))["spec"]["containers"]
    assert [e["name"] for e in container["env"]] == ["DASK_SCHEDULER_ADDRESS", "ADDRESS"]


def test_the_users_words_stay() -> None:
    env = [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tls://mine:1"}]
    spec = {
        "containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "b", "env": env}],
        "schedulingGates": [{"name": "example.com/mine"}],
    }
    metadata = {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}}
    made = runner(job({"job": {"spec": spec, "metadata": metadata}}))
    first, second = made["spec"]["containers"]
    assert first["env"][0]["value"] == "tcp://nightly-scheduler.ns.svc:8786"
    assert second["env"] == env
    assert made["spec"]["schedulingGates"] == [{"name": "example.com/mine"}, GATE]
    assert made["metadata"]["annotations"].items() >= metadata["annotations"].items()
    assert "env" not in spec["containers"][0], "the user's object is not touched"


def test_a_node_by_name_becomes_an_affinity() -> None:
    """A Pod with a node must not have a scheduling gate."""
    here = {"key": "metadata.name", "operator": "In", "values": ["node-7"]}
    spec: JSON = {"nodeName": "node-7", "containers": [{"name": "job"}]}
    made = one(spec)["spec"]
    assert "nodeName" not in made
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = {"nodeSelectorTerms": [{"matchFields": [here]}]}
    assert made["affinity"] == {"nodeAffinity": {required: terms}}
    assert made["schedulingGates"] == [GATE]
    assert spec["nodeName"] == "node-7", "the user's object is not touched"


def test_a_node_by_name_stands_beside_every_term_of_an_affinity() -> None:
    here = {"key": "metadata.name", "operator": "In", "values": ["node-7"]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    arm = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
    field = {"key": "metadata.name", "operator": "NotIn", "values": ["node-8"]}
    users = {
        "nodeAffinity": {
            required: {"nodeSelectorTerms": [{"matchExpressions": [arm]}, {"matchFields": [field]}, {}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [],
        },
        "podAffinity": {},
    }  # fmt: skip
    made = one({"nodeName": "node-7", "affinity": users, "containers": [{"name": "job"}]})["spec"]
    assert made["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"] == [
        {"matchExpressions": [arm], "matchFields": [here]},
        {"matchFields": [field, here]},
    ]
    assert made["affinity"].keys() == {"nodeAffinity", "podAffinity"}


def test_without_a_node_by_name_nothing_is_added() -> None:
    assert "affinity" not in one()["spec"]


def test_an_image_that_nobody_names_is_that_of_the_cluster() -> None:
    assert one()["spec"]["containers"][0]["image"] == "default:1"
    cluster = {"spec": {"image": "dask:2"}}
    assert one(cluster=cluster)["spec"]["containers"][0]["image"] == "dask:2"
    both = {"containers": [{"name": "proxy", "image": "p"}, {"name": "runner"}]}
    assert [c["image"] for c in one(both, cluster=cluster)["spec"]["containers"]] == ["p", "dask:2"]


def test_a_runner_that_is_not_declared_is_the_api_servers_to_refuse() -> None:
    assert runner(job({"job": {}}))["spec"]["containers"] == []


def test_names_of_attempts() -> None:
    assert [names.runner_name("j", n) for n in (1, 2, 12)] == [
        "j-runner",
        "j-runner-2",
        "j-runner-12",
    ]
    assert runner(job({"job": {}}), 2, TIME)["metadata"]["name"] == "nightly-runner-2"
    for name, ours in {
        "j-runner": True,
        "j-runner-2": True,
        "j-runner-x": False,
        "j-runner-": False,
        "j-runners": False,
        "a-j-runner": False,
        "j": False,
    }.items():
        assert names.is_runner_name(name, "j") == ours, name


def test_the_same_meaning_is_the_same_revision() -> None:
    plain = job({"job": {"spec": {"containers": [{"name": "job", "env": None}]}}})
    other = job(
        {"job": {"spec": {"containers": [{"name": "job"}]}, "metadata": {"labels": {"a": "b"}}}}
    )
    assert runner_revision(plain) == runner_revision(other)
    assert cluster_revision(job({"job": {}})) == cluster_revision(
        job({"job": {}, "cluster": {"spec": {"suspend": True}}})
    )


# ---- what is seen of one


def seen(containers: list[str], policy: str = "Never", phase: str = "Running", **ended: int) -> Pod:
    """A runner pod in which the containers named in ``ended`` have exited with that code."""
    return Pod.of(
        {
            "metadata": {
                "name": "nightly-runner",
                "namespace": "ns",
                "uid": "u",
                "creationTimestamp": TIME,
                "labels": {"dask.org/component": "job-runner"},
            },
            "spec": {
                "restartPolicy": policy,
                "containers": [{"name": name} for name in containers],
                "schedulingGates": [GATE],
            },
            "status": {
                "phase": phase,
                "containerStatuses": [
                    {
                        "name": name,
                        "restartCount": 0,
                        "state": {"terminated": {"exitCode": ended[name], "reason": "Error"}}
                        if name in ended
                        else {"running": {}},
                    }
                    for name in containers
                ],
            },
        }
    )


@pytest.mark.parametrize(
    ("containers", "decides"),
    [
        (["proxy", "job"], "job"),
        (["runner", "job"], "job"),
        (["proxy", "runner"], "runner"),
        (["mine", "proxy"], "mine"),
    ],
)
def test_which_container_decides(containers: list[str], decides: str) -> None:
    for name in containers:
        assert seen(containers, **{name: 7}).exit_code == (7 if name == decides else None)


@pytest.mark.parametrize(
    ("policy", "phase", "code", "found"),
    [
        ("Never", "Running", 1, 1),
        ("OnFailure", "Running", 1, None),  # the kubelet starts it again
        ("OnFailure", "Running", 0, 0),
        ("OnFailure", "Failed", 137, 137),
        ("OnFailure", "Succeeded", 0, 0),
    ],
)
def test_what_its_exit_means(policy: str, phase: str, code: int, found: int | None) -> None:
    pod = seen(["job", "proxy"], policy, phase, job=code)
    assert pod.exit_code == found
    assert (pod.exited is None) == (found is None)
    assert pod.gates == ("dask.org/scheduler-ready",)
