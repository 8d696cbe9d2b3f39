"""The command on a Kubernetes in memory, as a person would type it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dask_gitops.cli import change, gen, shell
from dask_gitops.cli.group import gitops
from dask_gitops.client.access import Access
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, Resource
from dask_gitops.kube.credentials import StaticCredentials

from tests.support.memory_api import MemoryApi, MemoryClient
from tests.support.virtual_time import run

JSON = dict[str, Any]
TEXT = (Path(__file__).parents[3] / "docs/command.md").read_text()
ACCESS = Access(
    StaticCredentials("https://10.0.0.1:6443", namespace="team-b"), context="prod", where="config"
)


class Client(MemoryClient):
    async def close(self) -> None:
        assert self.server is not None


class Typed:
    """``dask-gitops WORDS``."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api

    def __call__(self, *words: str, says: str | None = None) -> Result:
        """:param says: typed when it asks."""
        return CliRunner().invoke(gitops, words, input=says, prog_name="dask-gitops")

    def done(self, *words: str) -> str:
        """What it printed; nothing went wrong."""
        result = self(*words)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return str(result.stdout)

    def document(self, *words: str) -> Any:
        found = json.loads(self.done(*words, "--output", "json"))
        told = keys_of(words[0])
        for key in keys(found) if words[0] != "gen" else ():
            assert re.search(rf"`[a-z.\[\]]*\b{key}\b", told, re.IGNORECASE), f"{words[0]}: {key}"
        return found

    def refused(self, code: int, *words: str) -> str:
        """Its one line on standard error."""
        result = self(*words)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return str(result.stderr).strip()

    # ---- the world

    def put(self, kind: Resource, name: str, **more: Any) -> JSON:
        metadata = {"name": name, "namespace": "team-b", **more.pop("metadata", {})}
        return self.api.put(kind, {"metadata": metadata, **more})

    def cluster(self, name: str, *conditions: tuple[str, str, str], **more: Any) -> JSON:
        return self.put(DASKCLUSTERS, name, status=told(conditions), **more)

    def group(
        self, cluster: str, name: str, ready: int, wanted: int, *conditions: Any, **more: Any
    ) -> JSON:
        spec = {"cluster": cluster, "worker": {"replicas": wanted}}
        status = {**told(conditions), "readyReplicas": ready}
        return self.put(DASKWORKERGROUPS, f"{cluster}-{name}", spec=spec, status=status, **more)

    def autoscaler(self, name: str, **more: Any) -> JSON:
        spec = {"minimum": 1, "maximum": 9, **more.pop("spec", {})}
        return self.put(DASKAUTOSCALERS, name, spec=spec, **more)


def keys(document: Any) -> Iterator[str]:
    """Of a JSON document, however deep."""
    if isinstance(document, dict):
        yield from document
    for inner in document.values() if isinstance(document, dict) else document:
        if isinstance(inner, dict | list):
            yield from keys(inner)


def section(name: str) -> str:
    """Of docs/command.md."""
    heading = re.search(rf"^## `{name}\b.*$", TEXT, re.MULTILINE)
    assert heading is not None, f"docs/command.md has no heading for {name}"
    return heading[0] + TEXT[heading.end() :].partition("\n## ")[0]


def keys_of(name: str) -> str:
    """Where its JSON keys are told: in its section, or the one that it refers to."""
    found = section(name)
    for other, words in (("status", "document of `status`"), ("dashboard", "those of `dashboard`")):
        found += section(other) if words in found else ""
    return found


def told(conditions: Any) -> JSON:
    return {"conditions": [{"type": t, "status": s, "message": m} for t, s, m in conditions]}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    api = MemoryApi()
    monkeypatch.setattr(shell, "access", lambda file, context: ACCESS)
    monkeypatch.setattr(shell, "connect", lambda credentials: Client(api, "us"))
    monkeypatch.setattr(shell, "run", run)
    for module in (shell, change, gen):
        monkeypatch.setattr(module, "configured", dict)
    return Typed(api)
