"""What ``convert`` reads and writes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dask_gitops.cli import shell
from dask_gitops.cli.options import Where
from dask_gitops.cli.plan.documents import DocumentError
from dask_gitops.cli.plan.documents import read as read_yaml
from dask_gitops.client import refusals
from dask_gitops.client.access import Access
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, Resource

from . import manifests
from .comments import Comments, comments, moved
from .result import JSON, Converted, ConvertError
from .values import as_values
from .writing import write


def from_files(
    files: Iterable[str], name: str | None, scheduler: str | None
) -> tuple[Converted, list[Comments]]:
    """All objects of all files, and the comments by source.

    :raises ConvertError: one cannot be read.
    """
    head = None
    if scheduler is not None:
        found, _ = _documents(scheduler)
        pods = [one for one in found if one is not None]
        if len(pods) != 1 or not isinstance(pods[0], dict) or pods[0].get("kind", "Pod") != "Pod":
            raise ConvertError(f"{scheduler}: expected one Pod, the scheduler's")
        head = pods[0]
    whole = Converted()
    said: list[Comments] = []
    for file in files:
        found, of_file = _documents(file)
        one = manifests.convert(found, file, name, head)
        for each in one.objects:
            each.source += len(said)
        said += of_file
        whole.objects += one.objects
        whole.left += one.left
    seen: set[tuple[str, Any, str]] = set()
    for each in whole.objects:
        key = (each.kind, each.raw["metadata"].get("namespace"), each.name)
        if key in seen:
            raise ConvertError(f"{each.kind} {each.name} is there twice")
        seen.add(key)
    return whole, said


def _documents(file: str) -> tuple[list[Any], list[Comments]]:
    try:
        text = _text(file)
    except UnicodeDecodeError:
        raise ConvertError(f"{file}: is no text") from None
    except OSError as error:
        raise ConvertError(f"{file}: {error.strerror or error}") from None
    try:
        found = read_yaml(text)
    except DocumentError as error:
        line = f", line {error.line}" if error.line else ""
        raise ConvertError(f"{file}{line}: {error}") from None
    said: list[Comments] = []
    with contextlib.suppress(yaml.YAMLError, RecursionError):  # JSON has none
        said = comments(text)
    return found, [*said, *({} for _ in range(len(found) - len(said)))]


def from_live(name: str, where: Where) -> tuple[Converted, list[Comments]]:
    """A cluster that runs, read only.

    :param name: ``name`` or ``namespace/name``.
    :raises ConvertError: one of its objects cannot be read.
    :raises DaskGitopsError, KubeError, CredentialsError: there is none, or no way to it.
    """
    short, where = shell.split(name, where)
    there = shell.reached(where)
    namespace = shell.namespace_of(where, there)
    cluster, others = shell.run(there.told(_live(there, short, namespace)))
    try:
        return manifests.live(cluster, others), [{}]
    except ValueError as error:
        raise ConvertError(f"{name}: {error}") from None


async def _live(there: Access, name: str, namespace: str) -> tuple[JSON, list[JSON]]:
    async with shell.client(there) as api:
        page = await api.list(DASKCLUSTERS, namespace)
        clusters = {raw["metadata"]["name"]: raw for raw in page.items}
        if name not in clusters:
            raise refusals.no_cluster(name, namespace, list(clusters))
        others: list[JSON] = []
        for resource in (DASKWORKERGROUPS, DASKAUTOSCALERS):
            page = await api.list(resource, namespace)
            others += [_typed(raw, resource) for raw in page.items]
        return _typed(clusters[name], DASKCLUSTERS), others


def _typed(raw: JSON, resource: Resource) -> JSON:
    """Lists leave it out of their items."""
    return {**raw, "kind": resource.kind, "apiVersion": resource.api_version}


def shown(document: JSON, found: Converted) -> str:
    """The one document of ``--output json``."""
    left = [{"what": one.what, "why": one.why} for one in found.left]
    return json.dumps({**document, "left": left}, indent=2) + "\n"


def _text(path: str) -> str:
    """Of a file; ``-`` is standard input.

    :raises OSError, UnicodeDecodeError: it has none.
    """
    if path == "-":
        return sys.stdin.buffer.read().decode()
    return Path(path).read_text(encoding="utf-8")


def written(found: Converted, said: list[Comments], to: str) -> tuple[str, Any]:
    """As YAML, and as JSON values.

    :param to: ``values`` or ``manifests``.
    """
    if to == "values":
        values, placed = as_values(found.objects, said, found.left)
        return write(values, placed), values
    texts = [write(one.raw, moved(said[one.source], one.moves, one.raw)) for one in found.objects]
    return "---\n".join(texts), [one.raw for one in found.objects]
