"""Watches a real API server for a whole test session, so that the judge sees every status that the tests ever see.

Watches of several kinds tell in no common order; what they told is replayed in the order of resource versions.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import urllib3
from kubernetes import config

from tests.support.judge import CLUSTER, GROUP, POD, SERVICE, Judge

JSON = dict[str, Any]

SILENCE_S = 20.0  # after that, a watch is asked for anew: its connection may be dead

_OURS = "?labelSelector=dask.org%2Fcomponent"
_GROUP = "/apis/kubernetes.dask.org/v1"
PATHS = {
    POD: f"/api/v1/pods{_OURS}",
    SERVICE: f"/api/v1/services{_OURS}",
    CLUSTER: f"{_GROUP}/daskclusters?",
    GROUP: f"{_GROUP}/daskworkergroups?",
    "DaskAutoscaler": f"{_GROUP}/daskautoscalers?",
    "DaskJob": f"{_GROUP}/daskjobs?",
}


@dataclass(frozen=True, slots=True)
class _Told:
    version: int
    time: float
    kind: str
    obj: JSON
    gone: bool
    judge: bool  # False: it was there before the session


class Witness:
    """Start it once; `end_of_test` after each test; `verdict` at the end of the session."""

    def __init__(self, kubeconfig: str, judge: Judge | None = None) -> None:
        # A busy machine: what changed in the last ten seconds may not have been known to the writer.
        self.judge = judge or Judge(tolerance_s=10, patience_s=45)
        self._client = config.new_client_from_config(kubeconfig)
        self._told: list[_Told | tuple[int, float, str]] = []
        self._known: dict[str, dict[str, JSON]] = {kind: {} for kind in PATHS}
        self._listed: set[str] = set()
        self._tests: dict[str, str] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in PATHS
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end_of_test(self, namespace: str, test: str) -> None:
        """The test is over, and its namespace still as it left it."""
        self._tests[namespace] = test
        newest = max((t.version for t in self._told if isinstance(t, _Told)), default=0)
        self._told.append((newest, time.time(), namespace))

    def allow(self, why: str, namespace: str) -> None:
        """In this namespace somebody acts wrongly on purpose."""
        self.judge.allow("failed", why, namespace)

    def verdict(self) -> str | None:
        """Stop; then replay all that was told. The judge's list, None if there is nothing to blame."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        in_order = sorted(self._told, key=_version)
        for now, told in zip(happened([_time(t) for t in in_order]), in_order, strict=True):
            if isinstance(told, _Told):
                self.judge.see(now, told.kind, told.obj, gone=told.gone, judge=told.judge)
            else:
                self.judge.end(now, told[2])
        if not self.judge.violations:
            return None
        return self.judge.report(lambda namespace: self._tests.get(namespace, namespace))

    # ---- watching

    def _follow(self, kind: str) -> None:
        version = ""
        while not self._stop.is_set():
            try:
                version = version or self._list(kind)
                for event in self._watch(kind, version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._tell(kind, event["object"], gone=event["type"] == "DELETED")
            except urllib3.exceptions.ReadTimeoutError:
                continue  # nothing has changed. A list would tell what is next without its beginnings
            except (OSError, urllib3.exceptions.HTTPError, ValueError):
                version = ""
                self._stop.wait(1)  # not there yet, gone for a while, or too old a version

    def _list(self, kind: str) -> str:
        found = json.loads(b"".join(self._get(PATHS[kind], timeout=30)))
        there = {item["metadata"]["uid"] for item in found["items"]}
        for item in found["items"]:
            self._tell(kind, item, judge=kind in self._listed)
        self._listed.add(kind)
        version: str = found["metadata"]["resourceVersion"]
        for uid in self._known[kind].keys() - there:  # ended while nobody watched
            lost = self._known[kind][uid]
            lost = {**lost, "metadata": {**lost["metadata"], "resourceVersion": version}}
            self._tell(kind, lost, gone=True)
        return version

    def _watch(self, kind: str, version: str) -> Iterator[JSON]:
        path = f"{PATHS[kind]}&watch=1&timeoutSeconds=300&resourceVersion={version}"
        rest = b""
        for chunk in self._get(path, timeout=SILENCE_S):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ValueError(event["object"].get("message"))
                yield event

    def _get(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """:param timeout: seconds after which a silent connection is left, so that `verdict` need not wait."""
        pool = self._client.rest_client.pool_manager
        answer = pool.request(
            "GET",
            self._client.configuration.host + path,
            preload_content=False,
            timeout=urllib3.Timeout(connect=10, read=timeout),
            retries=False,
        )
        try:
            if answer.status != 200:
                raise ValueError(f"{answer.status} for {path}")
            while not self._stop.is_set() and (chunk := answer.read1()):
                yield chunk
        finally:
            answer.close()

    def _tell(self, kind: str, obj: JSON, *, gone: bool = False, judge: bool = True) -> None:
        meta = obj["metadata"]
        if kind in (POD, SERVICE):
            obj = _essence(obj)
        known = self._known[kind]
        if gone:
            known.pop(meta["uid"], None)
        elif (
            known.get(meta["uid"], {}).get("metadata", {}).get("resourceVersion")
            == (meta["resourceVersion"])
        ):
            return  # listed anew
        else:
            known[meta["uid"]] = obj
        self._told.append(_Told(int(meta["resourceVersion"]), time.time(), kind, obj, gone, judge))


def happened(arrivals: list[float]) -> list[float]:
    """When things happened that were told at these times, in the order in which they happened.

    One watch may be late: what is older than something that was told already has happened before that.
    """
    return list(accumulate(reversed(arrivals), min))[::-1]


def _time(told: _Told | tuple[int, float, str]) -> float:
    return told.time if isinstance(told, _Told) else told[1]


def _version(told: _Told | tuple[int, float, str]) -> tuple[int, int]:
    # Of one moment: pods first, the end of a test last.
    return (told.version, told.kind != POD) if isinstance(told, _Told) else (told[0], 2)


def _essence(obj: JSON) -> JSON:
    """What the judge needs of a pod or Service; thousands are kept until the end of the session."""
    meta, status = obj["metadata"], obj.get("status") or {}
    keep = ("name", "namespace", "uid", "labels", "ownerReferences", "deletionTimestamp")
    notes = ("dask.org/revision", "dask.org/restarted-at", "dask.org/parked")
    annotations = meta.get("annotations") or {}
    return {
        "metadata": {
            **{key: meta[key] for key in (*keep, "resourceVersion") if key in meta},
            "annotations": {key: annotations[key] for key in notes if key in annotations},
        },
        "status": {
            "phase": status.get("phase"),
            "containerStatuses": [
                {"state": s.get("state")} for s in status.get("containerStatuses") or ()
            ],
            "conditions": [c for c in status.get("conditions") or () if c["type"] == "Ready"],
        },
    }


def watched(witness: Witness) -> Iterator[Witness]:
    """A session's fixture: its end fails the run when a status was not true."""
    witness.start()
    yield witness
    found = witness.verdict()
    assert found is None, found


def judged(request: Any, witness: Witness) -> Iterator[None]:
    """A test's fixture, around the test and inside its namespace, if it has one; reads the mark `expects_failed`."""
    if "kubectl" not in request.fixturenames:
        yield
        return
    namespace = request.getfixturevalue("kubectl").namespace
    mark = request.node.get_closest_marker("expects_failed")
    if mark is not None:
        witness.allow(mark.args[0], namespace)
    yield
    witness.end_of_test(namespace, request.node.nodeid)
