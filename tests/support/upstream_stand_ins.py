"""A plugin for pytest: the existing operator's own client tests import ours.

It runs in the environment of tests/upstream-requirements.txt (tests/support/upstream_tests.py starts it). What those
tests import of ``dask_kubernetes`` leads to ``dask_gitops``, and nothing else of it can be imported; their fixtures
start nothing, as the controller and the node are there already; what they skip is run.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import dask_gitops
import pytest
from dask_gitops.client import errors, names

THEIRS = "dask_kubernetes"
#: By which their client speaks to Kubernetes; ours has no need of them.
THEIR_WAYS = ("kr8s", "kopf", "kubernetes", "kubernetes_asyncio", "pykube")
STAND_INS: dict[str, dict[str, Any]] = {
    THEIRS: {},
    f"{THEIRS}.constants": {"MAX_CLUSTER_NAME_LEN": names.LONGEST},
    f"{THEIRS}.exceptions": {
        name: getattr(errors, name)
        for name in ("CrashLoopBackOffError", "SchedulerStartupError", "ValidationError")
    },
    f"{THEIRS}.operator": {
        name: getattr(dask_gitops, name)
        for name in (
            "KubeCluster",
            "discover",
            "make_cluster_spec",
            "make_scheduler_spec",
            "make_worker_spec",
        )
    },
}


class Refuses(importlib.abc.MetaPathFinder):
    """Any other module of theirs: the tests would not be tests of ours."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname == THEIRS or fullname.startswith(f"{THEIRS}."):
            raise ModuleNotFoundError(f"{fullname} has no stand-in", name=fullname)
        return None


def stand_in() -> None:
    """Before anything of theirs is imported."""
    assert not [name for name in sys.modules if name.split(".")[0] == THEIRS]
    for name, holds in STAND_INS.items():
        module = ModuleType(name)
        module.__path__ = []  # a package, whose folder holds nothing
        vars(module).update(holds)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    sys.meta_path.insert(0, Refuses())


stand_in()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Was it our client, and ours alone?"""
    imported = {name.split(".")[0] for name in sys.modules}
    assert "dask_gitops" in imported
    assert not imported & set(THEIR_WAYS), f"imported: {sorted(imported & set(THEIR_WAYS))}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def kopf_runner() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


@pytest.fixture
def docker_image() -> str:
    return os.environ["DASK_IMAGE"]


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """Where they compare what a scheduler tells two objects, no worker may come between the two."""
    name = request.node.name.partition("[")[0]
    return os.environ["NAMESPACE" if name != "test_cluster_from_name" else "NAMESPACE_OF_ONE_POD"]
