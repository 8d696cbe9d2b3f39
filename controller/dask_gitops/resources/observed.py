"""What the controller keeps of the objects it watches: small, immutable, typed views of raw API objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dask_gitops import reasons
from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import commands, controlport, labels, listening
from dask_gitops.resources.managed import MANAGER, is_applied, owned_fields
from dask_gitops.text import printable

JSON = dict[str, Any]

# Words that stand for "no container started yet" but are no problem in themselves.
_STARTING = {"ContainerCreating", "PodInitializing"}
_IMAGE = {
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
}
IDLE_END = "idle-timeout"  # what the control API leaves behind when Dask ends an idle scheduler
_WORDS_LIMIT = 300  # characters of what others say about one container
_IDLE_TIMEOUT_ENV = "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT"
_ONE_WORD = {"ErrImagePull": "ImagePullBackOff"}  # the kubelet goes to and fro between these


def parse_time(text: str | None) -> float | None:
    """RFC 3339 time of the API server -> seconds since the epoch; None stays None."""
    return None if not text else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata that every view carries."""

    namespace: str
    name: str
    uid: str
    generation: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created: float
    deleting: float | None  # deletionTimestamp: when the grace period ends
    owner_uid: str | None  # of the controlling owner
    owner_kind: str | None = None
    finalizers: tuple[str, ...] = ()
    version: str | None = field(default=None, compare=False)  # resourceVersion when it was seen

    @classmethod
    def of(cls, raw: JSON) -> Meta:
        meta = raw["metadata"]
        owners = meta.get("ownerReferences") or ()
        owner: JSON = next((o for o in owners if o.get("controller")), {})
        return cls(
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
            created=parse_time(meta.get("creationTimestamp")) or 0.0,
            deleting=parse_time(meta.get("deletionTimestamp")),
            owner_uid=owner.get("uid"),
            owner_kind=owner.get("kind"),
            finalizers=tuple(meta.get("finalizers") or ()),
            version=meta.get("resourceVersion"),
        )


@dataclass(frozen=True, slots=True)
class CustomResource:
    """A DaskCluster, DaskWorkerGroup, DaskAutoscaler or DaskJob, with its spec and status as they are."""

    meta: Meta
    kind: str
    spec: JSON
    status: JSON

    @classmethod
    def of(cls, raw: JSON) -> CustomResource:
        return cls(Meta.of(raw), raw["kind"], raw.get("spec") or {}, raw.get("status") or {})


