"""Watches a real API server for a whole tier, so that a judge sees every status that the tests ever see.

Watches of several kinds tell in no common order; what they told is replayed in the order of resource versions. Each
namespace has a judge of its own: at the end of the test that used it, what it blames is that test's failure. What comes
afterwards, and what no test stands for, is the verdict at the tier's end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import urllib3
from kubernetes import config

from tests.support.endings import endings
from tests.support.judge import CLUSTER, GROUP, POD, SERVICE, Judge
from tests.support.machine import Ticks, news

JSON = dict[str, Any]

PATIENCE_S = 30.0  # for the watches to tell what a list already holds
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
    judge: bool  # False: it was there before the tier

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace", ""))


def _judge() -> Judge:
    # A busy machine: what changed in the last ten seconds may not have been known to the writer.
    return Judge(tolerance_s=10, patience_s=45)


class Witness:
    """Start it once; `end_of_test` after each test; `verdict` at the end of the tier."""

    def __init__(self, kubeconfig: str, judge: Callable[[], Judge] = _judge) -> None:
        self._new_judge = judge
        self._client = config.new_client_from_config(kubeconfig)
        self._lock = threading.Lock()
        self._told: list[_Told] = []  # what no judge has seen yet
        self._judges: dict[str, Judge] = {}
        self._known: dict[str, dict[str, JSON]] = {kind: {} for kind in PATHS}
        self._listed: set[str] = set()
        self._tests: dict[str, str] = {}
        self._blind: list[str] = []  # watches that ended with an error of our own
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in PATHS
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end_of_test(self, namespace: str, test: str) -> str | None:
        """The test is over, and its namespace still as it left it: what its judge blames, None if nothing."""
        self._tests[namespace] = test
        late = self._catch_up(namespace)
        judge = self._judge_of(namespace)
        self._replay(namespace)
        judge.end(time.time(), namespace)
        found = late or self._words([judge])
        judge.violations.clear()  # told once
        return found

    def allow(self, why: str, namespace: str, rule: str = "failed") -> None:
        """In this namespace somebody acts wrongly on purpose."""
        self._judge_of(namespace).allow(rule, why, namespace)

    def verdict(self) -> str | None:
        """Stop; then judge what is left. A list, None if there is nothing to blame."""
        late = self._catch_up("")
        self._stop.set()  # silent watches end by themselves; nothing is missing from them any more
        for namespace in {told.namespace for told in self._told}:
            self._replay(namespace)
        found = [*self._blind, late, self._words(list(self._judges.values()))]
        return "\n".join(filter(None, found)) or None

    def _judge_of(self, namespace: str) -> Judge:
        return self._judges.setdefault(namespace, self._new_judge())

    def _replay(self, namespace: str) -> None:
        """Let the namespace's judge see what was told of it."""
        with self._lock:
            in_order = sorted(self._told, key=_version)
            self._told = [told for told in self._told if told.namespace != namespace]
        judge = self._judge_of(namespace)
        for now, told in zip(happened([t.time for t in in_order]), in_order, strict=True):
            if told.namespace == namespace:
                judge.see(now, told.kind, told.obj, gone=told.gone, judge=told.judge)

    def _words(self, judges: list[Judge]) -> str | None:
        blaming = [judge for judge in judges if judge.violations]
        where = lambda namespace: self._tests.get(namespace, namespace)  # noqa: E731
        return "\n".join(judge.report(where) for judge in blaming) or None

    # ---- has it seen all?

    def _catch_up(self, namespace: str) -> str | None:
        """Wait until the watches have told what is there now. In words what they have not, should they never.

        Where nobody answers (a test stopped the server), what was told is all there is.

        :param namespace: "": all of them.
        """
        ticks, end = Ticks(), time.monotonic() + PATIENCE_S
        for kind in PATHS:
            try:
                version, listed = self._now(kind, namespace)
            except (OSError, urllib3.exceptions.HTTPError, ValueError):
                continue
            while unseen := self._unseen(kind, namespace, version, listed):
                if time.monotonic() > end:
                    words = f"the witness saw nothing of {kind} {', '.join(sorted(unseen)[:5])}"
                    return str(ticks.failure(words))
                ticks.wait(0.2, news.count, at_least=0.01)
        return None

    def _now(self, kind: str, namespace: str) -> tuple[int, dict[str, int]]:
        """The version of a list; uid -> resource version of the objects that there are."""
        path = PATHS[kind]
        if namespace:
            base, _, plural = path.rpartition("/")
            path = f"{base}/namespaces/{namespace}/{plural}"
        found = json.loads(b"".join(self._get(path, timeout=10)))
        metas = [item["metadata"] for item in found["items"]]
        version = int(found["metadata"]["resourceVersion"])
        return version, {meta["uid"]: int(meta["resourceVersion"]) for meta in metas}

    def _unseen(self, kind: str, namespace: str, version: int, listed: dict[str, int]) -> set[str]:
        """Of what was listed; and objects that are gone, of which the watches do not know it yet."""
        with self._lock:
            known = {
                uid: int(obj["metadata"]["resourceVersion"])
                for uid, obj in self._known[kind].items()
                if namespace in ("", obj["metadata"].get("namespace"))
            }
            gone = {t.obj["metadata"]["uid"] for t in self._told if t.gone and t.kind == kind}
        late = {uid for uid, v in listed.items() if known.get(uid, 0) < v and uid not in gone}
        # What was made after the list has a newer version than that.
        return late | {uid for uid, v in known.items() if uid not in listed and v <= version}

    # ---- watching

    def _follow(self, kind: str) -> None:
        try:
            self._follow_on(kind)
        except Exception as error:
            self._blind.append(f"the witness' watch of {kind} ended: {error!r}")

    def _follow_on(self, kind: str) -> None:
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
        """:param timeout: seconds after which a silent connection is left."""
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
        with self._lock:
            known = self._known[kind]
            before = known.get(meta["uid"], {}).get("metadata", {}).get("resourceVersion")
            if gone:
                known.pop(meta["uid"], None)
            elif before == meta["resourceVersion"]:
                return  # listed anew
            else:
                known[meta["uid"]] = obj
            version = int(meta["resourceVersion"])
            self._told.append(_Told(version, time.time(), kind, obj, gone, judge))
        news.tell()


def happened(arrivals: list[float]) -> list[float]:
    """When things happened that were told at these times, in the order in which they happened.

    One watch may be late: what is older than something that was told already has happened before that.
    """
    return list(accumulate(reversed(arrivals), min))[::-1]


def _version(told: _Told) -> tuple[int, bool]:
    return told.version, told.kind != POD  # of one moment: pods first


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
        "spec": {"type": (obj.get("spec") or {}).get("type")},
        "status": {
            "phase": status.get("phase"),
            "loadBalancer": status.get("loadBalancer"),
            "containerStatuses": [
                {"state": s.get("state")} for s in status.get("containerStatuses") or ()
            ],
            "conditions": [c for c in status.get("conditions") or () if c["type"] == "Ready"],
        },
    }


def watched(kubeconfig: str, what: str) -> Iterator[Witness]:
    """A lane's fixture: the run fails when a status was not true that no test stands for."""
    witness = Witness(kubeconfig)
    witness.start()
    yield witness
    with endings.noted(f"the statuses in {what}"):
        found = witness.verdict()
        assert found is None, found
