"""Where the two sides of a change come from: manifests, values that Helm renders, git revisions, a live cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dask_gitops import __version__
from dask_gitops.kube import ApiError, CredentialsError, KubeClient, KubeError, from_kubeconfig
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKWORKERGROUPS, PODS, SERVICES
from dask_gitops.resources import labels

from . import documents
from .documents import DocumentError
from .memory import CUSTOM, JSON, KINDS
from .rehearsal import Id, Picture

GROUP = "kubernetes.dask.org"
_VERSION = f"{GROUP}/v1"
_OURS = {resource.kind for resource in CUSTOM}
_PARTS = (DASKWORKERGROUPS.kind, DASKAUTOSCALERS.kind)  # of a cluster that they name
_AGENT = f"dask-gitops-plan/{__version__}"
_CONTROLLER = "DASK_GITOPS_"  # what the environment of the controller's container begins with


class SourceError(Exception):
    """Something cannot be read; the message says where, and what to do."""


@dataclass
class Side:
    """What one side declares.

    :ivar objects: the Dask objects, by name.
    :ivar ignored: how many objects of other kinds there are.
    :ivar definitions: schemas of the Dask kinds, where their definitions are among the objects.
    :ivar controller: the environment of the controller, where its Deployment is among the objects.
    """

    objects: dict[Id, JSON] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    definitions: dict[str, JSON] = field(default_factory=dict)
    controller: dict[str, str] = field(default_factory=dict)


# ---- manifests


def read_manifests(paths: Iterable[str], namespace: str) -> Side:
    """Files, folders (all ``.yaml``, ``.yml`` and ``.json`` below them) or ``-`` for what is piped in.

    :param namespace: of objects that name none.
    :raises SourceError: naming file and line.
    """
    side = Side()
    for path in paths:
        for name, text in _texts(path):
            add(side, text, name, namespace)
    return side


def _texts(path: str) -> Iterable[tuple[str, str]]:
    if path == "-":
        try:
            yield "standard input", sys.stdin.read()
        except UnicodeDecodeError as error:
            raise SourceError(f"standard input: cannot be read: {error}") from error
        return
    root = Path(path)
    if not root.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    files = [root]
    if root.is_dir():
        inside = (p for p in root.rglob("*") if p.suffix in (".yaml", ".yml", ".json"))
        files = sorted(p for p in inside if p.is_file())
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{file}: cannot be read: {error}") from error


def add(side: Side, text: str, name: str, namespace: str) -> None:
    """Add the objects of a stream of YAML documents.

    :param name: of the stream, for errors.
    """
    try:
        found = documents.read(text)
    except DocumentError as error:
        line = f", line {error.line}" if error.line else ""
        raise SourceError(
            f"{name}{line}: this is no YAML that Kubernetes reads: {error}"
        ) from error
    for number, document in enumerate(found, 1):
        if document is not None:
            _add_object(side, document, f"{name}, document {number}", namespace)


def _add_object(side: Side, raw: Any, where: str, namespace: str) -> None:
    if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str):
        raise SourceError(
            f"{where}: this is no Kubernetes object (it has no kind); values files need --chart"
        )
    kind = raw["kind"]
    if kind in _OURS and not _is_of_others(raw.get("apiVersion")):
        if raw.get("apiVersion") != _VERSION:
            raise SourceError(
                f"{where}: {kind} has apiVersion {raw.get('apiVersion')!r}; expected {_VERSION}"
            )
        _add_ours(side, raw, where, namespace)
        return
    try:
        _add_other(side, raw, where, namespace)
    except (AttributeError, LookupError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise SourceError(f"{where}: this {kind} cannot be understood ({what})") from error


def _is_of_others(version: Any) -> bool:
    """A kind that is only called like one of ours."""
    group, slash, _ = version.partition("/") if isinstance(version, str) else ("", "", "")
    return bool(slash) and group.casefold() != GROUP


def _add_other(side: Side, raw: JSON, where: str, namespace: str) -> None:
    """What may hold Dask objects, or say how they are read."""
    kind = raw["kind"]
    if kind == "List":
        for item in raw.get("items") or ():
            _add_object(side, item, where, namespace)
        return
    side.ignored[kind] += 1
    if kind == "CustomResourceDefinition":
        _add_definition(side, raw)
    elif kind == "Deployment":
        side.controller |= _environment(raw)


def _add_ours(side: Side, raw: JSON, where: str, namespace: str) -> None:
    meta, kind = raw.get("metadata"), raw["kind"]
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise SourceError(f"{where}: {kind}: metadata.name is missing")
    for key, part in (("spec", raw), ("labels", meta), ("annotations", meta)):
        if not isinstance(part.get(key) or {}, dict):
            raise SourceError(f"{where}: {kind} {meta['name']}: {key} must be a map")
    if kind in _PARTS and not _names_cluster(raw.get("spec") or {}):
        raise SourceError(f"{where}: {kind} {meta['name']}: spec.cluster must name a DaskCluster")
    of = Id(kind, str(meta.get("namespace") or namespace), meta["name"])
    if of in side.objects:
        raise SourceError(f"{where}: {kind} {of.namespace}/{of.name} is there twice")
    kept = {key: meta[key] for key in ("labels", "annotations") if meta.get(key)}
    side.objects[of] = {
        "apiVersion": _VERSION,
        "kind": kind,
        "metadata": {"name": of.name, "namespace": of.namespace, **kept},
        "spec": raw.get("spec") or {},
    }


def _names_cluster(spec: JSON) -> bool:
    return isinstance(spec.get("cluster"), str) and spec["cluster"] != ""


def _add_definition(side: Side, raw: JSON) -> None:
    spec = raw.get("spec") or {}
    if spec.get("group") == GROUP:
        for version in spec.get("versions") or ():
            side.definitions[spec["names"]["kind"]] = version["schema"]["openAPIV3Schema"]


def _environment(deployment: JSON) -> dict[str, str]:
    spec = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    return {
        entry["name"]: str(entry["value"])
        for container in spec.get("containers") or ()
        for entry in container.get("env") or ()
        if entry["name"].startswith(_CONTROLLER) and "value" in entry
    }


# ---- values


def render(
    helm: str,
    chart: str,
    values: Sequence[str],
    release: str,
    namespace: str,
    *,
    version: str | None = None,
) -> Side:
    """What Helm makes of values files.

    :raises SourceError: Helm is missing, or refuses the values, in its own words.
    """
    program = shutil.which(helm)
    if program is None:
        raise SourceError(
            f"{helm}: there is no such program; install Helm, name it with --helm, or give rendered manifests"
        )
    command = [program, "template", release, chart, "--namespace", namespace, "--include-crds"]
    if version is not None and not Path(chart).is_dir():
        command += ["--version", version]
    for file in values:
        command += ["--values", file]
    side = Side()
    add(side, _run(command, f"helm template with {', '.join(values)}"), "helm template", namespace)
    return side


def _run(command: Sequence[str], what: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SourceError(f"{what}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


# ---- git


def revisions(text: str) -> tuple[str, str | None]:
    """``A..B`` -> (A, B), ``A...B`` -> (where B left A, B), ``A`` -> (A, None), the files as they lie there.

    :raises SourceError: git does not know one of them.
    """
    first, dots, second = text.partition("..")
    if not dots:
        return _commit(first), None
    if second.startswith("."):
        base, head = _commit(first or "HEAD"), _commit(second[1:] or "HEAD")
        return _git("merge-base", base, head).strip(), head
    return _commit(first or "HEAD"), _commit(second or "HEAD")


def _commit(name: str) -> str:
    try:
        return _git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        ).strip()
    except SourceError:
        raise SourceError(
            f"--git: {name} is no revision that git knows here; a shallow clone needs `git fetch` of it first"
        ) from None


def check_out(commit: str, folder: Path) -> Path:
    """Write the files of a commit below ``folder``; returns what stands there for the present folder."""
    top, here = _git("rev-parse", "--show-toplevel").strip(), _git("rev-parse", "--show-prefix")
    folder.mkdir()
    # An index of its own: neither the user's index nor the user's files are touched.
    index = {"GIT_INDEX_FILE": str(folder.with_suffix(".index"))}
    _git("-C", top, "read-tree", commit, env=index)
    _git("-C", top, "checkout-index", "--all", f"--prefix={folder}/", env=index)
    return folder / here.strip()


def _git(*args: str, env: Mapping[str, str] | None = None) -> str:
    if shutil.which("git") is None:
        raise SourceError("git: there is no such program; give files with --from and --to instead")
    return _run(["git", *args], f"git {' '.join(args)}", {**os.environ, **(env or {})})


# ---- live


async def read_live(
    kubeconfig: str | None, context: str | None, namespaces: Iterable[str]
) -> Picture:
    """The Dask objects of these namespaces and what the controller made of them. Reads only.

    :raises SourceError: there is no way to the API server, or it says no.
    """
    found: Picture = {resource: {} for resource in KINDS}
    selectors = {PODS: labels.PODS_SELECTOR, SERVICES: labels.SERVICES_SELECTOR}
    try:
        file = None if kubeconfig is None else os.path.expanduser(kubeconfig)
        async with KubeClient(from_kubeconfig(file, context), user_agent=_AGENT) as client:
            for namespace in sorted(namespaces):
                for resource in KINDS:
                    page = await client.list(
                        resource, namespace, label_selector=selectors.get(resource)
                    )
                    for raw in page.items:
                        raw |= {"kind": resource.kind, "apiVersion": resource.api_version}
                        found[resource][namespace, raw["metadata"]["name"]] = raw
    except ApiError as error:
        why = "; are the Dask definitions installed there?" if error.status == 404 else ""
        raise SourceError(f"--live: {error}{why}") from error
    except (CredentialsError, KubeError) as error:
        raise SourceError(f"--live: {error}") from error
    return found
