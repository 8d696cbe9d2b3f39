"""What ``convert`` reads and writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import yaml

from dask_gitops.cli.plan.documents import DocumentError
from dask_gitops.cli.plan.documents import read as read_yaml
from dask_gitops.client.access import Access, access
from dask_gitops.client.errors import DaskGitopsError
from dask_gitops.kube import ApiError, CredentialsError, KubeClient, KubeError
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS

from . import manifests
from .command import read
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
        text = read(file)
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


def from_live(
    name: str, namespace: str | None, context: str | None, kubeconfig: str | None
) -> tuple[Converted, list[Comments]]:
    """A cluster that runs, read only.

    :param name: ``name`` or ``namespace/name``.
    :raises ConvertError: there is none, or no way to it.
    """
    space, _, short = name.rpartition("/")
    try:
        reached = access(kubeconfig, context)
        return asyncio.run(_live(reached, short, space or namespace or reached.namespace)), [{}]
    except ApiError as error:
        if error.status == 404:
            where = space or namespace or reached.namespace
            raise ConvertError(f"no DaskCluster {short!r} in {where!r}") from None
        raise ConvertError(f"--live: {error}") from None
    except (DaskGitopsError, CredentialsError, KubeError) as error:
        raise ConvertError(f"--live: {error}") from None
    except ValueError as error:
        raise ConvertError(f"{name}: {error}") from None


async def _live(reached: Access, name: str, namespace: str) -> Converted:
    async with KubeClient(reached.credentials, user_agent="dask-gitops-convert") as client:
        cluster = await client.get(DASKCLUSTERS, namespace, name)
        others: list[JSON] = []
        for resource in (DASKWORKERGROUPS, DASKAUTOSCALERS):
            page = await client.list(resource, namespace)
            kind = {"kind": resource.kind, "apiVersion": resource.api_version}
            others += [{**raw, **kind} for raw in page.items]
    return manifests.live(cluster, others)


def written(found: Converted, said: list[Comments], to: str) -> tuple[str, Any]:
    """As YAML, and as JSON values.

    :param to: ``values`` or ``manifests``.
    """
    if to == "values":
        values, placed = as_values(found.objects, said, found.left)
        return write(values, placed), values
    texts = [write(one.raw, moved(said[one.source], one.moves, one.raw)) for one in found.objects]
    return "---\n".join(texts), [one.raw for one in found.objects]
