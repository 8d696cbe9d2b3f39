"""Pods: the whole manifest where it counts, one small test per option."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dask_gitops.resources.observed import Pod
from dask_gitops.resources.pods import scheduler_pod, worker_pod, worker_revision

from tests.unit.objects import CONTROL, cluster, group

JSON = dict[str, Any]
EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
KARPENTER = "karpenter.sh/do-not-disrupt"
PRELOAD = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
TOLERATIONS = [
    {
        "key": f"node.kubernetes.io/{word}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 60,
    }
    for word in ("not-ready", "unreachable")
]


def scheduler(spec: JSON | None = None, **more: Any) -> JSON:
    """The manifest for this scheduler Pod spec."""
    declared = cluster({"scheduler": {"spec": spec, **more.pop("scheduler", {})}, **more})
    return scheduler_pod(declared, default_image="dask:1", control=CONTROL, token="t")


def worker(spec: JSON | None = None, *, of: JSON | None = None, **more: Any) -> JSON:
    return worker_pod(
        cluster(of), group({"worker": {"spec": spec, **more}}), 0, default_image="dask:1"
    )


def main(pod: JSON) -> JSON:
    found: JSON = pod["spec"]["containers"][0]
    return found


def env(pod: JSON) -> JSON:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in main(pod)["env"]}


def test_the_scheduler_of_an_empty_spec() -> None:
    probe = {"httpGet": {"path": "/health", "port": 8789}}
    assert scheduler_pod(cluster(), default_image="dask:1", control=CONTROL, token="secret") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "demo-scheduler",
            "namespace": "ns",
            "labels": {
                "sidecar.istio.io/inject": "false",
                "dask.org/cluster-name": "demo",
                "dask.org/component": "scheduler",
            },
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
                "dask.org/revision": "aaaaf55dca",  # pinned: another value would restart everybody
            },
            "ownerReferences": [
                {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskCluster",
                    "name": "demo",
                    "uid": "cluster-uid",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "enableServiceLinks": False,
            "restartPolicy": "Always",
            "tolerations": TOLERATIONS,
            "containers": [
                {
                    "name": "scheduler",
                    "image": "dask:1",
                    "args": ["dask", "scheduler"],
                    "ports": [
                        {"name": "tcp-comm", "containerPort": 8786},
                        {"name": "http-dashboard", "containerPort": 8787},
                        {"name": "control", "containerPort": 8789},
                    ],
                    "startupProbe": {
                        **probe,
                        "periodSeconds": 1,
                        "timeoutSeconds": 5,
                        "failureThreshold": 600,
                    },
                    "readinessProbe": {
                        **probe,
                        "periodSeconds": 1,
                        "timeoutSeconds": 5,
                        "failureThreshold": 10,
                    },
                    "livenessProbe": {
                        **probe,
                        "periodSeconds": 20,
                        "timeoutSeconds": 10,
                        "failureThreshold": 6,
                    },
                    "env": [
                        {"name": PRELOAD, "value": "import os; load()"},
                        {"name": f"{PRELOAD}_ARGV", "value": "[]"},
                        {"name": "CONTROL_SOURCE", "value": "the source"},
                        {"name": "SCHEDULER_CONTROL_TOKEN", "value": "secret"},
                        {"name": "SCHEDULER_CONTROL_PORT", "value": "8789"},
                    ],
                }
            ],
        },
    }


def test_the_worker_of_an_empty_spec() -> None:
    name = "demo-default-worker-b7d6f5f7ae"
    pod = worker_pod(cluster(), group(), 0, default_image="dask:1")
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod["metadata"]["name"],
            "namespace": "ns",
            "labels": {
                "sidecar.istio.io/inject": "false",
                "dask.org/cluster-name": "demo",
                "dask.org/component": "worker",
                "dask.org/workergroup-name": "demo-default",
                "dask.org/worker-serial": "0",
            },
            "annotations": {
                "dask.org/revision": worker_revision(cluster(), group()),
                "dask.org/scheduler-image": "dask:1",
            },
            "ownerReferences": pod["metadata"]["ownerReferences"],
        },
        "spec": {
            "enableServiceLinks": False,
            "restartPolicy": "OnFailure",
            "tolerations": TOLERATIONS,
            "containers": [
                {
                    "name": "worker",
                    "image": "dask:1",
                    "args": [
                        "dask",
                        "worker",
                        "--name",
                        "$(DASK_WORKER_NAME)",
                        "--dashboard-address",
                        ":8788",
                    ],
                    "ports": [{"name": "http-dashboard", "containerPort": 8788}],
                    "readinessProbe": {
                        "httpGet": {"path": "/health", "port": 8788},
                        "periodSeconds": 2,
                        "timeoutSeconds": 5,
                        "failureThreshold": 15,
                    },
                    "env": [
                        {"name": "DASK_WORKER_NAME", "value": pod["metadata"]["name"]},
                        {
                            "name": "DASK_SCHEDULER_ADDRESS",
                            "value": "tcp://demo-scheduler.ns.svc:8786",
                        },
                    ],
                }
            ],
        },
    }
    assert len(pod["metadata"]["name"]) == len(name)


def test_a_worker_belongs_to_the_cluster_not_to_the_group() -> None:
    (owner,) = worker()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("DaskCluster", "cluster-uid")


def test_names_follow_from_cluster_group_and_serial() -> None:
    def name(uid: str, group_name: str, serial: int) -> str:
        pod = worker_pod(cluster(uid=uid), group(name=group_name), serial, default_image="d")
        return str(pod["metadata"]["name"])

    assert name("a", "g", 0) == name("a", "g", 0)
    names = {name(u, g, s) for u in "ab" for g in ("g", "h") for s in range(50)}
    assert len(names) == 200


def test_the_users_object_stays_as_it_is() -> None:
    spec = {"containers": [{"args": ["dask-worker"], "env": [{"name": "A", "value": "1"}]}]}
    worker(spec)
    scheduler(spec)
    assert spec == {"containers": [{"args": ["dask-worker"], "env": [{"name": "A", "value": "1"}]}]}


USERS = {
    "image": "mine:2",
    "command": ["my-start"],
    "resources": {"limits": {"cpu": 2}},
    "readinessProbe": {"exec": {"command": ["true"]}},
    "livenessProbe": {"exec": {"command": ["true"]}},
    "startupProbe": {"exec": {"command": ["true"]}},
    "securityContext": {"runAsNonRoot": True},
    "workingDir": "/data",
    "notYetInvented": 1,
}


@pytest.mark.parametrize("field", USERS)
@pytest.mark.parametrize("make", [scheduler, worker])
def test_what_the_user_says_of_the_container_stays(make: Any, field: str) -> None:
    assert main(make({"containers": [{field: USERS[field]}]}))[field] == USERS[field]


POD = {
    "restartPolicy": "Never",
    "enableServiceLinks": True,
    "nodeSelector": {"pool": "big"},
    "serviceAccountName": "me",
    "hostNetwork": True,
    "notYetInvented": {"a": [1]},
    "terminationGracePeriodSeconds": 5,
}


@pytest.mark.parametrize("field", POD)
@pytest.mark.parametrize("make", [scheduler, worker])
def test_what_the_user_says_of_the_pod_stays(make: Any, field: str) -> None:
    assert make({field: POD[field]})["spec"][field] == POD[field]


@pytest.mark.parametrize("make", [scheduler, worker])
def test_null_means_absent(make: Any) -> None:
    nothing = dict.fromkeys(("image", "args", "command", "env", "ports", "resources"))
    spec = {"containers": [nothing], "restartPolicy": None, "tolerations": None, "volumes": None}
    assert make({**spec, "enableServiceLinks": None})["spec"] == make(None)["spec"]
    assert make({"containers": None})["spec"] == make(None)["spec"]


def test_args_of_the_user_replace_ours() -> None:
    assert main(worker({"containers": [{"args": ["my", "worker"]}]}))["args"] == ["my", "worker"]
    made = main(worker({"containers": [{"command": ["my-worker"]}]}))
    assert made["command"] == ["my-worker"]
    assert "args" not in made


def test_a_worker_without_a_fixed_dashboard_port_has_no_probe() -> None:
    for args in (["my-worker"], ["dask", "worker", "--dashboard-address", ":0"]):
        assert "readinessProbe" not in main(worker({"containers": [{"args": args}]}))


@pytest.mark.parametrize(
    "words",
    [
        ["--dashboard-address", "9000"],
        ["--dashboard-address=:9000"],
        ["--dashboard-address", "0.0.0.0:9000"],
    ],
)
def test_the_probe_follows_the_users_dashboard_port(words: list[str]) -> None:
    made = main(worker({"containers": [{"args": ["dask", "worker", *words]}]}))
    assert made["readinessProbe"]["httpGet"]["port"] == 9000
    assert made["ports"] == [{"name": "http-dashboard", "containerPort": 9000}]


def test_old_words_are_run_by_module() -> None:
    made = main(worker({"containers": [{"args": ["dask-worker", "--name", "x"]}]}))
    assert made["args"] == ["python", "-m", "distributed.cli.dask_worker", "--name", "x"]


@pytest.mark.parametrize("make", [scheduler, worker])
def test_image_of_container_then_cluster_then_default(make: Any) -> None:
    image = {"image": "cluster:1"} if make is scheduler else {"of": {"image": "cluster:1"}}
    assert main(make({"containers": [{"image": "own:1"}]}, **image))["image"] == "own:1"
    assert main(make(None, **image))["image"] == "cluster:1"
    assert main(make(None))["image"] == "dask:1"


def test_sidecars_get_nothing_but_name_and_address() -> None:
    """As in the existing operator: a sidecar may want to talk to the scheduler, too."""
    sidecar = {"name": "logs", "image": "logs:1", "command": ["logs"], "resources": None}
    spec = {"containers": [{**sidecar, "env": None}, {"name": "worker", "image": "mine"}]}
    pod = worker(spec)
    given = [
        {"name": "DASK_WORKER_NAME", "value": pod["metadata"]["name"]},
        {"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://demo-scheduler.ns.svc:8786"},
    ]
    assert pod["spec"]["containers"][0] == {**sidecar, "env": given}
    assert pod["spec"]["containers"][1]["image"] == "mine"
    assert pod["spec"]["containers"][1]["env"] == given
    made = scheduler({"containers": [sidecar, {"name": "scheduler"}]})["spec"]["containers"]
    assert made[0] == sidecar


RUNS = {
    "old words": ["dask-{}", "--nthreads", "2"],
    "today's words": ["dask", "{}"],
    "module": ["python", "-m", "distributed.cli.dask_{}"],
    "shell": ["bash", "-c", "pip install x && exec dask-{} --dashboard-address 8788"],
    "start script": ["tini", "-g", "--", "/usr/bin/prepare.sh", "/opt/conda/bin/dask-{}"],
}


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("field", ["command", "args"])
@pytest.mark.parametrize(("make", "role"), [(scheduler, "scheduler"), (worker, "worker")])
def test_dasks_container_is_found_by_what_it_runs(
    make: Any, role: str, field: str, words: list[str]
) -> None:
    """A sidecar may stand before it, and it may have any name."""
    other = {"name": "logs", "args": ["logs", "--of", "dask"]}
    dask = {"name": "dask", field: [w.format(role) for w in words]}
    pod = make({"containers": [other, dask]})
    assert pod["spec"]["containers"][0].get("image") is None
    assert pod["spec"]["containers"][1]["image"] == "dask:1"
    assert Pod.of({**pod, "metadata": {**pod["metadata"], "uid": "u"}}).image == "dask:1"


def test_a_dask_worker_by_another_program_is_found_too() -> None:
    for words in (["dask-cuda-worker"], ["dask", "cuda", "worker"]):
        pod = worker({"containers": [{"name": "logs"}, {"name": "gpu", "args": words}]})
        assert [c.get("image") for c in pod["spec"]["containers"]] == [None, "dask:1"]


def test_the_first_container_runs_dask_when_nothing_tells() -> None:
    pod = worker({"containers": [{"name": "a"}, {"name": "b"}]})
    assert [c.get("image") for c in pod["spec"]["containers"]] == ["dask:1", None]


def test_old_words_mean_a_program_in_the_main_container_only() -> None:
    """Elsewhere they are what people call hosts: the Service of a cluster called `dask` is `dask-scheduler`."""
    wait = ["nc", "-z", "-w", "60", "dask-scheduler", "8786"]
    spec = {
        "initContainers": [{"name": "wait", "command": wait}],
        "containers": [
            {"name": "worker", "args": ["dask-worker"]},
            {"name": "probe", "command": ["ping", "dask-scheduler"]},
            {"name": "odd", "command": ["dask-scheduler"]},
        ],
    }
    made = worker(spec)["spec"]
    assert made["initContainers"] == [{"name": "wait", "command": wait}]
    main, *others = made["containers"]
    assert main["args"] == ["python", "-m", "distributed.cli.dask_worker"]
    assert [c["command"] for c in others] == [["ping", "dask-scheduler"], ["dask-scheduler"]]


def test_our_variables_come_after_the_users_and_never_instead() -> None:
    users = [{"name": "B", "value": "2"}, {"name": "DASK_SCHEDULER_ADDRESS", "value": "tls://x:1"}]
    made = main(worker({"containers": [{"env": users}]}))
    assert made["env"][:2] == users
    assert [e["name"] for e in made["env"][2:]] == ["DASK_WORKER_NAME"]


def test_our_variables_come_before_those_of_the_user_that_refer_to_them() -> None:
    """Kubernetes fills in only what stands above."""
    users = [{"name": "DASK_TEMPORARY_DIRECTORY", "value": "/scratch/$(DASK_WORKER_NAME)"}]
    made = main(worker({"containers": [{"env": users}]}))
    assert [e["name"] for e in made["env"]] == [
        "DASK_WORKER_NAME",
        "DASK_TEMPORARY_DIRECTORY",
        "DASK_SCHEDULER_ADDRESS",
    ]


def test_dasks_own_resources() -> None:
    assert (
        env(worker(resources={"GPU": 2}))["DASK_DISTRIBUTED__WORKER__RESOURCES"] == "{'GPU': 2.0}"
    )


def test_ports_of_the_user_are_not_doubled() -> None:
    users = [
        {"name": "comm", "containerPort": 8786},
        {"name": "http-dashboard", "containerPort": 9},
    ]
    own = {"name": "control", "containerPort": 8789}
    assert main(scheduler({"containers": [{"ports": users}]}))["ports"] == [*users, own]


@pytest.mark.parametrize(
    "container",
    [
        {"args": ["dask-scheduler", "--dashboard-address", ":9000", "--port", "9001"]},
        {"args": ["bash", "-c", "dask-scheduler --dashboard-address ':9000' --port=9001"]},
        {"args": ["my-own"], "ports": [{"name": "http-dashboard", "containerPort": 9000}]},
    ],
)
def test_the_schedulers_probes_do_not_ask_the_users_dashboard(container: JSON) -> None:
    """A probe of a port where nobody listens kills the scheduler again and again."""
    pod = scheduler({"containers": [container]})
    made = main(pod)
    assert {p["httpGet"]["port"] for p in probes(pod)} == {8789}
    ports = {p["name"]: p["containerPort"] for p in made["ports"]}
    comm = 8786 if container["args"] == ["my-own"] else 9001
    assert ports == {"http-dashboard": 9000, "tcp-comm": comm, "control": 8789}
    assert seen(pod).control_port == 8789


def test_a_dashboard_port_of_another_name_is_where_the_command_says() -> None:
    container = {
        "args": ["dask-scheduler", "--dashboard-address", ":9000"],
        "ports": [{"name": "dashboard", "containerPort": 9000}],
    }
    pod = scheduler({"containers": [container]})
    assert [p["name"] for p in main(pod)["ports"]] == ["dashboard", "tcp-comm", "control"]


def probes(pod: JSON) -> list[JSON]:
    return [main(pod)[f"{word}Probe"] for word in ("startup", "readiness", "liveness")]


def seen(pod: JSON) -> Pod:
    return Pod.of({**pod, "metadata": {**pod["metadata"], "uid": "u"}})


OWN_PORTS: dict[str, tuple[JSON, int]] = {
    "a port": ({"containers": [{"ports": [{"name": "mine", "containerPort": 8789}]}]}, 8790),
    "two ports": (
        {"containers": [{"ports": [{"containerPort": 8789}, {"containerPort": 8790}]}]},
        8791,
    ),
    "a sidecar's": (
        {"containers": [{"name": "scheduler"}, {"name": "a", "ports": [{"containerPort": 8789}]}]},
        8790,
    ),
    "said to a sidecar": (
        {"containers": [{"name": "scheduler"}, {"name": "a", "args": ["--listen=:8789"]}]},
        8790,
    ),
    "of a sidecar among the init containers": (
        {"initContainers": [{"name": "a", "ports": [{"containerPort": 8789}]}]},
        8790,
    ),
    "Dask's": ({"containers": [{"args": ["dask", "scheduler", "--port", "8789"]}]}, 8790),
    "in a variable": (
        {
            "containers": [
                {
                    "args": ["dask", "scheduler", "--port", "$(P)"],
                    "env": [{"name": "P", "value": "8789"}],
                }
            ]
        },
        8790,
    ),
    "of that name": (
        {"containers": [{"ports": [{"name": "control", "containerPort": 7000}]}]},
        8789,
    ),
    "wanted": (
        {"containers": [{"env": [{"name": "SCHEDULER_CONTROL_PORT", "value": "7777"}]}]},
        7777,
    ),
    "wanted, and named": (
        {
            "containers": [
                {
                    "env": [{"name": "SCHEDULER_CONTROL_PORT", "value": "7777"}],
                    "ports": [{"name": "api", "containerPort": 7777}],
                }
            ]
        },
        7777,
    ),
    "wanted, but none": (
        {"containers": [{"env": [{"name": "SCHEDULER_CONTROL_PORT", "value": "none"}]}]},
        8789,
    ),
    "wanted from elsewhere": (
        {
            "containers": [
                {"env": [{"name": "SCHEDULER_CONTROL_PORT", "valueFrom": {"fieldRef": {}}}]}
            ]
        },
        8789,
    ),
}


@pytest.mark.parametrize("name", OWN_PORTS)
def test_the_control_api_has_a_port_that_nobody_else_takes(name: str) -> None:
    """Server, probes and whoever looks at the Pod mean the same one."""
    spec, number = OWN_PORTS[name]
    pod = scheduler(spec)
    assert env(pod)["SCHEDULER_CONTROL_PORT"] == str(number)
    assert len([e for e in main(pod)["env"] if e["name"] == "SCHEDULER_CONTROL_PORT"]) == 1
    assert {p["httpGet"]["port"] for p in probes(pod)} == {number}
    assert seen(pod).control_port == number
    ports = main(pod)["ports"]
    known = [p["name"] for p in ports if "name" in p]
    assert len(set(known)) == len(known)
    assert [p["containerPort"] for p in ports].count(number) == 1


def test_on_the_network_of_a_node_each_cluster_has_another_port() -> None:
    def number(uid: str) -> int:
        declared = cluster({"scheduler": {"spec": {"hostNetwork": True}}}, uid=uid)
        return seen(
            scheduler_pod(declared, default_image="d", control=CONTROL, token="t")
        ).control_port

    found = [number(f"uid-{n}") for n in range(100)]
    assert len(set(found)) > 95
    assert number("uid-1") == found[1]
    assert all(20_000 <= n < 30_000 for n in found)  # neither of Services nor of Linux


def test_tolerations_of_the_user_for_lost_nodes_win() -> None:
    users = {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 5,
    }
    assert worker({"tolerations": [users]})["spec"]["tolerations"] == [users, TOLERATIONS[1]]


def test_a_toleration_of_everything_is_not_shortened() -> None:
    everything = [{"operator": "Exists"}]
    assert worker({"tolerations": everything})["spec"]["tolerations"] == everything


def test_a_toleration_of_another_effect_is_another_matter() -> None:
    users = [{"operator": "Exists", "effect": "NoSchedule"}]
    assert worker({"tolerations": users})["spec"]["tolerations"] == users + TOLERATIONS


# ---- the control API's preload

OURS = CONTROL.beside


MOVED = "SCHEDULER_CONTROL_PRELOAD"


@pytest.mark.parametrize("users", ["my.module", "['a', 'b']", "  ", "$(DIR)/x.py"])
def test_preload_beside_one_of_the_user(users: str) -> None:
    """Ours stands alone, and loads the user's: Dask wants as many lists of arguments as there are preloads."""
    own = [
        {"name": PRELOAD, "value": users},
        {"name": f"{PRELOAD}_ARGV", "value": "[['--x', '1']]"},
    ]
    pod = scheduler({"containers": [{"env": own}]})
    assert env(pod)[PRELOAD] == "import os; load()"
    assert env(pod)[f"{PRELOAD}_ARGV"] == "[]"
    assert env(pod)[MOVED] == users
    assert env(pod)[f"{MOVED}_ARGV"] == "[['--x', '1']]"


