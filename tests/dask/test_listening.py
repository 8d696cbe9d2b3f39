"""Schedulers that listen otherwise than by default, on a real node: they live, and their workers find them."""

from __future__ import annotations

from typing import Any

from tests.dask.support import Cluster, NewCluster, workers

JSON = dict[str, Any]
#: Each of these words made the probes kill a healthy scheduler, or workers dial where nobody listens.
WORDS = ["--dashboard-prefix", "/dask/demo", "--port", "$(COMM)", "--dashboard-address", "127.0.0.1:$(DASH)",
         "--protocol", "ws"]  # fmt: skip
ENV = [{"name": "COMM", "value": "9000"}, {"name": "DASH", "value": "8789"}]


def names_of(it: Cluster) -> list[str]:
    found: list[str] = it.inside(f"connect({it.get()['status']['schedulerAddress']!r}, 2)")
    return found


def test_another_protocol_with_ports_from_variables_and_a_dashboard_elsewhere(
    cluster: NewCluster,
) -> None:
    container = {"name": "scheduler", "args": ["dask", "scheduler", *WORDS], "env": ENV}
    spec = {"worker": workers(2), "scheduler": {"spec": {"containers": [container]}}}
    it = cluster(spec).wait_ready()
    host = f"{it.name}-scheduler.{it.kubectl.namespace}.svc"
    status = it.get()["status"]
    assert status["schedulerAddress"] == f"ws://{host}:8786"
    assert status["dashboardAddress"] == f"http://{host}:8787/dask/demo"
    pods = it.wait_pods(2)
    assert names_of(it) == sorted(pods)
    assert it.computes()
    scheduler = it.scheduler()
    assert scheduler is not None
    main = scheduler["spec"]["containers"][0]
    own = {p["name"]: p["containerPort"] for p in main["ports"]}
    assert own == {"tcp-comm": 9000, "http-dashboard": 8789, "control": 8790}
    it.scale(1)  # the controller asks at its own port
    assert len(it.wait_pods(1, timeout=120)) == 1
    after = it.scheduler()
    assert after is not None
    assert after["metadata"]["uid"] == scheduler["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
