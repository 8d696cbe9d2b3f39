"""Which clusters others are told of."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import dask_gitops
import pytest
from aiohttp import web
from dask_gitops.client import discovery
from dask_gitops.kube.credentials import CredentialsError, StaticCredentials

ALL = "/apis/kubernetes.dask.org/v1/daskclusters"
OWN = "/apis/kubernetes.dask.org/v1/namespaces/mine/daskclusters"


def item(namespace: str, name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}}


def found(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> list[tuple[str, Any]]:
    """What is discovered on a server that answers so: a list of items, or a status code."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = answers.get(request.path, 404)
        if isinstance(answer, int):
            return web.json_response({"kind": "Status", "code": answer}, status=answer)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": answer})

    async def main() -> list[tuple[str, Any]]:
        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{runner.addresses[0][1]}"
        monkeypatch.setattr(discovery, "load", lambda: StaticCredentials(server, namespace="mine"))
        try:
            return [each async for each in discovery.discover()]
        finally:
            await runner.cleanup()

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    class KubeCluster:
        pass

    module = ModuleType("dask_gitops.client.cluster")
    module.KubeCluster = KubeCluster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(dask_gitops.__dict__, "KubeCluster", raising=False)
    yield KubeCluster
    dask_gitops.__dict__.pop("KubeCluster", None)


def test_names_lead_back_to_the_clusters(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    items = [item("mine", "a"), item("theirs", "a")]
    assert found(monkeypatch, {ALL: items}) == [("a", kind), ("theirs/a", kind)]


def test_who_may_not_list_all_sees_the_own(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    assert found(monkeypatch, {ALL: 403, OWN: [item("mine", "a")]}) == [("a", kind)]


@pytest.mark.parametrize("answers", [{}, {ALL: 403, OWN: 403}, {ALL: 401}])
def test_nothing_to_list_is_no_error(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    assert found(monkeypatch, answers) == []


def test_no_kubernetes_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise CredentialsError("none")

    async def main() -> list[Any]:
        return [each async for each in discovery.discover()]

    monkeypatch.setattr(discovery, "load", load)
    assert asyncio.run(main()) == []