def test_without_one_in_variables_there_may_be_one_in_a_file() -> None:
    made = env(scheduler())
    assert (made[PRELOAD], made[f"{PRELOAD}_ARGV"]) == ("import os; load()", "[]")
    assert MOVED not in made


@pytest.mark.parametrize(
    "container",
    [
        {"args": ["dask", "scheduler", "--preload", "x.py"]},
        {"command": ["dask", "scheduler", "--preload=x.py"]},
        {"command": ["dask", "scheduler", "--preload", "x.py"], "args": ["--port", "8786"]},
    ],
)
def test_preload_beside_one_on_the_command_line(container: JSON) -> None:
    made = main(scheduler({"containers": [container]}))
    words = made.get("command", []) + made.get("args", [])
    users = container.get("command", []) + container.get("args", [])
    assert words == [
        *users[:2],
        "--preload",
        OURS,
        *users[2:],
    ]  # it is started first, and ends last
    assert PRELOAD not in {e["name"] for e in made["env"]}


IN_TEXTS = {
    "plain": (["bash", "-c", "dask scheduler --preload x.py"], [["scheduler", OURS, "x.py"]]),
    "behind others": (
        ["sh", "-ec", "echo a; exec dask scheduler --port 1 --preload=x.py --preload y.py"],
        [["scheduler", OURS, "--port", "1", "x.py", "y.py"]],
    ),
    "the whole command": (["dask scheduler --preload x.py"], [["scheduler", OURS, "x.py"]]),
    "of a worker beside it": (
        ["bash", "-c", "dask worker --preload w.py & dask scheduler --preload 'x y'"],
        [["worker", "w.py"], ["scheduler", OURS, "x y"]],
    ),
    "a text in a text": (
        ["bash", "-c", "sh -c 'dask scheduler --preload x.py'"],
        [["scheduler", OURS, "x.py"]],
    ),
    "a name that is none": (
        ["bash", "-c", "echo --preload; dask scheduler"],
        [["scheduler"]],
    ),
    "within double quotes": (
        ["bash", "-c", 'sh -c "dask scheduler --preload x.py"'],
        [["scheduler", OURS, "x.py"]],
    ),
    "in a variable": (
        ["bash", "-c", "exec dask scheduler $OPTIONS"],
        [["scheduler", OURS, "v.py"]],
    ),
    "in a variable that stands in for none": (
        ["bash", "-c", "exec dask scheduler ${NONE:---preload d.py}"],
        [["scheduler", OURS, "d.py"]],
    ),
    "in a variable of another name": (
        ["bash", "-c", "exec dask scheduler $OTHER"],
        [["scheduler"]],
    ),
    "in one of two starts": (
        ["bash", "-c", "if false; then dask scheduler --preload x.py; else dask scheduler; fi"],
        [["scheduler"]],
    ),
    "in the other": (
        ["bash", "-c", "if true; then dask scheduler --preload x.py; else dask scheduler; fi"],
        [["scheduler", OURS, "x.py"]],
    ),
}


