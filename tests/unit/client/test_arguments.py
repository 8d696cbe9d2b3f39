from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.client import arguments
from dask_gitops.client.arguments import CreateMode


class Theirs(enum.Enum):
    CONNECT_ONLY = "CONNECT_ONLY"


def test_create_mode() -> None:
    for given in (CreateMode.CONNECT_ONLY, Theirs.CONNECT_ONLY, "connect_only", "CONNECT_ONLY"):
        assert arguments.create_mode(given) is CreateMode.CONNECT_ONLY


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: arguments.create_mode("create"), ValueError, "create_mode is 'create'; use CREATE_ONLY, CONNECT_ONLY or CREATE_OR_CONNECT"),
        (lambda: arguments.create_mode(None), ValueError, "create_mode is None; use"),
        (lambda: arguments.count("n_workers", -1), ValueError, "n_workers is -1; use 0 or more"),
        (lambda: arguments.count("n_workers", "3"), TypeError, "n_workers is '3'; use a whole number"),
        (lambda: arguments.count("n_workers", True), TypeError, "n_workers is True; use a whole number"),
        (lambda: arguments.count("n_workers", 2.0), TypeError, "n_workers is 2.0; use a whole number"),
        (lambda: arguments.resources("resources", {"limit": {}}), ValueError, "resources has the unknown field 'limit'; it may have: limits, requests"),
        (lambda: arguments.resources("resources", {"limits": 4}), TypeError, "resources['limits'] is 4; write a dict such as {'cpu': '2', 'memory': '4Gi'}"),
        (lambda: arguments.resources("resources", "2Gi"), TypeError, "resources is '2Gi'; write a dict such as {'limits'"),
        (lambda: arguments.env({"A": None}), TypeError, "env['A'] is None; values are strings"),
        (lambda: arguments.env([{"A": "b"}]), TypeError, "env[0] has no 'name'; each entry is {'name': ..., 'value': ...} or has 'valueFrom'"),
        (lambda: arguments.env([{"name": "A", "value": 1}]), TypeError, "env[0]['value'] is 1; values are strings"),
        (lambda: arguments.env("A=b"), TypeError, "env is 'A=b'; write a dict such as {'NAME': 'value'}"),
        (lambda: arguments.env(3), TypeError, "env is 3; write a dict"),
        (lambda: arguments.words("worker_command", 3), TypeError, "worker_command is 3; write a text, or a list of words"),
        (lambda: arguments.words("worker_command", " "), ValueError, "worker_command is empty; write a command"),
        (lambda: arguments.unknown("KubeCluster", ["n_worker"], ["n_workers"]), TypeError, "KubeCluster has no argument 'n_worker'; did you mean 'n_workers'?"),
        (lambda: arguments.unknown("KubeCluster", ["zzz"], ["n_workers"]), TypeError, "KubeCluster has no argument 'zzz'"),
    ],
)  # fmt: skip
def test_refused(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()


def test_what_is_given_is_copied() -> None:
    given = [{"name": "A", "valueFrom": {"fieldRef": {}}}]
    found = arguments.env(given)
    assert found == given
    assert found is not given
    assert arguments.env({"A": "b"}) == [{"name": "A", "value": "b"}]
    assert arguments.env({}) == []
    assert arguments.env(None) is None
    assert arguments.count("n_workers", 0) == 0
    assert arguments.words("worker_command", ["a", "b c"]) == ["a", "b c"]
    assert arguments.words("worker_command", "a  b") == ["a", "b"]
    arguments.unknown("KubeCluster", [], [])
