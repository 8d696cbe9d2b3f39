"""Pure: what is known when checks judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = dict[str, Any]
Verdict = Literal["ok", "warning", "failure", "not checked"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A fact that could not be found out.

    :ivar why: in words.
    """

    why: str


NOBODY = Missing("there is no way to the API server")


@dataclass(frozen=True, slots=True)
class Versions:
    """Of Dask and of Python.

    :ivar here: of this process.
    :ivar workers: by the worker's name.
    """

    here: tuple[str, str]
    scheduler: tuple[str, str]
    workers: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """:ivar name: of the cluster that is asked about; None: all of the namespace.
    :ivar who: as whom the server knows us.
    :ivar server: its address; :ivar is_verified: is its certificate looked at?
    :ivar version: of the server, such as ``v1.35.2``.
    :ivar skew: by how many seconds its clock is ahead of ours.
    :ivar lacking: fields that its definitions do not have, and this version knows.
    :ivar controllers: Deployments of ours; :ivar operators: names of other operators' Deployments.
    :ivar clusters, groups, pods, services, quotas, policies: raw, of the namespace; Pods are Dask's.
    :ivar rights: what the client does, and whether it may.
    :ivar dns: "": the scheduler's Service has an address here; else why not.
    :ivar reach: "": a forwarded port led to the scheduler; else why not.
    """

    namespace: str
    name: str | None = None
    now: float = 0.0
    server: str = ""
    is_verified: bool = True
    who: str | Missing = NOBODY
    version: str | Missing = NOBODY
    skew: float | Missing = NOBODY
    lacking: Sequence[str] | Missing = NOBODY
    controllers: Sequence[JSON] | Missing = NOBODY
    operators: Sequence[str] | Missing = NOBODY
    clusters: Sequence[JSON] | Missing = NOBODY
    groups: Sequence[JSON] | Missing = NOBODY
    pods: Sequence[JSON] | Missing = NOBODY
    services: Sequence[JSON] | Missing = NOBODY
    quotas: Sequence[JSON] | Missing = NOBODY
    policies: Sequence[JSON] | Missing = NOBODY
    rights: Mapping[str, bool] | Missing = NOBODY
    dns: str | Missing = NOBODY
    reach: str | Missing = NOBODY
    versions: Versions | Missing = NOBODY


@dataclass(frozen=True, slots=True)
class Finding:
    """:ivar says: what was found; :ivar do: what to do about it; "" where there is nothing to do."""

    check: str
    verdict: Verdict
    says: str
    do: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def unknown(check: str, fact: Missing) -> Finding:
    return Finding(check, "not checked", fact.why)