@pytest.mark.parametrize("name", IN_TEXTS)
def test_preload_beside_one_in_a_shell_text(name: str, tmp_path: Path) -> None:
    """Dask ignores the configured one there, too. What a shell makes of it counts."""
    args, want = IN_TEXTS[name]
    options = {"name": "OPTIONS", "value": "--preload v.py"}
    pod = scheduler({"containers": [{"args": args, "env": [options]}]})
    (tmp_path / "dask").write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(tmp_path / 'told')!r}, 'a')"
        ".write(json.dumps(sys.argv[1:]) + chr(10))\n"
    )
    (tmp_path / "dask").chmod(0o755)
    variables = {k: v for k, v in env(pod).items() if isinstance(v, str)}
    made = main(pod)["args"]
    words = made if len(made) > 1 else ["sh", "-c", *made]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(words, env={**variables, "PATH": path}, check=True, timeout=60)
    for _ in range(600):  # one of them is in the background
        told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
        if len(told) == len(want):
            break
        time.sleep(0.05)
    told = [[w.removeprefix("--preload=") for w in line if w != "--preload"] for line in told]
    assert sorted(told) == sorted(want)
    assert variables[PRELOAD] == CONTROL.preload  # for a start without one of the user's


def test_preload_beside_one_with_arguments_on_the_command_line() -> None:
    args = ["dask", "scheduler", "--preload", "x.py", "--", "--preload-option", "1"]
    made = main(scheduler({"containers": [{"args": args}]}))
    assert made["args"] == [*args[:2], "--preload", OURS, *args[2:]]


