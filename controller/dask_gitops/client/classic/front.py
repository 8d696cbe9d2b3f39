"""What people of the classic KubeCluster call, and what they are told."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from dask_gitops.client import arguments
from dask_gitops.client.classic.spoken import KEYS, WORDS, Spoken, spoken
from dask_gitops.client.settings import configured

T = TypeVar("T", bound="Classic")
log = logging.getLogger("dask_gitops")
INSTEAD = (
    "KubeCluster of a worker's Pod is the classic way: write KubeCluster(name=..., image=..., "
    "n_workers=..., worker_template=...) instead; to_manifest() says what it has become, "
    "docs/migrating.md what stands for which word"
)
_told: set[str] = set()  # in this process


class Classic:
    """Two ways to make a cluster of a worker's Pod that the classic KubeCluster had beside its constructor."""

    @classmethod
    def from_yaml(cls: type[T], yaml_path: str | os.PathLike[str], **arguments: Any) -> T:
        """A cluster of the worker's Pod in a file.

        :raises FileNotFoundError, ValueError: it is none.
        """
        return cls(pod_template=_Path(os.fspath(yaml_path)), **arguments)  # type: ignore[call-arg]

    @classmethod
    def from_dict(cls: type[T], pod_spec: Mapping[str, Any], **arguments: Any) -> T:
        """A cluster of a worker's Pod.

        :raises ValueError, TypeError: it is none.
        """
        return cls(pod_template=pod_spec, **arguments)  # type: ignore[call-arg]


class _Path(os.PathLike[str]):
    """A path, whatever it looks like."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


def hear(
    given: Mapping[str, Any], pod_template: Any, words: Mapping[str, Any], more: Iterable[str]
) -> Spoken:
    """Classic words said in ours, of arguments and of Dask's configuration.

    :param given: arguments of ours, by name.
    :param words: what else was given; :param more: further names that somebody may have meant.
    :raises TypeError: one of them is no word of the classic KubeCluster either.
    """
    unknown = [word for word in words if word not in WORDS]
    arguments.unknown("KubeCluster", unknown, [*given, *more, *WORDS])
    said = {"pod_template": pod_template, **words}
    return spoken(given, said, configured(), configured(KEYS))


def tell(remarks: Iterable[str]) -> None:
    """Say once in a process what to write instead, where it is written, and once each what is not carried over."""
    if INSTEAD not in _told:
        _told.add(INSTEAD)
        warnings.warn(INSTEAD, FutureWarning, stacklevel=_levels_to_the_user())
    for remark in remarks:
        if remark not in _told:
            _told.add(remark)
            log.warning("%s", remark)


def _levels_to_the_user() -> int:
    """How many calls away from :func:`tell` the first line stands that is none of this package."""
    levels, frame = 1, inspect.currentframe()
    frame = frame.f_back if frame else None
    while frame is not None and frame.f_globals.get("__name__", "").startswith("dask_gitops."):
        levels, frame = levels + 1, frame.f_back
    return levels
