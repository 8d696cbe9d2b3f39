"""Scenarios in which one kind of write is refused for good, and what each of them comes to all the same."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    PODS,
    SERVICES,
    Resource,
)
from dask_gitops.reconcile.stores import Key
from dask_gitops.resources import labels

from tests.support import virtual_time
from tests.support.harness import NS, Harness, play
from tests.support.memory_api import MemoryApi, Request

JSON = dict[str, Any]
LASTS_S = 240  # how long a refusal lasts, and by when all must be done that it does not concern
MANY = 1500  # turns, after which a scenario need not be played to its end
SAID = "refused by a rule of the house"


class Counting(Harness):
    """Knows when turns were, and ends what runs hot: virtual time might never pass."""

    def __init__(self, api: MemoryApi) -> None:
        super().__init__(api)
        self.minutes: list[tuple[float, Key]] = []

    def _turned(self, key: Key, waited: float, ran: float, error: BaseException | None) -> None:
        super()._turned(key, waited, ran, error)
        self.minutes.append((self._time(), key))
        if len(self.minutes) > MANY:
            self.queue._stopped = True


# ---- what is refused, and how

REFUSALS: dict[str, Callable[[], ApiError]] = {
    "403": lambda: ApiError(403, "Forbidden", SAID),
    "quota": lambda: ApiError(403, "Forbidden", f"exceeded quota: {SAID}"),
    "409": lambda: ApiError(409, "Conflict", SAID),
    "422": lambda: ApiError(422, "Invalid", SAID),
    "429": lambda: ApiError(429, "TooManyRequests", SAID),
    "429, Retry-After": lambda: ApiError(429, "TooManyRequests", SAID, retry_after=7.0),
    "500": lambda: ApiError(500, "InternalError", SAID),
}
_NOTES = {
    labels.RETIRING: "mark",
    labels.WAS_READY: "latch",
    labels.PARKED: "parked",
    labels.SUSPENDED: "rest",
    labels.ENDING: "stop",
    labels.OUTCOME: "outcome",
    labels.CLUSTER_UID: "gate",
    labels.INLINE_AUTOSCALER: "note",
}


def write(request: Request) -> str:
    """What kind of write this is: verb, kind of object (a Pod's component), and what a patch is about."""
    name = request.resource.kind
    if request.resource == PODS:
        parts = ("scheduler", "runner", "worker")
        name = next(part for part in parts if part in str(request.name).split("-"))
    if request.verb != "patch":
        return f"{request.verb} {name}"
    if request.subresource:
        return f"patch {name}/{request.subresource}"
    notes = (request.body.get("metadata") or {}).get("annotations") or {}
    about = next((word for key, word in _NOTES.items() if key in notes), None)
    if about is None and any(key.startswith(labels.GROUP_WAS_READY) for key in notes):
        about = "latch"
    return f"patch {name}: {about or ('spec' if 'spec' in request.body else 'metadata')}"


# ---- what is to come of it

Goal = Callable[[Harness], bool]
MARK, GO = "patch worker: mark", "delete worker"
GROUP, WORKER, SCHEDULER = "create DaskWorkerGroup", "create worker", "create scheduler"


class Scenario(NamedTuple):
    """:ivar before: a world at rest; None: an empty one.
    :ivar goals: what comes of the change -> is it so, and the writes without which it cannot be.
    """

    before: Callable[[Harness], object] | None
    change: Callable[[Harness], object]
    goals: dict[str, tuple[Goal, tuple[str, ...]]]


def workers(number: int, group: str = "demo-default") -> Goal:
    return lambda h: len(h.workers(group)) == number


def there(res: Resource, name: str) -> Goal:
    return lambda h: h.api.find(res, NS, name) is not None


def gone(res: Resource, name: str) -> Goal:
    return lambda h: h.api.find(res, NS, name) is None


def labelled(component: str, **more: str) -> Goal:
    selector = ",".join([f"{labels.COMPONENT}={component}", *(f"{k}={v}" for k, v in more.items())])
    return lambda h: all(
        p["metadata"]["labels"].get("team") == "x" for p in h.api.items(PODS, NS, selector)
    )


def noted(name: str, key: str) -> Goal:
    def so(h: Harness) -> bool:
        found = h.api.find(PODS, NS, name)
        return found is not None and key in found["metadata"].get("annotations", {})

    return so


def _env(container: str, value: str) -> JSON:
    env = [{"name": "NEW", "value": value}]
    return {"containers": [{"name": container, "image": "dask:1", "env": env}]}


def made_with(value: str, number: int, at_most: bool = False) -> Goal:
    """So many workers of the default group, or no more, run with this value."""

    def so(h: Harness) -> bool:
        pods = h.api.items(PODS, NS, f"{labels.GROUP}=demo-default")
        with_it = [
            p
            for p in pods
            if any(e.get("value") == value for e in p["spec"]["containers"][0].get("env", ()))
        ]
        return len(with_it) <= number if at_most else len(with_it) == number

    return so


def cluster(h: Harness, **spec: Any) -> None:
    spec = {
        "worker": {"replicas": 3, "spec": _env("worker", "1")},
        "workerGroups": [{"name": "gpu", "worker": {"replicas": 1}}],
        "drainTimeout": 20,
        **spec,
    }
    h.cluster("demo", **spec)


def rolls(**strategy: Any) -> Callable[[Harness], None]:
    return lambda h: cluster(h, updateStrategy=strategy)


def edit(**spec: Any) -> Callable[[Harness], None]:
    return lambda h: h.edit(DASKCLUSTERS, "demo", spec)


def all_at_once(h: Harness) -> None:
    meta = {"metadata": {"labels": {"team": "x"}}}
    new = {"name": "new", "worker": {"replicas": 1}}
    service = {"service": {"type": "NodePort"}}
    edit(worker={"replicas": 1, **meta}, scheduler={**meta, **service}, workerGroups=[new])(h)


def scheduler_gone_and_zero(h: Harness) -> None:
    h.delete_pod("demo-scheduler")
    edit(worker={"replicas": 0}, workerGroups=None)(h)


def autoscaled(h: Harness) -> None:
    h.demand(6)
    edit(autoscaler={"minimum": 1, "maximum": 5})(h)


def busy(h: Harness) -> None:
    """One worker works on, so that its scheduler is asked again and again."""
    h.schedulers.running = set(h.schedulers.workers())
    edit(drainTimeout=10_000, worker={"replicas": 1, "metadata": {"labels": {"team": "x"}}})(h)


def job(**spec: Any) -> Callable[[Harness], None]:
    return lambda h: h.job(**spec) and None


def runner_ends(h: Harness) -> None:
    h.kubelet.finish(NS, "nightly-runner", 0)


def job_said(word: str) -> Goal:
    return lambda h: h.find(DASKJOBS, "nightly")["status"].get("jobStatus") == word


def rests(h: Harness) -> bool:
    return bool(h.find(DASKCLUSTERS, "nightly")["spec"].get("suspend"))


SPEC = "patch DaskWorkerGroup: spec"
SCENARIOS: dict[str, Scenario] = {
    "new cluster": Scenario(
        None,
        cluster,
        {
            "scheduler": (there(PODS, "demo-scheduler"), (SCHEDULER,)),
            "service": (there(SERVICES, "demo-scheduler"), ("create Service",)),
            "group": (there(DASKWORKERGROUPS, "demo-gpu"), (GROUP,)),
            "workers": (workers(3), (SCHEDULER, GROUP, WORKER)),
            "latch": (
                noted("demo-scheduler", labels.WAS_READY),
                (SCHEDULER, GROUP, WORKER, "create Service", "patch scheduler: latch"),
            ),
        },
    ),
    "scale up": Scenario(
        cluster, edit(worker={"replicas": 5}), {"workers": (workers(5), (SPEC, WORKER))}
    ),
    "scale down": Scenario(
        cluster, edit(worker={"replicas": 1}), {"workers": (workers(1), (SPEC, MARK, GO))}
    ),
    "scale down, busy, and a label": Scenario(
        cluster,
        busy,
        {
            "number": (
                lambda h: h.find(DASKWORKERGROUPS, "demo-default")["spec"]["worker"]["replicas"] == 1,
                (SPEC,),
            ),
            "label": (labelled("worker", **{labels.GROUP: "demo-default"}), (SPEC, "patch worker: metadata")),
        },
    ),
    "roll with a surge": Scenario(
        rolls(maxSurge=1, maxUnavailable=1),
        edit(worker={"spec": _env("worker", "2")}),
        {
            "old ones go": (made_with("1", 2, at_most=True), (SPEC, MARK, GO)),
            "new ones come": (made_with("2", 3), (SPEC, MARK, WORKER)),
        },
    ),
    "roll without a surge": Scenario(
        rolls(maxSurge=0, maxUnavailable=1),
        edit(worker={"spec": _env("worker", "2")}),
        {
            "old ones go": (made_with("1", 2, at_most=True), (SPEC, MARK, GO)),
            "new ones come": (made_with("2", 3), (SPEC, MARK, WORKER)),
        },
    ),
    "another scheduler": Scenario(
        rolls(scheduler="Immediate"),
        edit(scheduler={"spec": _env("scheduler", "2")}, worker={"replicas": 4}),
        {
            "scheduler": (
                lambda h: "NEW" in str(h.find(PODS, "demo-scheduler")["spec"]),
                ("delete scheduler", SCHEDULER),
            ),
            "number": (
                lambda h: h.find(DASKWORKERGROUPS, "demo-default")["spec"]["worker"]["replicas"] == 4,
                (SPEC,),
            ),
        },
    ),
    "the scheduler is deleted and all workers may go": Scenario(
        cluster,
        scheduler_gone_and_zero,
        {
            "scheduler": (there(PODS, "demo-scheduler"), (SCHEDULER,)),
            "group": (gone(DASKWORKERGROUPS, "demo-gpu"), ("delete DaskWorkerGroup",)),
            "workers": (workers(0), (SPEC, MARK, GO)),
            "its workers": (workers(0, "demo-gpu"), ("delete DaskWorkerGroup", MARK, GO)),
        },
    ),
    "all at once": Scenario(
        cluster,
        all_at_once,
        {
            "workers": (workers(1), (SPEC, MARK, GO)),
            "label": (
                labelled("worker", **{labels.GROUP: "demo-default"}),
                (SPEC, "patch worker: metadata"),
            ),
            "scheduler's label": (labelled("scheduler"), ("patch scheduler: metadata",)),
            "service": (
                lambda h: h.find(SERVICES, "demo-scheduler")["spec"]["type"] == "NodePort",
                ("patch Service: metadata", "patch Service: spec"),
            ),
            "group gone": (gone(DASKWORKERGROUPS, "demo-gpu"), ("delete DaskWorkerGroup",)),
            "its workers": (workers(0, "demo-gpu"), ("delete DaskWorkerGroup", MARK, GO)),
            "new group": (there(DASKWORKERGROUPS, "demo-new"), (GROUP,)),
            "new worker": (workers(1, "demo-new"), (GROUP, WORKER)),
        },
    ),
    "suspend": Scenario(
        cluster,
        edit(suspend=True),
        {
            "workers": (workers(0), (MARK, GO)),
            "scheduler": (
                gone(PODS, "demo-scheduler"),
                (MARK, "patch scheduler: rest", "delete scheduler"),
            ),
        },
    ),
    "park": Scenario(
        cluster,
        edit(idleTimeout=60, idleAction="Scale", worker={"replicas": 2}),
        {
            "parked": (noted("demo-scheduler", labels.PARKED), ("patch scheduler: parked",)),
            "workers": (workers(0), ("patch scheduler: parked", MARK, GO)),
        },
    ),
    "delete when idle": Scenario(
        cluster,
        edit(idleTimeout=60),
        {"cluster": (gone(DASKCLUSTERS, "demo"), ("delete DaskCluster",))},
    ),
    "autoscaler": Scenario(
        cluster,
        autoscaled,
        {
            "autoscaler": (there(DASKAUTOSCALERS, "demo"), ("create DaskAutoscaler",)),
            "workers": (
                workers(5),
                ("create DaskAutoscaler", "patch DaskWorkerGroup/scale", WORKER),
            ),
        },
    ),
    "a worker dies": Scenario(
        cluster,
        lambda h: h.kubelet.finish(NS, h.workers()[0], 1),
        {"workers": (lambda h: h.schedulers.workers().keys().__len__() >= 4, (WORKER,))},
    ),
    "new job": Scenario(
        None,
        job(),
        {
            "runner": (there(PODS, "nightly-runner"), ("create runner",)),
            "cluster": (there(DASKCLUSTERS, "nightly"), ("create runner", "create DaskCluster")),
            "running": (
                job_said("Running"),
                ("create runner", "create DaskCluster", SCHEDULER, "patch runner: gate",
                 "patch DaskJob/status"),
            ),
        },
    ),
    "job ends": Scenario(
        job(),
        runner_ends,
        {
            "end": (job_said("Successful"), ("patch DaskJob/status",)),
            "cluster": (
                gone(DASKCLUSTERS, "nightly"), ("patch DaskJob/status", "delete DaskCluster"),
            ),
        },
    ),
    "job expires": Scenario(
        job(ttlSecondsAfterFinished=5),
        runner_ends,
        {"job": (gone(DASKJOBS, "nightly"), ("patch DaskJob/status", "delete DaskJob"))},
    ),
    "job rests": Scenario(
        job(),
        lambda h: h.edit(DASKJOBS, "nightly", {"suspend": True}),
        {
            "runner": (gone(PODS, "nightly-runner"), ("patch DaskJob/status", "delete runner")),
            "cluster": (
                rests,
                ("patch DaskJob/status", "delete runner", "patch DaskCluster: spec"),
            ),
        },
    ),
}  # fmt: skip

# ---- how it is played


@functools.cache
def base(scenario: str) -> Harness:
    """A world at rest."""
    before = SCENARIOS[scenario].before
    assert before is not None

    async def main(h: Harness) -> None:
        before(h)
        h.start()
        await h.settle(quiet_s=45)

    return play(main)


def run(scenario: str, refused: str = "", how: str = "") -> Counting:
    """Play it with this kind of write refused in that way from the change on; empty: with none."""
    one, api = SCENARIOS[scenario], MemoryApi()
    ips: dict[str, Any] = {}
    if one.before is not None:
        api, ips = base(scenario).copy_of_world(), base(scenario).kubelet._ips
    harness = Counting(api)
    harness.kubelet._ips = copy.copy(ips) if ips else harness.kubelet._ips

    def rule(request: Request) -> None:
        if write(request) == refused:
            raise REFUSALS[how]()

    async def main(h: Harness) -> None:
        virtual_time.freeze(1000)  # the world is older than the loop's clock
        h.start()
        await h.pass_time(30)
        harness.minutes.clear()
        h.api.log.clear()
        h.api.admission.append(rule)
        one.change(h)
        await h.pass_time(LASTS_S)
        # That something has failed is as it should be here, and that a status is old that cannot be written.
        if refused.endswith("/status"):
            h.judge.violations.clear()
            h.judge.allow("in-progress", "statuses are refused")
        elif any(refused in needs for _, needs in one.goals.values()):
            h.judge.allow("in-progress", "something that is declared is refused")
        h.judge.violations = [
            v
            for v in h.judge.violations
            if (None, v.rule) not in h.judge._allowed and v.rule != "failed"
        ]

    play(main, lambda: harness)
    return harness


@functools.cache
def calm(scenario: str) -> Counting:
    return run(scenario)


def writes(scenario: str) -> list[str]:
    """The kinds of writes without a refusal, in the order in which they come."""
    found = (write(r) for r in calm(scenario).api.log if r.is_write and r.resource.kind != "Event")
    return list(dict.fromkeys(found))


def combinations() -> list[tuple[str, str, str]]:
    """All of them, in a fixed order."""
    return [(s, kind, how) for s in SCENARIOS for kind in writes(s) for how in REFUSALS]


def most_in_a_minute(times: list[float]) -> int:
    return max((sum(t <= u < t + 60 for u in times) for t in times), default=0)


def unreached(h: Harness, scenario: str, refused: str) -> Iterator[str]:
    """Goals that this refusal does not concern, and that were not reached."""
    for goal, (so, needs) in SCENARIOS[scenario].goals.items():
        if refused not in needs and not so(h):
            yield goal