@dataclass(frozen=True, slots=True)
class Service:
    """A scheduler's Service."""

    meta: Meta
    awaits_address: bool = False  # a load balancer's, from outside
    spec: JSON = field(default_factory=dict)
    applied: bool = True  # what we wrote is noted as applied: an apply prunes it
    owned: frozenset[str] = frozenset()  # fields of the spec that we wrote

    @classmethod
    def of(cls, raw: JSON) -> Service:
        spec = raw.get("spec") or {}
        balancer = (raw.get("status") or {}).get("loadBalancer") or {}
        entries = raw["metadata"].get("managedFields") or ()
        return cls(
            Meta.of(raw),
            spec.get("type") == "LoadBalancer" and not balancer.get("ingress"),
            spec,
            is_applied(entries, MANAGER),
            owned_fields(entries, MANAGER, "spec"),
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something does not come up, in words for a condition."""

    reason: str  # one CamelCase word
    message: str
    since: float  # seconds since the epoch
    refused: bool = False  # the API server said no: only a person can help
    declared: bool = (
        False  # to what a person declared, so nothing is ready without it, whatever runs
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """How something ended.

    :ivar reason: the word of whoever ended it; not always CamelCase.
    :ivar words: the same for people, with the exit code, or what was said.
    """

    reason: str
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Pod:
    """A scheduler, worker or runner Pod, reduced to what decisions need."""

    meta: Meta
    phase: str
    ip: str | None
    ips: tuple[str, ...]
    scheduled: float | None  # since when it has a node
    started: bool  # a container has started (it may have exited since)
    running: bool  # the main container runs now
    ready: bool
    ready_since: float | None
    probed: (
        bool  # a readiness probe says whether the main container works; without one, it only runs
    )
    image: str  # of the main container
    token: str | None  # of the control API (scheduler pods)
    control_port: (
        int  # of a scheduler's control API; in Pods of earlier versions, that of the dashboard
    )
    restarts: int
    last_exit: str | None  # why a container was restarted last, in words
    ended: float | None  # since when its containers have stopped for good
    lived: float  # seconds that it worked, 0 if nobody knows
    exit_code: int | None  # of the main container, once it has ended and is not started again
    exited: Ending | None  # how
    stopped: bool  # none of its containers runs, or will as far as one can see
    gates: tuple[str, ...]  # what keeps it from being scheduled
    end: Ending | None  # why it ended; None: not at all, or because somebody deleted it
    problem: Problem | None
    idles: bool = False  # a scheduler that Dask itself ends when it is idle
    idle_end: float | None = None  # when Dask did so last

    @property
    def gone(self) -> bool:
        """It ended by itself, or somebody is deleting it: it will never work again."""
        return self.finished or self.meta.deleting is not None

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def component(self) -> str:
        return self.meta.labels.get(labels.COMPONENT, "")

    @property
    def cluster(self) -> str:
        return self.meta.labels.get(labels.CLUSTER, "")

    @property
    def group(self) -> str:
        return self.meta.labels.get(labels.GROUP, "")

    @property
    def serial(self) -> int:
        text = self.meta.labels.get(labels.SERIAL, "")
        return int(text) if text.isdecimal() and len(text) < 10 else 0

    @property
    def retiring(self) -> float | None:
        """Since when it is leaving, or None; what is no time was not written by us."""
        try:
            return parse_time(self.meta.annotations.get(labels.RETIRING))
        except ValueError:
            return None

    @classmethod
    def of(cls, raw: JSON) -> Pod:
        meta, spec, status = Meta.of(raw), raw["spec"], raw.get("status") or {}
        main = _main(PodSpec.trusted(spec), meta.labels.get(labels.COMPONENT, ""))
        states = status.get("containerStatuses") or []
        state: JSON = next((s for s in states if s["name"] == main.name), {})
        conditions = {c["type"]: c for c in status.get("conditions") or []}
        scheduled = conditions.get("PodScheduled", {})
        gates = tuple(g["name"] for g in spec.get("schedulingGates") or ())
        return cls(
            meta=meta,
            phase=status.get("phase", "Pending"),
            ip=status.get("podIP"),
            ips=tuple(p["ip"] for p in status.get("podIPs") or ()),
            scheduled=parse_time(scheduled.get("lastTransitionTime")) or meta.created
            if spec.get("nodeName")
            else None,
            started=any(
                {"running", "terminated"} & set(s.get("state") or {}) or s.get("restartCount")
                for s in states
            ),
            running="running" in (state.get("state") or {}),
            ready=(ready := conditions.get("Ready", {})).get("status") == "True",
            ready_since=parse_time(ready.get("lastTransitionTime")),
            probed=main.probed,
            image=main.image or "",
            token=main.env.get("SCHEDULER_CONTROL_TOKEN") or None,
            control_port=_control_port(main, meta),
            restarts=sum(s.get("restartCount", 0) for s in states),
            last_exit=_last_exit(states),
            ended=(ended := _ended(status, conditions, states)),
            lived=max(0.0, ended - _began(meta, states)) if ended else 0.0,
            exit_code=(code := _exit_code(spec, status, state)),
            exited=_exit(state["state"]["terminated"]) if code is not None else None,
            stopped=bool(states) and all("terminated" in (s.get("state") or {}) for s in states),
            gates=gates,
            end=_end(meta, status, conditions, [state, *states]),
            # Waiting for its scheduler is none.
            problem=None
            if labels.SCHEDULER_GATE in gates
            else _problem(meta, status, conditions, states),
            idles=(idles := _idles(main, meta)),
            idle_end=_idle_end(state) if idles else None,
        )


def _main(spec: PodSpec, component: str) -> Container:
    """The container whose state is the Pod's; one without anything if there is none."""
    found = spec.runner() if component == labels.JOB_RUNNER else spec.main(component)
    return found or Container({})


def _idles(main: Container, meta: Meta) -> bool:
    """Do command or variables tell Dask to end this scheduler when it is idle?"""
    if meta.labels.get(labels.COMPONENT) != labels.SCHEDULER:
        return False
    return bool(commands.option(main.words, "--idle-timeout") or main.env.get(_IDLE_TIMEOUT_ENV))


def _idle_end(state: JSON) -> float | None:
    """When the container ended last, if it said that it was for being idle.

    Its exit code tells nothing: whoever is sent SIGTERM, by a node that goes or a probe, ends with 0, too.
    """
    for which in ("state", "lastState"):
        end: JSON = (state.get(which) or {}).get("terminated") or {}
        if end:
            said = end.get("exitCode") == 0 and end.get("message") == IDLE_END
            return parse_time(end.get("finishedAt")) if said else None
    return None


def _control_port(main: Container, meta: Meta) -> int:
    if meta.labels.get(labels.COMPONENT) != labels.SCHEDULER:
        return 0
    return controlport.declared(main) or listening.of_scheduler(main).http


def _exit_code(spec: JSON, status: JSON, state: JSON) -> int | None:
    code: int | None = (state.get("state") or {}).get("terminated", {}).get("exitCode")
    for_good = spec.get("restartPolicy") == "Never" or status.get("phase") in (
        "Succeeded",
        "Failed",
    )
    return code if code == 0 or for_good else None


def _exit(terminated: JSON) -> Ending:
    return Ending(str(terminated.get("reason") or "Error"), _exit_words(terminated))


def _exit_words(terminated: JSON) -> str:
    reason, said = terminated.get("reason") or "Error", (terminated.get("message") or "").strip()
    words = f"{reason} (exit code {terminated.get('exitCode', '?')})"
    return printable(f"{words}: {said}" if said else words, _WORDS_LIMIT)


def _last_exit(states: list[JSON]) -> str | None:
    ends = [
        s["lastState"]["terminated"] for s in states if "terminated" in (s.get("lastState") or {})
    ]
    return _exit_words(max(ends, key=lambda t: t.get("finishedAt") or "")) if ends else None


def _ended(status: JSON, conditions: Mapping[str, JSON], states: list[JSON]) -> float | None:
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    ends = [(s.get("state") or {}).get("terminated", {}).get("finishedAt") for s in states]
    times = [t for t in map(parse_time, ends) if t is not None]
    return (
        max(times) if times else parse_time(conditions.get("Ready", {}).get("lastTransitionTime"))
    )


def _began(meta: Meta, states: list[JSON]) -> float:
    """When work began: pulling an image is no life; restarts in place are."""
    starts = [(s.get("state") or {}).get("terminated", {}).get("startedAt") for s in states]
    times = [t for t in map(parse_time, starts) if t is not None]
    if not times or any(s.get("restartCount") for s in states):
        return meta.created
    return min(times)


def _end(
    meta: Meta, status: JSON, conditions: Mapping[str, JSON], states: list[JSON]
) -> Ending | None:
    disruption = conditions.get("DisruptionTarget", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        cause, why = status["reason"], status.get("message")
    elif disruption.get("status") == "True":
        cause, why = disruption.get("reason") or "Evicted", disruption.get("message")
    else:
        cause = why = None
    if cause:
        return Ending(cause, printable(f"{cause}: {why}" if why else cause, _WORDS_LIMIT))
    if meta.deleting is not None or status.get("phase") not in ("Succeeded", "Failed"):
        return None
    ends = _ends(status, states)
    bad = [t for t in ends if t.get("exitCode")]
    return _exit((bad or ends)[0]) if ends else Ending(status["phase"], status["phase"])


def _ends(status: JSON, states: list[JSON]) -> list[JSON]:
    """How these containers ended; where none has begun, how those before them did."""

    def found(states: list[JSON]) -> list[JSON]:
        return [s["state"]["terminated"] for s in states if "terminated" in (s.get("state") or {})]

    return found(states) or found(status.get("initContainerStatuses") or [])


def _problem(
    meta: Meta, status: JSON, conditions: Mapping[str, JSON], states: list[JSON]
) -> Problem | None:
    """The first thing that keeps a pod from running, in the words of whoever refuses it."""
    name, scheduled, ready = meta.name, conditions.get("PodScheduled", {}), conditions.get("Ready")
    # A pod that was ready for days has its problem since it is not.
    changed = parse_time((ready or {}).get("lastTransitionTime")) or 0.0
    since_unready = max(meta.created, changed)
    if scheduled.get("status") == "False":
        since = parse_time(scheduled.get("lastTransitionTime")) or meta.created
        return Problem(
            scheduled.get("reason") or reasons.UNSCHEDULABLE,
            f"{name}: {scheduled.get('message', '')}",
            since,
        )
    if status.get("phase") == "Failed":
        ends = _ends(status, states)
        words = status.get("message") or (_exit_words(ends[0]) if ends else "")
        return Problem(
            status.get("reason") or reasons.POD_FAILED,
            f"{name}: {words or 'failed'}",
            since_unready,
        )
    for container in (status.get("initContainerStatuses") or []) + states:
        state = container.get("state") or {}
        reason = (state.get("waiting") or {}).get("reason")
        words = (state.get("waiting") or {}).get("message") or ""
        # The last end, also in the moments between two back-offs in which the container runs: one story, told once.
        end = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
        restarts = container.get("restartCount", 0) >= 2 and not container.get("ready")
        if end and end.get("exitCode") and (reason == reasons.CRASH_LOOP or restarts):
            reason = reasons.CRASH_LOOP
            words = f"container {container['name']} keeps ending with {_exit_words(end)}"
        if reason is None or reason in _STARTING:
            continue
        reason = _ONE_WORD.get(reason, reason)
        if reason in _IMAGE and container.get("image", "") not in words:
            words = f"image {container['image']}: {words}"
        return Problem(reason, f"{name}: {words or reason}", since_unready)
    return None
