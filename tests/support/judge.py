"""Does every status tell the truth? A judge sees all objects as they change, and each status as it was written.

It knows kstatus, the table of conditions, and the pods as they were at that moment. What changed shortly before a
status was written (`tolerance_s`) may not have been known to its writer, so it speaks neither for nor against it.

    judge = Judge(tolerance_s=2)
    judge.see(now, "Pod", pod)          # or gone=True, with its last state
    judge.see(now, "DaskCluster", obj)  # judged when its status changed
    judge.end(now)                      # the end of a test: nothing may be left on its way without a reason
    assert not judge.violations, judge.report()

Whoever acts wrongly on purpose says so: `judge.allow("failed", why)`; an allowance that nothing needed is reported too.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dask_gitops.resources import names, pods
from dask_gitops.resources.observed import CustomResource, Service, parse_time
from dask_gitops.resources.revision import canonical

from tests.support import kstatus

JSON = dict[str, Any]

CLUSTER, GROUP, POD, SERVICE = "DaskCluster", "DaskWorkerGroup", "Pod", "Service"
JOB = "DaskJob"
SCALER = "DaskAutoscaler"
KINDS = (CLUSTER, GROUP, SCALER, JOB)

#: What an allowance may be about. "in-progress" is only for tests whose controller does not work at the end.
RULES = ("shape", "failed", "current", "in-progress", "counts", "job")

#: The only ways in which the three conditions of kstatus may stand together.
TABLE = (
    {"Ready": "True"},
    {"Ready": "False", "Reconciling": "True"},
    {"Ready": "False", "Stalled": "True"},
)
#: Conditions beside them; they are there only while they are true.
OTHERS = {
    "SpecWarning", "ScaleDownHeld", "ReplicasOverridden", "UpdatePending", "Suspended", "Idle",
    "Complete", "Failed", "Contested", "OrphanedPods", "Limited", "InternalError", "SchedulerListensElsewhere",
}  # fmt: skip
PHASES = ("Created", "Pending", "Running", "Error", "Suspended")
JOB_STATUSES = ("JobCreated", "ClusterCreated", "Running", "Successful", "Failed")
ENDS = {"Successful": "Complete", "Failed": "Failed"}  # and the condition that goes with each
MESSAGE_LIMIT = 1024
_REASON = re.compile(r"[A-Z][A-Za-z0-9]*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, slots=True)
class Violation:
    """One status that is not as it should be."""

    rule: str
    kind: str
    namespace: str
    name: str
    status: str  # kstatus' word and the conditions
    why: str


@dataclass(slots=True)
class _Pod:
    uid: str
    component: str
    group: str
    owner: str | None
    revision: str | None
    restarted: str | None  # spec.restartedAt when it was made
    ready: bool
    live: bool
    phase: str | None
    changed: float
    parked: bool = False

    @property
    def works(self) -> bool:
        return self.live and self.ready


@dataclass(slots=True)
class _Resource:
    obj: JSON
    view: CustomResource
    changed: float  # since when its spec is what it is
    #: For what it was up once: (meaning of the specs, uid of the scheduler pod) ...
    ups: set[tuple[str, str] | None] = field(default_factory=set)
    #: ... and the last of them, until a person changes the specs.
    was_up: tuple[str, str] | None = None


@dataclass
class _Facts:
    """What is true of one cluster or group at one moment, as far as it is certain."""

    scheduler: _Pod | None
    want: int
    live: list[_Pod]
    fresh: int  # pods that changed within the tolerance
    old: list[str]  # names of live pods of an old revision
    missing: list[str]  # what else is not there
    changed: float  # when anything of this changed last
    rolling: bool = False  # there are live pods of an old revision, known to the writer or not
    service: bool = False  # there, with the address that it is to have
    service_changed: float = float("-inf")
    rest: str = ""  # the condition that says that there are to be no workers: "Suspended" or "Idle"

    @property
    def ready(self) -> int:
        return sum(p.ready for p in self.live)

    @property
    def all_there(self) -> bool:
        if self.rest == "Suspended":
            return not self.live and (self.scheduler is None or not self.scheduler.live)
        return (
            self.scheduler is not None
            and self.scheduler.works
            and len(self.live) == self.want == self.ready
            and not self.missing
        )

    @property
    def complete(self) -> bool:
        return self.all_there and not self.old


@dataclass
class Judge:
    """See the module.

    :param tolerance_s: how far a writer's knowledge may lag.
    :param patience_s: an object that is complete for so long must not be InProgress.
    :param blind: while it says True, watches are held back on purpose: pods are no evidence.
    """

    tolerance_s: float
    patience_s: float = 10.0
    blind: Callable[[], bool] = lambda: False
    violations: list[Violation] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # kstatus' words, and how often
    _resources: dict[tuple[str, str, str], _Resource] = field(default_factory=dict)
    _pods: dict[tuple[str, str], dict[str, _Pod]] = field(default_factory=lambda: defaultdict(dict))
    #: (uid of the owner or None, since when, whether it waits for a load balancer's address)
    _services: dict[tuple[str, str], tuple[str | None, float, bool]] = field(default_factory=dict)
    _gone: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _lost: dict[tuple[str, str], float] = field(default_factory=dict)  # when pods went last
    _allowed: dict[tuple[str | None, str], str] = field(default_factory=dict)
    _needed: set[tuple[str | None, str]] = field(default_factory=set)
    _blind_until: float = float("-inf")
    _over: set[str | None] = field(default_factory=set)  # namespaces whose tests have ended
    _ran: set[str | None] = field(default_factory=set)  # uids of jobs of which a runner has run
    #: What was said of a run of a job: (uid, restartedAt) -> jobStatus, endTime.
    _said: dict[tuple[str, str | None], tuple[str, str | None]] = field(default_factory=dict)

    # ---- what tests say

    def allow(self, rule: str, why: str, namespace: str | None = None) -> None:
        """:param namespace: None: in all of them."""
        if rule not in RULES or not why:
            raise ValueError(f"allow one of {', '.join(RULES)}, and say why")
        self._allowed[namespace, rule] = why

    def report(self, where: Callable[[str], str] = lambda namespace: namespace) -> str:
        """A readable list: object, status, why.

        :param where: words for a namespace, such as the test that used it.
        """
        counted = Counter(self.violations)
        lines = []
        for v, count in counted.items():
            times = f" ({count} times)" if count > 1 else ""
            lines.append(f"{v.kind} {where(v.namespace)}/{v.name}: {v.why}{times}\n    {v.status}")
        return f"{len(counted)} statuses that are not true:\n" + "\n".join(lines)

    # ---- what it sees

    def see(
        self, now: float, kind: str, obj: JSON, *, gone: bool = False, judge: bool = True
    ) -> None:
        """An object as it is from now on.

        :param gone: it was deleted.
        :param judge: False for what was there before the judge came; pods first, they tell what the others mean.
        """
        if kind == POD:
            self._see_pod(now, obj, gone)
        elif kind == SERVICE:
            self._see_service(now, obj, gone)
        elif kind in KINDS:
            self._see_resource(now, kind, obj, gone, judge)

    def end(self, now: float, namespace: str | None = None) -> None:
        """The end of a test (of all, or of the one that used this namespace)."""
        self._over.add(namespace)
        for (kind, where, _), found in self._resources.items():
            if namespace in (None, where) and not self._is_blind(now):
                self._not_left_behind(now, kind, found)
        for (where, rule), why in self._allowed.items():
            if (
                namespace in (None, where)
                and rule == "failed"
                and (where, rule) not in self._needed
            ):
                self.violations.append(
                    Violation(rule, "test", where or "", "", why, "declared, but nothing Failed")
                )

    def _see_pod(self, now: float, obj: JSON, gone: bool) -> None:
        meta = obj["metadata"]
        labels = meta.get("labels") or {}
        cluster = (meta.get("namespace", ""), labels.get("dask.org/cluster-name", ""))
        known = self._pods[cluster]
        name = meta["name"]
        if gone:
            if name in known and known[name].uid == meta["uid"]:
                del known[name]
                self._lost[cluster] = now
            return
        status = obj.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        owners = meta.get("ownerReferences") or ()
        new = _Pod(
            uid=meta["uid"],
            component=labels.get("dask.org/component", ""),
            group=labels.get("dask.org/workergroup-name", ""),
            owner=next((o["uid"] for o in owners if o.get("controller")), None),
            revision=(meta.get("annotations") or {}).get("dask.org/revision"),
            restarted=(meta.get("annotations") or {}).get("dask.org/restarted-at"),
            ready=conditions.get("Ready") == "True",
            live=status.get("phase") not in ("Succeeded", "Failed")
            and not meta.get("deletionTimestamp"),
            phase=status.get("phase"),
            changed=now,
            parked="dask.org/parked" in (meta.get("annotations") or {}),
        )
        # A kubelet may tell of a container that has ended while the pod is still called Pending.
        states = [s.get("state") or {} for s in status.get("containerStatuses") or ()]
        has_run = new.phase in ("Running", "Succeeded", "Failed") or any(
            "terminated" in s for s in states
        )
        if new.component == "job-runner" and has_run:
            self._ran.add(new.owner)
        old = known.get(name)
        if old is not None:
            new.changed = old.changed
            if new != old:
                new.changed = now
        known[name] = new

    def _see_service(self, now: float, obj: JSON, gone: bool) -> None:
        meta = obj["metadata"]
        owners = meta.get("ownerReferences") or ()
        owner = next((o["uid"] for o in owners if o.get("controller")), None)
        key = (meta.get("namespace", ""), meta["name"])
        new = None if gone or meta.get("deletionTimestamp") else owner
        waits = Service.of(obj).awaits_address
        known = self._services.get(key)
        if known is None or (known[0], known[2]) != (new, waits):
            self._services[key] = (new, now, waits)

    def _see_resource(self, now: float, kind: str, obj: JSON, gone: bool, judge: bool) -> None:
        meta = obj["metadata"]
        key = (kind, meta.get("namespace", ""), meta["name"])
        before = self._resources.get(key)
        if before is not None and before.view.meta.uid != meta["uid"]:
            before = None
        if gone:
            self._resources.pop(key, None)
            self._gone[key] = now
            return
        view = CustomResource.of(obj)
        same = before is not None and before.view.spec == view.spec
        changed = before.changed if before is not None and same else now
        if kind == JOB and before is not None and not view.status.get("jobStatus"):
            self._forget_run(view)
        after = _Resource(obj, view, changed)
        if before is not None:
            after.ups, after.was_up = before.ups, before.was_up
        self._resources[key] = after
        if before is not None and _meaning(before) != _meaning(after):
            self._changed_by_a_person(after)
        if not judge:
            if kstatus.compute(obj).status == kstatus.CURRENT:
                after.was_up = self._what_for(after)
                after.ups |= {after.was_up, self._what_for(after, any_number=True)}
            return
        old_status = before.view.status if before is not None else None
        if kind == JOB and meta.get("namespace") in self._over:
            return  # its namespace ends, in whatever order: its runner may go first
        if view.status != (old_status or {}):
            self._judge(now, kind, after, old_status)

    def _forget_run(self, job: CustomResource) -> None:
        """A status that somebody wiped; where no pod remembers the run either, it may begin anew."""
        uid = job.meta.uid
        pods = self._pods[job.meta.namespace, job.meta.name].values()
        if not any(p.component == "job-runner" and p.owner == uid for p in pods):
            self._said = {run: said for run, said in self._said.items() if run[0] != uid}

    # ---- the rules

    def _judge(self, now: float, kind: str, found: _Resource, before: JSON | None) -> None:
        status, meta = found.view.status, found.view.meta
        if not status.get("conditions") and status.get("observedGeneration", -1) == -1:
            return  # as the definition's default writes it, or a person: nobody has said anything yet
        for why in shape(status, meta.generation, before or {}):
            self._blame("shape", found, why)
        try:
            word = kstatus.compute(found.obj).status
        except kstatus.KstatusError as error:
            self._blame("shape", found, f"kstatus cannot read it: {error}")
            return
        self.seen[word] += 1
        if word == kstatus.FAILED:
            self._blame("failed", found, "Failed, and nobody said that a person acted wrongly")
        if kind == JOB:
            self._job(found, word)
        if kind == SCALER and meta.deleting is None and not self._is_blind(now):
            self._scaler_is_current(now, found, word)
        if kind not in (CLUSTER, GROUP) or meta.deleting is not None or self._is_blind(now):
            return
        facts = self._facts(now, kind, found)
        if facts is None:
            key = (CLUSTER, meta.namespace, str(found.view.spec.get("cluster")))
            since = self._gone.get(key, float("-inf"))
            if word == kstatus.CURRENT and self._certain(now, since):
                self._blame("current", found, "Current without its cluster")
            return
        if word == kstatus.CURRENT:
            self._is_current(now, found, facts)
        elif word == kstatus.IN_PROGRESS and status.get("observedGeneration") == meta.generation:
            self._is_in_progress(now, found, facts)
        self._counts(now, kind, found, facts)

    def _job(self, found: _Resource, word: str) -> None:
        """Within a run nothing goes back, an end is the end, and the words agree with each other."""
        meta, status = found.view.meta, found.view.status
        said, types = status.get("jobStatus"), set[str]()
        for c in status.get("conditions") or ():
            types.add(c.get("type"))
        if said not in JOB_STATUSES:
            self._blame("shape", found, f"jobStatus is {said!r}")
            return
        run = (meta.uid, status.get("restartedAt"))
        before, ended = self._said.get(run, (JOB_STATUSES[0], None))
        now_ended = status.get("endTime")
        self._said[run] = (said, now_ended)
        if JOB_STATUSES.index(said) < JOB_STATUSES.index(before):
            self._blame("job", found, f"went back from {before} to {said}")
        if before in ENDS and (said, now_ended) != (before, ended):
            self._blame("job", found, f"{before} at {ended} became {said} at {now_ended}")
        if bool(now_ended) != (said in ENDS):
            self._blame("job", found, f"{said}, and endTime is {now_ended!r}")
        if types & set(ENDS.values()) != ({ENDS[said]} if said in ENDS else set()):
            self._blame("job", found, f"{said} with the conditions {sorted(types)}")
        fits = {"Successful": word == kstatus.CURRENT, "Failed": word == kstatus.FAILED}
        fits["Running"] = word == kstatus.CURRENT
        if not fits.get(said, word != kstatus.CURRENT or "Suspended" in types):
            self._blame("job", found, f"{said} is {word} for kstatus")
        if said in ("Running", "Successful") and meta.uid not in self._ran:
            self._blame("job", found, f"{said}, and no runner has ever run")

    def _job_left_behind(self, now: float, found: _Resource) -> None:
        meta, status = found.view.meta, found.view.status
        for name, pod in self._pods[meta.namespace, meta.name].items():
            done = pod.component == "job-runner" and pod.phase == "Succeeded"
            over = status.get("jobStatus") in ENDS
            if done and pod.owner == meta.uid and not over and now - pod.changed > self.patience_s:
                self._blame("in-progress", found, f"left without an end, and {name} has succeeded")

    def _scaler_is_current(self, now: float, found: _Resource, word: str) -> None:
        """An autoscaler steers only what is there."""
        cluster = self._cluster_of(found)
        meta = found.view.meta
        if cluster is None:
            key = (CLUSTER, meta.namespace, str(found.view.spec.get("cluster")))
            if word == kstatus.CURRENT and self._certain(now, self._gone.get(key, float("-inf"))):
                self._blame("current", found, "Current without its cluster")
            return
        scheduler = self._scheduler(cluster)
        if (
            word == kstatus.CURRENT
            and scheduler is not None
            and not scheduler.works
            and self._certain(now, scheduler.changed)
            and not cluster.view.spec.get("suspend")
        ):
            self._blame("current", found, "Current without a ready scheduler")

    def _is_current(self, now: float, found: _Resource, facts: _Facts) -> None:
        conditions = {c.get("type") for c in found.view.status.get("conditions") or ()}
        if facts.old and "UpdatePending" not in conditions:
            self._blame(
                "current", found, f"Current with pods of an old revision: {', '.join(facts.old)}"
            )
        scheduler = facts.scheduler
        certain = self._certain(now, facts.changed)
        for word in ("Suspended", "Idle"):
            if certain and word in conditions and word != facts.rest:
                self._blame("current", found, f"{word}, and it is not")
        if facts.rest == "Suspended":
            if certain and not facts.all_there:
                self._blame("current", found, "Current and to be suspended, and there are pods")
            elif certain and "Suspended" not in conditions:
                self._blame("current", found, "Current and suspended, and it does not say so")
            return
        if scheduler is None or (not scheduler.works and self._certain(now, scheduler.changed)):
            if scheduler is not None or self._certain(now, facts.changed):
                self._blame("current", found, "Current without a ready scheduler")
            return
        up = self._what_for(found)
        if facts.rest:  # no workers at rest prove nothing of those that are declared
            if certain and facts.live and up not in found.ups:
                self._blame("current", found, f"Current and parked, with {len(facts.live)} workers")
            elif certain and not facts.live and "Idle" not in conditions:
                self._blame("current", found, "Current and parked, and it does not say so")
            return
        if facts.all_there or not self._certain(now, facts.changed):
            found.was_up = None if facts.rolling else up
            found.ups |= {up, self._what_for(found, any_number=True)}
        elif up not in found.ups:
            self._blame(
                "current",
                found,
                f"Current with {facts.ready} of {facts.want} workers, and never had all of them",
            )

    def _is_in_progress(self, now: float, found: _Resource, facts: _Facts) -> None:
        """Evictions, lost workers and other numbers of workers do not undo Ready."""
        scheduler = facts.scheduler
        if (
            facts.rest != "Suspended"
            and found.was_up is not None
            and found.was_up == self._what_for(found)
            and scheduler is not None
            and scheduler.works
            and self._certain(now, scheduler.changed)
            and self._certain(now, facts.changed)
            and not facts.old
        ):
            why = f"InProgress with {facts.ready} of {facts.want} workers, after it was up for this very spec"
            self._blame("in-progress", found, why)
        if facts.complete and now - facts.changed > self.patience_s:
            self._blame("in-progress", found, "InProgress although all that is declared is there")

    def _not_left_behind(self, now: float, kind: str, found: _Resource) -> None:
        if kind == JOB and found.view.meta.deleting is None:
            self._job_left_behind(now, found)
        if kind not in (CLUSTER, GROUP) or found.view.meta.deleting is not None:
            return
        facts = self._facts(now, kind, found)
        if facts is None or not facts.complete or now - facts.changed <= self.patience_s:
            return
        word = kstatus.compute(found.obj).status
        if word == kstatus.IN_PROGRESS:
            self._blame(
                "in-progress", found, "left InProgress although all that is declared is there"
            )

    def _counts(self, now: float, kind: str, found: _Resource, facts: _Facts) -> None:
        status = found.view.status
        if kind == GROUP:
            pairs = [
                ("replicas", status.get("replicas"), len(facts.live)),
                ("readyReplicas", status.get("readyReplicas"), facts.ready),
            ]
        else:
            pairs = [("workers.ready", (status.get("workers") or {}).get("ready"), facts.ready)]
            phase, scheduler = status.get("phase"), facts.scheduler
            if phase == "Suspended" and not facts.all_there and self._certain(now, facts.changed):
                self._blame("counts", found, "phase is Suspended, and there are pods")
            elif phase not in PHASES:
                self._blame("shape", found, f"phase is {phase!r}")
            elif (
                scheduler is not None
                and self._certain(now, max(scheduler.changed, facts.service_changed))
                and (phase == "Running") != (scheduler.live and facts.service)
                and (phase != "Error" or scheduler.works)
            ):
                self._blame(
                    "counts",
                    found,
                    f"phase is {phase}, the scheduler's Pod is there: {scheduler.live}, its Service: {facts.service}",
                )
        for name, said, true in pairs:
            if not isinstance(said, int):
                self._blame("shape", found, f"{name} is {said!r}")
            elif abs(said - true) > facts.fresh:
                self._blame("counts", found, f"{name} is {said}, there are {true}")

    # ---- what is true

    def _certain(self, now: float, changed: float) -> bool:
        return now - changed > self.tolerance_s

    def _is_blind(self, now: float) -> bool:
        if self.blind():
            self._blind_until = now + self.tolerance_s
        return now <= self._blind_until

    def _what_for(self, found: _Resource, *, any_number: bool = False) -> tuple[str, str] | None:
        """What "was up once" is about: the meaning of the spec, and the life of one scheduler pod.

        :param any_number: of a group's workers, as an autoscaler may move it.
        """
        cluster = self._cluster_of(found)
        if cluster is None:
            return None
        any_number |= self._is_autoscaled(found)
        spec = _meaning(found) if any_number else found.view.spec
        meaning = json.dumps(canonical([spec, cluster.view.spec.get("image")]), sort_keys=True)
        scheduler = self._scheduler(cluster)
        return meaning, scheduler.uid if scheduler else ""

    def _is_autoscaled(self, found: _Resource) -> bool:
        """Is the number of this group an autoscaler's, and no person's wish?"""
        meta, cluster = found.view.meta, found.view.spec.get("cluster")
        default = f"{cluster}-default"
        return found.view.kind == GROUP and any(
            other.view.spec.get("cluster") == cluster
            and (other.view.spec.get("workerGroup") or default) == meta.name
            for (kind, namespace, _), other in self._resources.items()
            if kind == SCALER and namespace == meta.namespace
        )

    def _changed_by_a_person(self, found: _Resource) -> None:
        """Something may be on its way again, also what was up before."""
        found.was_up = None
        cluster = self._cluster_of(found)
        if cluster is not None:
            cluster.was_up = None
            for group in self._groups_of(cluster):
                group.was_up = None

    def _cluster_of(self, found: _Resource) -> _Resource | None:
        meta = found.view.meta
        if found.view.kind == CLUSTER:
            return found
        cluster = self._resources.get(
            (CLUSTER, meta.namespace, str(found.view.spec.get("cluster")))
        )
        return cluster if cluster is not None and cluster.view.meta.deleting is None else None

    def _scheduler(self, cluster: _Resource) -> _Pod | None:
        meta = cluster.view.meta
        pod = self._pods[meta.namespace, meta.name].get(names.scheduler_name(meta.name))
        return pod if pod is not None and pod.owner == meta.uid else None

    def _facts(self, now: float, kind: str, found: _Resource) -> _Facts | None:
        """None: there is no cluster."""
        cluster = self._cluster_of(found)
        if cluster is None:
            return None
        meta = cluster.view.meta
        lost = self._lost.get((meta.namespace, meta.name), float("-inf"))
        facts = _Facts(
            self._scheduler(cluster), 0, [], 0, [], [], max(cluster.changed, found.changed, lost)
        )
        facts.fresh = int(not self._certain(now, lost)) * 1_000_000  # who knows how many went
        if facts.scheduler is not None:
            facts.changed = max(facts.changed, facts.scheduler.changed)
            facts.rest = "Idle" if facts.scheduler.parked else ""
        if cluster.view.spec.get("suspend"):
            facts.rest = "Suspended"
            if kind == GROUP:
                facts.scheduler = None  # its cluster's concern
        groups = [found] if kind == GROUP else self._groups_of(cluster)
        for group in groups:
            self._add_group(now, facts, cluster, group, strict=kind == GROUP)
        if kind == CLUSTER:
            self._add_cluster(now, facts, cluster, groups)
        if facts.rest:
            facts.want = 0
        return facts

    def _add_group(
        self, now: float, facts: _Facts, cluster: _Resource, group: _Resource, *, strict: bool
    ) -> None:
        meta = cluster.view.meta
        name = group.view.meta.name
        mine = {
            pod_name: pod
            for pod_name, pod in self._pods[meta.namespace, meta.name].items()
            if pod.component == "worker" and pod.group == name and pod.owner == meta.uid
        }
        live = [p for p in mine.values() if p.live]
        replicas = (group.view.spec.get("worker") or {}).get("replicas")
        facts.want += (len(live) or 1) if replicas is None else replicas
        facts.live += live
        facts.fresh += sum(not self._certain(now, p.changed) for p in mine.values())
        facts.changed = max([facts.changed, group.changed, *(p.changed for p in mine.values())])
        # A group that is not the cluster's own rolls out without the cluster; one that says that it waits is excused.
        pending = any(
            c.get("type") == "UpdatePending" for c in group.view.status.get("conditions") or ()
        )
        certain = self._certain(now, max(group.changed, cluster.changed))
        current = pods.worker_revision(cluster.view, group.view)
        old = {n: p for n, p in mine.items() if p.live and _is_old(p, current, cluster)}
        facts.rolling |= bool(old)
        if strict or (group.view.meta.owner_uid == meta.uid and not pending):
            facts.old += [n for n, p in old.items() if certain and self._certain(now, p.changed)]

    def _add_cluster(
        self, now: float, facts: _Facts, cluster: _Resource, groups: Iterable[_Resource]
    ) -> None:
        meta = cluster.view.meta
        name = names.scheduler_name(meta.name)
        scheduler = facts.scheduler
        if (
            scheduler is not None
            and scheduler.live
            and self._certain(now, cluster.changed)
            and _is_old(scheduler, pods.scheduler_revision(cluster.view), cluster)
        ):
            facts.old.append(name)
        nothing = (None, float("-inf"), False)
        owner, changed, waits = self._services.get((meta.namespace, name), nothing)
        facts.changed = max(facts.changed, changed)
        facts.service, facts.service_changed = owner == meta.uid and not waits, changed
        if owner != meta.uid:
            facts.missing.append("Service")
        there = {g.view.meta.name for g in groups}
        declared = [g["name"] for g in cluster.view.spec.get("workerGroups") or ()]
        wanted = [names.default_group_name(meta.name), *(f"{meta.name}-{g}" for g in declared)]
        facts.missing += [w for w in wanted if w not in there]

    def _groups_of(self, cluster: _Resource) -> list[_Resource]:
        meta = cluster.view.meta
        return [
            found
            for (kind, namespace, _), found in self._resources.items()
            if kind == GROUP
            and namespace == meta.namespace
            and found.view.spec.get("cluster") == meta.name
            and found.view.meta.deleting is None
        ]

    def _blame(self, rule: str, found: _Resource, why: str) -> None:
        meta, status = found.view.meta, found.view.status
        for namespace in (meta.namespace, None):
            if (namespace, rule) in self._allowed:
                self._needed.add((namespace, rule))
                return
        conditions = ", ".join(
            f"{c.get('type')}={c.get('status')} {c.get('reason')}: {str(c.get('message'))[:200]!r}"
            for c in status.get("conditions") or ()
        )
        generations = f"generation {meta.generation}, observed {status.get('observedGeneration')}"
        self.violations.append(
            Violation(
                rule,
                found.view.kind,
                meta.namespace,
                meta.name,
                f"{generations}; {conditions or 'no conditions'}",
                why,
            )
        )


def _meaning(found: _Resource) -> Any:
    """Of a spec, without the number of workers of a group."""
    spec = found.view.spec
    if found.view.kind == GROUP:
        worker = {k: v for k, v in (spec.get("worker") or {}).items() if k != "replicas"}
        spec = {**spec, "worker": worker}
    return canonical(spec)


def _is_old(pod: _Pod, revision: str, cluster: _Resource) -> bool:
    asked = cluster.view.spec.get("restartedAt")
    before = bool(asked and pod.restarted and parse_time(pod.restarted) < parse_time(asked))  # type: ignore[operator]
    return before or pod.revision not in (None, revision)


def shape(status: JSON, generation: int, before: JSON) -> list[str]:
    """What is wrong with the form of a status, whatever it says.

    :param before: the status that it replaced, ``{}`` if none.
    """
    wrong = []
    observed = status.get("observedGeneration")
    if not isinstance(observed, int) or not 0 <= observed <= generation:
        wrong.append(f"observedGeneration is {observed!r}, the generation {generation}")
    elif observed < before.get("observedGeneration", -1):
        wrong.append(f"observedGeneration went back to {observed}")
    conditions = status.get("conditions") or []
    types = [c.get("type") for c in conditions]
    if len(set(types)) != len(types):
        wrong.append(f"a condition stands there twice: {types}")
    three = {
        c["type"]: c.get("status")
        for c in conditions
        if c.get("type") in ("Ready", "Reconciling", "Stalled")
    }
    if three not in TABLE:
        wrong.append(f"no line of the table: {three}")
    old = {c.get("type"): c for c in before.get("conditions") or ()}
    for c in conditions:
        kind = c.get("type")
        if kind not in three:
            if kind not in OTHERS:
                wrong.append(f"unknown condition {kind}")
            elif c.get("status") != "True":
                wrong.append(f"{kind} is {c.get('status')}; it is there only while it is true")
        if c.get("observedGeneration") != observed:
            wrong.append(f"{kind} was observed for generation {c.get('observedGeneration')}")
        if not _REASON.fullmatch(str(c.get("reason") or "")):
            wrong.append(f"{kind} has the reason {c.get('reason')!r}")
        message = c.get("message")
        if not isinstance(message, str) or not message.isprintable() or not message.strip():
            wrong.append(f"{kind} has no printable message: {message!r}")
        elif len(message) > MESSAGE_LIMIT:
            wrong.append(f"the message of {kind} has {len(message)} characters")
        wrong += _times(c, old.get(kind) or {})
    return wrong


def _times(condition: JSON, before: JSON) -> list[str]:
    when, earlier = condition.get("lastTransitionTime"), before.get("lastTransitionTime")
    if not _TIME.fullmatch(str(when)):
        return [f"{condition.get('type')} has the lastTransitionTime {when!r}"]
    if earlier is None:
        return []
    if before.get("status") == condition.get("status"):
        if when != earlier:
            return [f"{condition['type']} did not change, its lastTransitionTime did"]
    elif str(when) < str(earlier):
        return [f"the lastTransitionTime of {condition['type']} went back"]
    return []
