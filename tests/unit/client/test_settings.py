from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.settings import Settings, settings, wishes

JSON = dict[str, Any]
ROOT = Path(__file__).parents[3]


def test_arguments_count_before_the_configuration() -> None:
    assert settings({}, {}) == Settings()
    found = settings(
        {"n_workers": 0, "name": None, "env": {"A": "b"}},
        {"n_workers": 4, "name": "x", "create_mode": "connect_only", "worker_command": "a b"},
    )
    assert found == Settings(
        name="x",
        n_workers=0,
        env=[{"name": "A", "value": "b"}],
        create_mode=CreateMode.CONNECT_ONLY,
        worker_command=("a", "b"),
    )


def test_how_long() -> None:
    assert settings({"idle_timeout": "5 minutes"}, {}).idle_timeout == 300
    assert settings({"idle_timeout": 7}, {}).idle_timeout == 7
    assert settings({"resource_timeout": 0}, {}).resource_timeout is None
    assert settings({}, {}).resource_timeout == 60


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"name": ""}, TypeError, "name is ''; write a text"),
        ({"namespace": 3}, TypeError, "namespace is 3; write a text"),
        ({"n_workers": -1}, ValueError, "n_workers is -1; use 0 or more"),
        ({"jupyter": "yes"}, TypeError, "jupyter is 'yes'; use True or False"),
        ({"idle_timeout": "soon"}, ValueError, "idle_timeout is 'soon'; use seconds, or '5 minutes'"),
        *(
            ({"idle_timeout": text}, ValueError, f"idle_timeout is {text!r}; use seconds, or '5 minutes'")
            for text in ("1e400", "1e308 h", "9" * 400, "", " ", "-5", "1 parsec")
        ),
        ({"idle_timeout": 10**400}, ValueError, "idle_timeout is no number of seconds that there is; use seconds, or '5 minutes'"),
        ({"idle_timeout": 10**5000}, ValueError, "idle_timeout is no number of seconds that there is; use seconds, or '5 minutes'"),
        ({"resource_timeout": "1e400"}, ValueError, "resource_timeout is '1e400'; use seconds"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout is -1; use 0 or more seconds"),
        ({"idle_timeout": float("nan")}, ValueError, "idle_timeout is nan; use 0 or more seconds"),
        ({"resource_timeout": True}, TypeError, "resource_timeout is True; use seconds"),
        ({"scheduler_service_type": "None"}, ValueError, "scheduler_service_type is 'None'; use ClusterIP, LoadBalancer or NodePort"),
        ({"scheduler_forward_port": 99999}, ValueError, "scheduler_forward_port is 99999; use a port from 1 to 65535, or 0 for any"),
        ({"create_mode": "create"}, ValueError, "create_mode is 'create'; use"),
        ({"resources": {"limit": {}}}, ValueError, "resources has the unknown field 'limit'"),
    ],
)  # fmt: skip
def test_refused(given: JSON, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match="^" + re.escape(message)):
        settings(given, {})
    with pytest.raises(kind, match="^" + re.escape(message)):
        settings({}, given)


def test_defaults_of_others_are_no_wish() -> None:
    theirs = {"kubernetes": {"count": {"start": 0, "max": None}, "image": "latest", "name": "d"}}
    now = {"kubernetes": {"count": {"start": 0, "max": None}, "image": "mine", "name": "d"}}
    assert wishes(now, {}, [theirs]) == {"image": "mine"}
    assert wishes(now, {}, []) == {"image": "mine", "name": "d", "n_workers": 0, "maximum": None}
    own = {"kubernetes": {"name": "d"}}
    assert wishes(now, own, [theirs]) == {"image": "mine", "name": "d"}
    assert wishes({"kubernetes": None}, {}, []) == {}
    assert wishes({"kubernetes": {"worker_command": "a"}}, {}, []) == {"worker_command": "a"}


def test_in_a_process_with_the_existing_client(existing_client: str, tmp_path: Path) -> None:
    """Its defaults are there, and are not the user's; what the user's environment says is."""
    program = """
import json, sys
import dask_kubernetes.operator
sys.path.insert(0, "controller")
from dask_gitops.client.settings import configured
import dask
assert dask.config.get("kubernetes.shutdown-on-close") is True
before = configured()
with dask.config.set({"kubernetes.image": "mine"}):
    print(json.dumps([before, configured()]))
"""
    done = subprocess.run(
        [existing_client, "-W", "ignore", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={
            "DASK_KUBERNETES__COUNT__START": "3",
            "DASK_CONFIG": str(tmp_path),
            "PATH": "/bin",
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"n_workers": 3}, {"n_workers": 3, "image": "mine"}]


def test_without_it(tmp_path: Path) -> None:
    (tmp_path / "dask.yaml").write_text("kubernetes:\n  count: {start: 2, max: 9}\n")
    program = "import json\nfrom dask_gitops.client.settings import configured\nprint(json.dumps(configured()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"DASK_CONFIG": str(tmp_path), "PYTHONPATH": "controller", "PATH": "/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"n_workers": 2, "maximum": 9}