def test_preload_beside_one_in_a_variable_of_kubernetes() -> None:
    own = [{"name": "OPTIONS", "value": "--preload x.py"}]
    args = ["sh", "-c", "exec dask scheduler $(OPTIONS)"]
    made = main(scheduler({"containers": [{"args": args, "env": own}]}))
    assert made["args"] == [
        "sh",
        "-c",
        f'exec dask scheduler --preload "${CONTROL.text_env}" --preload x.py',
    ]


def test_preload_beside_one_from_a_secret() -> None:
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    made = main(scheduler({"containers": [{"env": [{"name": PRELOAD, "valueFrom": source}]}]}))
    assert made["args"] == ["dask", "scheduler"]
    assert {"name": MOVED, "valueFrom": source} in made["env"]
    assert {"name": PRELOAD, "value": "import os; load()"} in made["env"]


@pytest.mark.parametrize("said", ["livenessProbe", "readinessProbe"])
def test_a_scheduler_without_us_is_started_by_what_the_user_looks_at(said: str) -> None:
    """``env -i`` takes our variables away: nothing answers at our port."""
    own = {"httpGet": {"port": 8787, "path": "/health"}, "periodSeconds": 7}
    command = ["env", "-i", "dask", "scheduler"]
    made = main(scheduler({"containers": [{"command": command, said: own}]}))
    assert made["startupProbe"]["httpGet"] == own["httpGet"]
    assert made["startupProbe"]["failureThreshold"] == 600
    assert made[said] == own
    if said == "livenessProbe":
        assert made["readinessProbe"]["httpGet"] == own["httpGet"]


