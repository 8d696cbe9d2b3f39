"""A cluster that its user wrote: ``custom_cluster_spec``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
GROUP = "kubernetes.dask.org"
#: Beside the DaskCluster: what belongs to it, and the field that says so.
BELONGS = ("DaskWorkerGroup", "DaskAutoscaler")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A DaskCluster, and what else was written for it.

    :ivar more: its worker groups and autoscalers.
    """

    cluster: JSON
    more: list[JSON] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.cluster["metadata"]["name"])


def manifest(given: Any, folder: Path | None = None) -> Manifest:
    """What a user gave as ``custom_cluster_spec``: a dict, YAML text, or a path to it.

    :param folder: where relative paths begin; None: the process' own.
    :raises FileNotFoundError: there is no such file.
    :raises ValueError, TypeError: it is something else; the message says what, and where.
    """
    what = "custom_cluster_spec"
    if isinstance(given, Mapping):
        return _sorted([(what, copy.deepcopy(dict(given)))], what)
    if isinstance(given, Path):
        given = str(given)
    if not isinstance(given, str):
        raise TypeError(f"{what} is {given!r}; write a dict, a path, or YAML text")
    if given.split("://")[0] in ("http", "https", "s3", "gs"):
        raise ValueError(f"{what} {given!r} is a URL; download it first")
    if "\n" in given or given.lstrip()[:1] == "{" or ": " in given:
        return _sorted(list(_documents(given, what)), what)
    what = f"{what} {given!r}"
    home = folder or Path.cwd()
    try:
        text = (home / given).expanduser().read_text()
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: no such file (in {home})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{what} is no text") from None
    except OSError as error:
        raise ValueError(f"{what}: {error.strerror}") from None
    return _sorted(list(_documents(text, what)), what)


def _documents(text: str, what: str) -> Iterator[tuple[str, Any]]:
    """The YAML documents, those of lists one by one; empty ones left out."""
    import yaml

    try:
        for number, document in enumerate(yaml.safe_load_all(text), 1):
            if document is None:
                continue
            where = what if number == 1 else f"{what}, document {number},"
            if isinstance(document, dict) and document.get("kind") == "List":
                yield from ((where, item) for item in document.get("items") or ())
            else:
                yield where, document
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{what} line {line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what}: not YAML: {told}") from None


def _sorted(documents: list[tuple[str, Any]], what: str) -> Manifest:
    """The one cluster, and what belongs to it."""
    clusters: list[JSON] = []
    more: list[tuple[str, JSON]] = []
    for where, document in documents:
        if not isinstance(document, dict):
            raise ValueError(f"{where} is {_shown(document)}; expected a DaskCluster")
        kind = document.get("kind")
        if kind == "DaskCluster":
            _named(where, document)
            clusters.append(document)
        elif kind in BELONGS:
            _named(where, document)
            more.append((where, document))
        elif kind == "Pod":
            raise ValueError(
                f"{where} is a Pod; expected a DaskCluster (of a worker Pod: KubeCluster.from_yaml)"
            )
        elif kind is None:
            raise ValueError(f"{where} has no kind; expected a DaskCluster")
        else:
            raise ValueError(
                f"{where} is a {kind}; a DaskCluster, its worker groups and autoscalers are made here, "
                "others by kubectl apply"
            )
    if len(clusters) != 1:
        count = "no DaskCluster" if not clusters else f"{len(clusters)} DaskClusters"
        raise ValueError(f"{what} has {count}; write one")
    name = clusters[0]["metadata"]["name"]
    for where, document in more:
        of = (document.get("spec") or {}).get("cluster")
        if of != name:
            raise ValueError(f"{where} has spec.cluster {of!r}; the DaskCluster is called {name!r}")
    return Manifest(clusters[0], [document for _, document in more])


def _named(where: str, document: JSON) -> None:
    version = document.get("apiVersion")
    if version != f"{GROUP}/v1":
        raise ValueError(f"{where} has apiVersion {version!r}; write {GROUP}/v1")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ValueError(f"{where} has no metadata.name")
    if not isinstance(document.get("spec"), dict):
        raise ValueError(f"{where} has no spec")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
