"""Asks for what goes into a bundle, and writes it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from dask_gitops import __version__
from dask_gitops.cli import screen, shell
from dask_gitops.cli.bundle.redact import Redactor
from dask_gitops.cli.doctor import gather as facts
from dask_gitops.cli.doctor.checks import findings
from dask_gitops.cli.options import Where, complain
from dask_gitops.client import actions
from dask_gitops.client.access import Access
from dask_gitops.client.errors import DaskGitopsError
from dask_gitops.kube import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    EVENTS,
    PODS,
    SERVICES,
    ApiError,
    CredentialsError,
    KubeClient,
    KubeError,
)
from dask_gitops.kube.resource import NETWORKPOLICIES, RESOURCEQUOTAS, Resource
from dask_gitops.resources import labels

JSON = dict[str, Any]
KINDS = (
    DASKCLUSTERS,
    DASKWORKERGROUPS,
    DASKAUTOSCALERS,
    DASKJOBS,
    PODS,
    SERVICES,
    EVENTS,
    RESOURCEQUOTAS,
    NETWORKPOLICIES,
)
#: So many of the last lines of each log.
LINES = 10_000
AT_ONCE = 16
README = """\
Of namespace {namespace}{cluster}, at {time}, by dask-gitops {version}.

objects/   as the API server has them
logs/      the last {lines} lines of each Pod; .previous: of the container before the last restart
doctor.json, versions.json

Taken out, here as "(removed)": values of environment variables, wherever they stand; data of ConfigMaps and Secrets (none
is read); passwords in URLs; tokens, keys, passwords and certificates by their looks. Read it before you send it on.
{without}"""


def support_bundle(name: str | None, file: str | None, where: Where, output: str) -> None:
    """Write the archive.

    :param file: its path; None: a name in the present folder.
    """
    if name is not None:
        name, where = shell.split(name, where)
    there = shell.reached(where)
    namespace = shell.namespace_of(where, there)
    now = time.gmtime()
    stem = "-".join(["dask-gitops", namespace, *([name] if name else []), time.strftime("%Y%m%d-%H%M%S", now)])  # fmt: skip
    path = Path(os.path.expanduser(file or f"{stem}.tar.gz"))
    contents, without = shell.run(there.told(_contents(where, name, namespace, there)))
    contents["README.txt"] = README.format(
        namespace=namespace,
        cluster=f", cluster {name}" if name else "",
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
        version=__version__,
        lines=LINES,
        without="".join(f"\nNot here: {what}: {why}" for what, why in without.items()),
    )
    _write(path, stem, contents)
    if output == "json":
        told = [{"what": what, "reason": why} for what, why in without.items()]
        document = {"namespace": namespace, "name": name, "file": str(path)}
        screen.document({**document, "contains": sorted(contents), "without": told})
        return
    for what, why in without.items():
        complain(f"not in it: {what}: {why}")
    screen.say(str(path))


def _write(path: Path, stem: str, contents: Mapping[str, str]) -> None:
    """Only its owner may read it. Nothing that is there is written over.

    :raises OSError: it cannot be written.
    """
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in sorted(contents.items()):
            data = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"{stem}/{name}")
            info.size, info.mtime, info.mode = len(data), int(time.time()), 0o600
            archive.addfile(info, io.BytesIO(data))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(held.getvalue())


async def _contents(
    where: Where, name: str | None, namespace: str, there: Access
) -> tuple[dict[str, str], dict[str, str]]:
    """Files by name, without secrets, and what could not be read, with the reason."""
    without: dict[str, str] = {}
    # First, for it knows whether there is such a cluster.
    known = await facts.facts(where, name, namespace, there)
    checks = [asdict(each) for each in findings(known)]
    objects: dict[str, list[JSON]] = {}
    async with shell.client(there) as api:

        async def listed(kind: Resource) -> None:
            try:
                items = (await api.list(kind, namespace)).items
            except (KubeError, CredentialsError, DaskGitopsError) as error:
                without[str(kind)] = str(there.refusal(error))
                return
            objects[kind.plural] = [each for each in items if _belongs(kind, each, name)]

        await asyncio.gather(*(listed(kind) for kind in KINDS))
        logs = await _logs(api, namespace, objects.get(PODS.plural, []))
    redactor = Redactor(each for items in objects.values() for each in items)
    versions = {
        "dask-gitops": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "dask": importlib.metadata.version("dask"),
        "kubernetes": known.version if isinstance(known.version, str) else None,
        "cluster": asdict(known.versions),
    }
    contents = {
        "doctor.json": json.dumps(redactor.object(checks), indent=2),
        "versions.json": json.dumps(redactor.object(versions), indent=2),
    }
    for plural, items in objects.items():
        if items:
            texts = [yaml.safe_dump(redactor.object(each), sort_keys=False) for each in items]
            contents[f"objects/{plural}.yaml"] = "---\n".join(texts)
    contents |= {f"logs/{name}": redactor.text(text) for name, text in logs.items()}
    return contents, {what: redactor.text(why) for what, why in without.items()}


def _belongs(kind: Resource, raw: JSON, name: str | None) -> bool:
    """Is it of the cluster that is asked about, or of Dask at all?"""
    meta = raw["metadata"]
    if kind in (PODS, SERVICES):
        cluster = (meta.get("labels") or {}).get(labels.CLUSTER)
        return cluster is not None and name in (None, cluster)
    if name is None or kind in (RESOURCEQUOTAS, NETWORKPOLICIES):
        return True
    if kind in (DASKWORKERGROUPS, DASKAUTOSCALERS):
        return bool((raw.get("spec") or {}).get("cluster") == name)
    about = (raw.get("involvedObject") or {}).get("name") if kind == EVENTS else meta["name"]
    return about == name or str(about).startswith(f"{name}-")


async def _logs(api: KubeClient, namespace: str, pods: list[JSON]) -> dict[str, str]:
    """By name of the file; of a Pod that has none, why."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(pod: JSON, previous: bool) -> tuple[str, str]:
        name = pod["metadata"]["name"]
        async with places:
            try:
                text = await api.logs(
                    namespace,
                    name,
                    container=actions.container_of(pod),
                    previous=previous,
                    tail=LINES,
                    timestamps=True,
                )
            except ApiError as error:
                text = "" if previous else f"no log: {error.message}\n"
            except KubeError as error:
                text = f"no log: {error}\n"
        return f"{name}{'.previous' if previous else ''}.log", text

    found = await asyncio.gather(
        *(one(pod, previous) for pod in pods for previous in (False, True))
    )
    return {name: text for name, text in found if text}