def test_the_users_token_is_not_taken() -> None:
    users = {"name": CONTROL.token_env, "value": "guessable"}
    assert env(scheduler({"containers": [{"env": [users]}]}))[CONTROL.token_env] == "t"


def test_a_read_only_root_gets_a_writable_tmp() -> None:
    own = {"name": "d", "emptyDir": {}}
    container = {"securityContext": {"readOnlyRootFilesystem": True}}
    spec = scheduler({"containers": [container], "volumes": [own]})["spec"]
    assert spec["volumes"] == [own, {"name": "dask-tmp", "emptyDir": {}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "dask-tmp", "mountPath": "/tmp"}]


def test_a_tmp_of_the_user_is_enough() -> None:
    mounts = [{"name": "mine", "mountPath": "/tmp"}]
    container = {"securityContext": {"readOnlyRootFilesystem": True}, "volumeMounts": mounts}
    spec = scheduler({"containers": [container]})["spec"]
    assert "volumes" not in spec
    assert spec["containers"][0]["volumeMounts"] == mounts


# ---- metadata


def test_labels_and_annotations_in_order_of_strength() -> None:
    of = cluster(
        labels={"team": "a", "x": "cluster", "y": "cluster", "z": "cluster"},
        annotations={"note": "n", "cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
    )
    made = worker_pod(
        of,
        group(
            {
                "worker": {
                    "metadata": {
                        "labels": {"z": "pod", "dask.org/component": "scheduler"},
                        "annotations": {"sidecar.istio.io/inject": "true", "helm.sh/hook": "x"},
                    }
                }
            },
            labels={"y": "group", "z": "group"},
            annotations={"from": "group"},
        ),
        0,
        default_image="d",
    )["metadata"]
    assert made["labels"] == {
        "team": "a",
        "x": "cluster",
        "y": "group",
        "z": "pod",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "worker",
        "dask.org/workergroup-name": "demo-default",
        "dask.org/worker-serial": "0",
    }
    for key in ("dask.org/revision", "dask.org/scheduler-image", "dask.org/handed-on"):
        made["annotations"].pop(key)
    assert made["annotations"] == {
        "note": "n",
        "from": "group",
        "sidecar.istio.io/inject": "true",
        "helm.sh/hook": "x",
    }


def test_reserved_metadata_is_not_handed_on() -> None:
    keys = dict.fromkeys(
        (
            "app.kubernetes.io/instance",
            "kubectl.kubernetes.io/last-applied-configuration",
            "argocd.argoproj.io/tracking-id",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.sh/chart",
            "objectset.rio.cattle.io/id",
            "kapp.k14s.io/app",
            "kopf.zalando.org/last-handled-configuration",
            "dask.org/retiring",
            "a.example.com/b",
        ),
        "v",
    )
    of = cluster(labels={**keys, "mine": "1"}, annotations={**keys, "mine.org/x": "1"})
    made = scheduler_pod(
        of, default_image="d", control=CONTROL, token="t", reserved=("example.com",)
    )["metadata"]
    assert set(made["labels"]) == {"mine", MESH, "dask.org/cluster-name", "dask.org/component"}
    assert set(made["annotations"]) == {
        "mine.org/x",
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "karpenter.sh/do-not-disrupt",
        "dask.org/handed-on",
        "dask.org/revision",
    }


def test_the_user_may_let_the_scheduler_be_evicted() -> None:
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    made = scheduler(scheduler={"metadata": {"annotations": {key: "true"}}})
    assert made["metadata"]["annotations"][key] == "true"


MESH = "sidecar.istio.io/inject"


@pytest.mark.parametrize("make", [scheduler, worker])
def test_no_mesh_proxy_unless_the_user_wants_one(make: Any) -> None:
    """As the existing operator has it: proxies refuse the pods' direct traffic."""
    assert make()["metadata"]["labels"][MESH] == "false"


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_a_mesh_proxy_that_the_user_wants(where: str) -> None:
    """A label would win over the annotation of older releases, so there is none of ours then."""
    wanted = {where: {MESH: "true"}}
    for made in (
        scheduler(scheduler={"metadata": wanted}),
        worker(metadata=wanted),
        worker_pod(cluster(**wanted), group(), 0, default_image="d"),
        worker_pod(cluster(), group(**wanted), 0, default_image="d"),
    ):
        assert made["metadata"][where][MESH] == "true"
        assert made["metadata"]["labels"].get(MESH) in (None, "true")


def test_a_warning_of_the_api_server_is_kept_on_the_pod() -> None:
    pod = worker_pod(cluster(), group(), 0, default_image="d", warning="unknown field")
    assert pod["metadata"]["annotations"]["dask.org/spec-warning"] == "unknown field"


# ---- odd nodes


READ_ONLY = {"securityContext": {"readOnlyRootFilesystem": True}}


@pytest.mark.parametrize("make", [scheduler, worker])
def test_whoever_has_a_read_only_root_gets_a_writable_tmp(make: Any) -> None:
    spec = make({"containers": [READ_ONLY]})["spec"]
    assert spec["volumes"] == [{"name": "dask-tmp", "emptyDir": {}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "dask-tmp", "mountPath": "/tmp"}]


@pytest.mark.parametrize("make", [scheduler, worker])
def test_a_tmp_of_the_users_own_is_enough(make: Any) -> None:
    own = {"name": "scratch", "mountPath": "/tmp/"}
    spec = make({"containers": [{**READ_ONLY, "volumeMounts": [own]}]})["spec"]
    assert "volumes" not in spec
    assert spec["containers"][0]["volumeMounts"] == [own]


def test_a_volume_of_that_name_may_be_the_users() -> None:
    users = {"name": "dask-tmp", "configMap": {"name": "x"}}
    spec = worker({"containers": [READ_ONLY], "volumes": [users]})["spec"]
    assert spec["volumes"] == [users, {"name": "dask-tmp-2", "emptyDir": {}}]


def test_workers_on_the_hosts_network_share_a_node() -> None:
    """A containerPort would be one of the node, and a fixed dashboard there is only once."""
    spec = worker({"hostNetwork": True})["spec"]
    (container,) = spec["containers"]
    assert "ports" not in container
    assert container["args"][-2:] == ["--dashboard-address", ":0"]
    assert "readinessProbe" not in container
    assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"  # else nobody finds the scheduler's name
    assert "dnsPolicy" not in worker()["spec"]


def test_ports_of_the_users_stay_on_the_hosts_network() -> None:
    ports = [{"name": "mine", "containerPort": 9000, "hostPort": 9000}]
    args = ["dask", "worker", "--dashboard-address", ":9001"]
    users = {"hostNetwork": True, "dnsPolicy": "Default", "containers": [{"ports": ports, "args": args}]}  # fmt: skip
    made = worker(users)["spec"]
    assert (main({"spec": made})["ports"], main({"spec": made})["args"]) == (ports, args)
    assert main({"spec": made})["readinessProbe"]["httpGet"]["port"] == 9001
    assert made["dnsPolicy"] == "Default"


def test_a_scheduler_on_the_hosts_network_has_no_port_of_ours() -> None:
    made = main(scheduler({"hostNetwork": True}))
    assert "ports" not in made
    own = int(env({"spec": {"containers": [made]}})["SCHEDULER_CONTROL_PORT"])
    assert made["readinessProbe"]["httpGet"] == {"path": "/health", "port": own}


@pytest.mark.parametrize(
    ("deadline", "seconds"),
    [(None, 600), (1800, 1800), (30, 300), (2**40, 2**31 - 1)],
)
def test_the_start_may_take_the_progress_deadline(deadline: int | None, seconds: int) -> None:
    spec = {} if deadline is None else {"progressDeadlineSeconds": deadline}
    probe = main(scheduler(**spec))["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == seconds


@pytest.mark.parametrize(
    ("users", "marks"),
    [
        ({}, {EVICT: "false", KARPENTER: "true"}),
        ({EVICT: "true"}, {EVICT: "true"}),
        ({KARPENTER: "false"}, {KARPENTER: "false"}),
        ({KARPENTER: "30m"}, {KARPENTER: "30m"}),
        ({EVICT: "false"}, {EVICT: "false", KARPENTER: "true"}),
        ({EVICT: "true", KARPENTER: "true"}, {EVICT: "true", KARPENTER: "true"}),
    ],
)
def test_nobody_moves_a_scheduler_to_save_a_node_but_by_the_users_word(
    users: JSON, marks: JSON
) -> None:
    made = scheduler(scheduler={"metadata": {"annotations": users}})["metadata"]["annotations"]
    assert {key: made[key] for key in (EVICT, KARPENTER) if key in made} == marks
    assert not {EVICT, KARPENTER} & worker()["metadata"]["annotations"].keys()
