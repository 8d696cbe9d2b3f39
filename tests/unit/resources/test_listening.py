"""Where schedulers and workers listen, by the words of their containers; and the addresses that follow from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.model.podspec import Container
from dask_gitops.resources import listening
from dask_gitops.resources.addresses import dashboard_address, scheduler_address
from dask_gitops.resources.listening import (
    Listening,
    health_of_worker,
    leaves_open,
    of_scheduler,
)
from dask_gitops.resources.pods import worker_pod
from dask_gitops.resources.runner import runner_pod
from dask_gitops.resources.services import scheduler_service

from tests.support import steps
from tests.unit.objects import cluster, group
from tests.unit.resources.test_runner import job

JSON = dict[str, Any]
DEFAULT = Listening()


def env(**values: str) -> list[JSON]:
    return [{"name": name, "value": value} for name, value in values.items()]


def dask(*words: str, **more: Any) -> JSON:
    return {"args": ["dask", "scheduler", *words], **more}


CASES: dict[str, tuple[JSON, Listening]] = {
    "nothing": ({}, DEFAULT),
    "ports": (
        dask("--port", "9000", "--dashboard-address=:9001"),
        Listening(comm=9000, http=9001),
    ),
    "a prefix": (dask("--dashboard-prefix", "/dask/demo/"), Listening(prefix="/dask/demo")),
    "a prefix that is none": (dask("--dashboard-prefix", "$(WHERE)"), DEFAULT),
    "a bare prefix": (dask("--dashboard-prefix=demo"), Listening(prefix="/demo")),
    "variables": (
        dask(
            *("--port", "$(COMM)", "--dashboard-address", ":$(DASH)"),
            env=env(COMM="9000", DASH="9001"),
        ),
        Listening(comm=9000, http=9001),
    ),
    "variables of variables": (
        dask("--port", "$(PORT)", env=env(A="90", PORT="$(A)00")),
        Listening(comm=9000),
    ),
    "a variable that comes after": (
        dask("--port", "$(PORT)", env=env(PORT="$(A)", A="90")),
        DEFAULT,
    ),
    "a variable from a secret": (
        dask("--port", "$(PORT)", env=[{"name": "PORT", "valueFrom": {"secretKeyRef": {}}}]),
        DEFAULT,
    ),
    "no variable": (dask("--port", "$$(PORT)", env=env(PORT="9000")), DEFAULT),
    "a shell's variables": (
        {
            "command": ["bash", "-c"],
            "args": ["dask scheduler --port $PORT --dashboard-address :${DASH:-9001}"],
            "env": env(PORT="9000"),
        },
        Listening(comm=9000, http=9001),
    ),
    "options in a variable": (
        {"args": ["bash", "-c", "exec dask scheduler $OPTIONS"], "env": env(OPTIONS="--port 9000")},
        Listening(comm=9000),
    ),
    "named ports": (
        {
            "args": ["my-own"],
            "ports": [
                {"name": "tcp-comm", "containerPort": 1},
                {"name": "http-dashboard", "containerPort": 2},
            ],
        },
        Listening(comm=1, http=2),
    ),
    "another protocol": (dask("--protocol", "ws"), Listening("ws")),
    "a protocol written out": (dask("--protocol=ucx://"), Listening("ucx")),
    "several protocols": (
        dask("--protocol", "tls,tcp", "--port", "9000,9001"),
        Listening("tls", 9000),
    ),
    "a protocol that is none": (dask("--protocol", "$(WHICH)"), DEFAULT),
    "a host with all": (dask("--host", "tls://0.0.0.0:9000"), Listening("tls", 9000)),
    "a host without a port": (dask("--host", "tls://0.0.0.0"), Listening("tls")),
    "a host alone": (dask("--host", "0.0.0.0"), DEFAULT),
    "certificates": (dask("--tls-cert", "/c.pem", "--tls-key", "/k.pem"), Listening("tls")),
    "encryption": (
        {"env": env(DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION="True")},
        Listening("tls"),
    ),
    "a scheme from configuration": (
        {"env": env(DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME="ws")},
        Listening("ws"),
    ),
    "a dashboard with TLS": (
        {"env": env(DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__TLS__CERT="/c.pem")},
        Listening(http_scheme="https"),
    ),
    "the last one counts": (dask("--port", "1", "--port", "2"), Listening(comm=2)),
    "of a worker beside it": (
        {"args": ["bash", "-c", "dask worker --port 1 & dask scheduler --port 2; nc --port 3"]},
        Listening(comm=2),
    ),
    "an old word": ({"args": ["dask-scheduler", "--port", "2"]}, Listening(comm=2)),
    "no port": (dask("--port", "0", "--dashboard-address", ":99999"), DEFAULT),
}


@pytest.mark.parametrize("name", CASES)
def test_a_scheduler(name: str) -> None:
    container, found = CASES[name]
    assert of_scheduler(Container(container)) == found


WORKERS: dict[str, tuple[list[str], tuple[int, str] | None]] = {
    "none": ([], None),
    "a port": (["--dashboard-address", ":8788"], (8788, "/health")),
    "any": (["--dashboard-address", ":0"], None),
    "a prefix": (["--dashboard-address", "8788", "--dashboard-prefix", "/a"], (8788, "/a/health")),
    "its own Pod alone": (["--dashboard-address", "127.0.0.1:8788"], None),
    "by name": (["--dashboard-address=localhost:8788"], None),
    "everywhere": (["--dashboard-address=0.0.0.0:8788"], (8788, "/health")),
}


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker(name: str) -> None:
    words, found = WORKERS[name]
    args = {"args": ["dask", "worker", *words]}
    assert health_of_worker(Container(args)) == found
    made = worker_pod(
        cluster(), group({"worker": {"spec": {"containers": [args]}}}), 0, default_image="d"
    )
    probe = made["spec"]["containers"][0].get("readinessProbe")
    assert (probe and probe["httpGet"]) == (found and {"path": found[1], "port": found[0]})


def spec(service: JSON | None = None, *words: str, **container: Any) -> JSON:
    return {
        "scheduler": {"spec": {"containers": [dask(*words, **container)]}, "service": service or {}}
    }


ADDRESSES: dict[str, tuple[JSON, str, str]] = {
    "nothing": ({}, "tcp://demo-scheduler.ns.svc:8786", "http://demo-scheduler.ns.svc:8787"),
    "other ports behind our Service": (
        spec(None, "--port", "9000", "--dashboard-address", ":9001"),
        "tcp://demo-scheduler.ns.svc:8786",
        "http://demo-scheduler.ns.svc:8787",
    ),
    "protocol and prefix": (
        spec(None, "--protocol", "ws", "--dashboard-prefix", "/a"),
        "ws://demo-scheduler.ns.svc:8786",
        "http://demo-scheduler.ns.svc:8787/a",
    ),
    "a Service with other ports": (
        spec({"ports": [{"name": "tcp-comm", "port": 80, "targetPort": 8786},
                        {"name": "http-dashboard", "port": 81, "targetPort": 8787}]}),
        "tcp://demo-scheduler.ns.svc:80",
        "http://demo-scheduler.ns.svc:81",
    ),
    "of other names": (
        spec({"ports": [{"name": "a", "port": 80, "targetPort": "dask"}, {"name": "b", "port": 8787}]},
             ports=[{"name": "dask", "containerPort": 8786}]),
        "tcp://demo-scheduler.ns.svc:80",
        "http://demo-scheduler.ns.svc:8787",
    ),
    "a part of the ports": (
        spec({"ports": [{"name": "tcp-comm", "port": 8786, "nodePort": 30086}]}),
        "tcp://demo-scheduler.ns.svc:8786",
        "http://demo-scheduler.ns.svc:8787",
    ),
    "ports that lead nowhere": (
        spec({"ports": [{"name": "a", "port": 9, "targetPort": {}}, None, {}]}),
        "tcp://demo-scheduler.ns.svc:8786",
        "http://demo-scheduler.ns.svc:8787",
    ),
    "without an address of its own": (
        spec({"clusterIP": "None"}, "--port", "9000", "--dashboard-address", ":9001"),
        "tcp://demo-scheduler.ns.svc:9000",
        "http://demo-scheduler.ns.svc:9001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses(name: str) -> None:
    declared, comm, http = ADDRESSES[name]
    assert scheduler_address("demo", "ns", declared) == comm
    assert dashboard_address("demo", "ns", declared) == http


def told(pod: JSON) -> str:
    (container,) = pod["spec"]["containers"]
    return str({e["name"]: e.get("value") for e in container["env"]}["DASK_SCHEDULER_ADDRESS"])


def test_workers_and_runners_dial_it() -> None:
    declared = spec({"ports": [{"name": "tcp-comm", "port": 80}]}, "--protocol", "ws")
    made = worker_pod(cluster(declared), group(), 0, default_image="d")
    assert told(made) == "ws://demo-scheduler.ns.svc:80"
    runs = job({"job": {"spec": {"containers": [{"name": "job"}]}}, "cluster": {"spec": declared}})
    made = runner_pod(runs, 1, started="", restarted_at=None, default_image="d")
    assert told(made) == f"ws://{runs.meta.name}-scheduler.ns.svc:80"


def test_the_service_leads_to_ports_from_variables() -> None:
    declared = spec(None, "--port", "$(COMM)", env=env(COMM="9000"))
    ports = scheduler_service(cluster(declared))["spec"]["ports"]
    assert [(p["port"], p["targetPort"]) for p in ports] == [(8786, 9000), (8787, 8787)]


def test_variables_that_double_with_each_step_take_no_time() -> None:
    def doubling(size: int) -> Container:
        some = {"A0": "x" * 100} | {f"A{n}": f"$(A{n - 1})$(A{n - 1})" for n in range(1, size)}
        return Container(dask("--port", "$(A199)", *["$(A5)"] * size, env=env(**some)))

    assert of_scheduler(doubling(200)) == DEFAULT
    steps.is_linear(lambda size: functools.partial(anew, doubling(size)), 10_000)


def anew(container: Container) -> Listening:
    listening._read.cache_clear()
    return of_scheduler(container)


TEXTS = [
    "${A-",
    "${A:-x",
    "$(A",
    "${",
    "$",
    "$$",
    "$a ",
    "`",
    "$(a ",
    "dask scheduler ",
    "dask scheduler;",
    "'",
    '"${A-"',
    "$@ ",
]


@pytest.mark.parametrize("piece", TEXTS)
def test_twice_the_text_takes_twice_the_time(piece: str) -> None:
    """In a shell text, a word, a variable, and as many words."""

    def reading(size: int) -> Callable[[], list[Listening]]:
        text = (piece * size)[:size]
        containers = [
            {"args": ["bash", "-c", f"dask scheduler {text}", *text.split(" ")]},
            dask(text),
            dask("--port", "$(B)", env=env(A=text, B="$(A)")),
            {"args": ["start", *text.split(" ")]},
        ]
        return lambda: [anew(Container(container)) for container in containers]

    steps.is_linear(reading, 20_000)


IN_TEXT = [
    "exec dask scheduler {}",
    "exec dask scheduler --host $(hostname -I | cut -f1) {}",
    "dask scheduler --host `hostname -i || true` {}",
    "echo Starting dask scheduler; exec dask scheduler {}",
    "cd /opt/dask-scheduler && exec dask scheduler {}",
    "mkdir -p /tmp/dask-scheduler; dask-scheduler {}",
    "source activate dask-scheduler && dask scheduler {}",
    "export APP=dask-scheduler\nexec dask scheduler {}",
    "dask scheduler {}&\nwait",
    "python -m distributed.cli.dask_scheduler {} > /tmp/log",
    "/opt/conda/bin/python -u -m dask scheduler {}",
    "bash -c 'dask scheduler {}'",
    "nc -z dask-scheduler 1234 --port 1 || true; conda run -n x dask scheduler {}",
    "if [ -f /x.py ]; then dask scheduler --preload /x.py {}; else dask scheduler {}; fi",
    "my-own-wrapper dask scheduler {}",
]


@pytest.mark.parametrize("rest", ['"$@"', "$*", '"${@}"', "$@"])
def test_words_behind_a_shell_text_are_its_own(rest: str) -> None:
    words = ["--", "--dashboard-address", ":9001"]
    container = {"args": ["bash", "-c", f"exec dask scheduler --port 9000 {rest}", *words]}
    found = of_scheduler(Container(container))
    assert (found.comm, found.http) == (9000, 9001)
    assert not leaves_open(Container(container))


@pytest.mark.parametrize("text", IN_TEXT)
@pytest.mark.parametrize(
    "words",
    ["--port 9000 --dashboard-address :9001", "--port=$P --dashboard-address=:${D:-9001}", "$BOTH"],
)
def test_of_a_shell_text_the_command_that_starts_it_counts(text: str, words: str) -> None:
    variables = env(P="9000", BOTH="--port 9000 --dashboard-address :9001")
    if "bash -c" in text and "$" in words:
        words = "--port 9000 --dashboard-address :9001"  # within those quotes, another shell's
    container = {"args": ["bash", "-c", text.replace("{}", words)], "env": variables}
    found = of_scheduler(Container(container))
    assert (found.comm, found.http) == (9000, 9001)


OPEN: dict[str, tuple[JSON, bool]] = {
    "nothing": ({}, False),
    "Dask itself": (dask("--port", "9"), False),
    "an old word behind tini": ({"args": ["tini", "--", "dask-scheduler"]}, False),
    "a start script": ({"command": ["./start.sh"]}, True),
    "a start script with Dask's words": ({"args": ["start.sh", "dask-scheduler"]}, False),
    "variables from elsewhere": (dask(envFrom=[{"configMapRef": {"name": "a"}}]), True),
    "a file by its name": (dask(env=env(DASK_CONFIG="/a.yaml")), True),
    "a mounted file": (dask(volumeMounts=[{"name": "a", "mountPath": "/etc/dask/"}]), True),
    "one at home": (dask(volumeMounts=[{"name": "a", "mountPath": "/root/.config/dask"}]), True),
    "another file": (dask(volumeMounts=[{"name": "a", "mountPath": "/data"}]), False),
    "a port from a secret": (
        dask("--port", "$(P)", env=[{"name": "P", "valueFrom": {"secretKeyRef": {}}}]),
        True,
    ),
    "a setting from a secret": (
        dask(env=[{"name": "DASK_A", "valueFrom": {"secretKeyRef": {}}}]),
        True,
    ),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_the_words_leave_open(name: str) -> None:
    container, is_open = OPEN[name]
    assert leaves_open(Container(container)) is is_open


def test_a_runner_of_a_scheduler_that_will_tell_reads_its_address_from_its_pod() -> None:
    """Its variables cannot be changed any more when the scheduler is there; its annotations can."""
    inner = {"scheduler": {"spec": {"containers": [{"command": ["./start.sh"]}]}}}
    own = {"name": "b", "env": [{"name": "DASK_SCHEDULER_ADDRESS", "value": "ws://mine:1"}]}
    runs = job({"job": {"spec": {"containers": [{"name": "a"}, own]}}, "cluster": {"spec": inner}})
    made = runner_pod(runs, 1, started="", restarted_at=None, default_image="d")
    first, second = made["spec"]["containers"]
    path = "metadata.annotations['dask.org/scheduler-address']"
    reads = {"name": "DASK_SCHEDULER_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": path}}}
    assert first["env"] == [reads]
    assert second["env"] == own["env"]
    address = f"tcp://{runs.meta.name}-scheduler.ns.svc:8786"
    assert made["metadata"]["annotations"]["dask.org/scheduler-address"] == address
