"""A change, and what `dask-gitops plan` says of it: in a user's words, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.plan.objects import (
    autoscaler,
    cluster,
    container,
    declared,
    env,
    group,
    job,
    subjects,
    told,
)

NO_TLS = (
    "spec.tls{}: this version cannot encrypt, and starts nothing in plain text instead; what runs already goes on as it is. "
    "Take the field away to run without encryption"
)


LATER, EARLIER = "2026-01-31T12:00:00Z", "2026-01-30T12:00:00Z"
INLINE: dict[str, Any] = {"workerGroups": [{"name": "gpu", "worker": {"replicas": 2}}]}
SMALLER: dict[str, Any] = {"workerGroups": [{"name": "gpu", "worker": {"replicas": 1}}]}
SETTINGS = "cluster demo: holds from now on; no Pod is replaced"
WAITS = "! cluster demo: the scheduler waits until it is idle, then it is replaced, and {} workers with it"
ELSEWHERE = "DaskCluster demo is not declared here; --live tells what becomes of its workers"
DISCARDS = "; results that have no place are discarded after 5 min"


def limits(**some: Any) -> dict[str, Any]:
    return container(resources={"limits": some})


def one(value: str) -> Any:
    """The scheduler's and the workers' variable."""
    return {"scheduler": env(value, "scheduler"), "worker": env(value)}


def when(scheduler: str) -> dict[str, Any]:
    return {"updateStrategy": {"scheduler": scheduler}}


def surge(number: Any, unavailable: Any = 0) -> dict[str, Any]:
    return {"updateStrategy": {"maxSurge": number, "maxUnavailable": unavailable}}


DEADLINE = {"updateStrategy": {"schedulerDeadlineSeconds": 3600}}

TABLE = [
    # nothing
    (cluster(), cluster(), []),
    (
        cluster(worker=limits(cpu=1, memory="1Gi")),
        cluster(worker=limits(cpu="1000m", memory="1024Mi")),
        [],
    ),
    (cluster(suspend=None), cluster(drainTimeout=None), []),
    # images and other changes of Pods
    (cluster(image="d:1"), cluster(image="d:2"), [WAITS.format(4)]),
    (
        cluster(image="d:1") | group(),
        cluster(image="d:2") | group(),
        [WAITS.format(6), "group demo-gpu: 2 workers start anew with the scheduler"],
    ),
    (
        cluster(image="d:1", **when("Immediate")),
        cluster(image="d:2", **when("Immediate")),
        ["! cluster demo: the scheduler is replaced at once, whatever it does, and 4 workers with it"],
    ),
    (
        cluster(image="d:1", **DEADLINE),
        cluster(image="d:2", **DEADLINE),
        ["! cluster demo: the scheduler waits until it is idle, at most 1 h, then it is replaced, and 4 workers with it"],
    ),
    (
        cluster(image="d:1", **when("OnDelete")),
        cluster(image="d:2", **when("OnDelete")),
        [
            "cluster demo: UpdatePending: demo-scheduler runs an earlier spec; delete the pod to renew it",
            "cluster demo: UpdatePending: 4 workers of an earlier spec wait for the scheduler, whose image changes too",
        ],
    ),
    (cluster(**one("1")), cluster(scheduler=env("2", "scheduler"), worker=env("1")), [WAITS.format(4)]),
    (
        cluster(**one("1")),
        cluster(**one("2")),
        ["cluster demo: 4 workers are replaced, one after the other; each hands over first", WAITS.format(4)],
    ),
    (
        cluster(1, worker=env("1")),
        cluster(1, worker=env("2")),
        ["cluster demo: 1 worker is replaced; it hands over first"],
    ),
    (
        cluster(10, worker=env("1")),
        cluster(10, worker=env("2")),
        ["cluster demo: 10 workers are replaced, 3 at a time; each hands over first"],
    ),
    (
        cluster(10, worker=env("1"), **surge(1)),
        cluster(10, worker=env("2"), **surge(1)),
        ["cluster demo: 10 workers are replaced, one after the other; each hands over first"],
    ),
    (
        cluster(3, worker=env("1"), **surge(0, "100%")),
        cluster(3, worker=env("2"), **surge(0, "100%")),
        ["cluster demo: 3 workers are replaced, all at once; each hands over first"],
    ),
    (
        cluster(1, worker=env("1"), **surge(0, 1)),
        cluster(1, worker=env("2"), **surge(0, 1)),
        ["cluster demo: 1 worker is replaced; it hands over first"],
    ),
    (
        cluster() | group(worker=env("1"), **surge(0, 1)),
        cluster() | group(worker=env("2"), **surge(0, 1)),
        ["group demo-gpu: 2 workers are replaced, one after the other; each hands over first"],
    ),
    (
        cluster(None, worker=env("1")),
        cluster(None, worker=env("2")),
        ["cluster demo: its workers are replaced, as updateStrategy says; each hands over first"],
    ),
    (
        cluster(),
        cluster(restartedAt=LATER),
        ["cluster demo: 4 workers are replaced, one after the other; each hands over first", WAITS.format(4)],
    ),
    (cluster(restartedAt=LATER), cluster(restartedAt=EARLIER), [SETTINGS]),
    (cluster(restartedAt=LATER), cluster(), [SETTINGS]),
    # numbers
    (cluster(4), cluster(6), ["cluster demo: 2 more workers, 4 to 6"]),
    (cluster(0), cluster(1), ["cluster demo: 1 more worker, 0 to 1"]),
    (cluster(4), cluster(3), ["cluster demo: 1 of 4 workers leaves, handing over its results"]),
    (
        cluster(4),
        cluster(0),
        [f"! cluster demo: all 4 workers leave, handing over their results{DISCARDS}"],
    ),
    (
        cluster(1, drainTimeout=60),
        cluster(0, drainTimeout=60),
        [f"! cluster demo: the only worker leaves, handing over its results{DISCARDS.replace('5', '1')}"],
    ),
    (
        cluster(4) | group(),
        cluster(0) | group(),
        ["cluster demo: all 4 workers leave, handing over their results"],
    ),
    (
        cluster(4, worker=env("1")),
        cluster(2, worker=env("2")),
        [
            "cluster demo: 2 workers are replaced, one after the other; each hands over first",
            "cluster demo: 2 of 4 workers leave, handing over their results",
        ],
    ),
    (
        cluster(4, worker=env("1")),
        cluster(6, worker=env("2")),
        [
            "cluster demo: 4 workers are replaced, 2 at a time; each hands over first",
            "cluster demo: 2 more workers, 4 to 6",
        ],
    ),
    (cluster(4), cluster(None), [SETTINGS]),
    (
        cluster(None),
        cluster(1),
        ["cluster demo: 1 worker from now on; who is too many hands over and leaves"],
    ),
    # groups
    (cluster(), cluster() | group(), ["group demo-gpu: added: 2 workers"]),
    (
        cluster() | group(),
        cluster(),
        ["group demo-gpu: removed: 2 workers hand over their results and go"],
    ),
    (
        cluster(0) | group(),
        cluster(0),
        [f"! group demo-gpu: removed: 2 workers hand over their results and go{DISCARDS}"],
    ),
    (cluster(), cluster(**INLINE), ["group demo-gpu: added: 2 workers"]),
    (
        cluster(**INLINE),
        cluster(),
        ["group demo-gpu: removed: 2 workers hand over their results and go"],
    ),
    (
        cluster(**INLINE),
        cluster(**SMALLER),
        ["group demo-gpu: 1 of 2 workers leaves, handing over its results"],
    ),
    # of a cluster that somebody else declares
    (group(2), group(3), [f"group demo-gpu: {ELSEWHERE}"]),
    ({}, group(), [f"group demo-gpu: {ELSEWHERE}"]),
    (group(), {}, [f"group demo-gpu: {ELSEWHERE}"]),
    (autoscaler(1, 2), autoscaler(1, 3), [f"cluster demo: {ELSEWHERE}"]),
    # clusters
    ({}, cluster(), ["cluster demo: added: a scheduler and 4 workers"]),
    (
        {},
        cluster() | group(),
        ["cluster demo: added: a scheduler and 4 workers", "group demo-gpu: added: 2 workers"],
    ),
    ({}, cluster(suspend=True), ["cluster demo: added, suspended: no Pods run"]),
    (
        cluster() | group(),
        {},
        [
            "! cluster demo: removed: the scheduler and 6 workers are deleted, with all that they hold",
            "group demo-gpu: goes with its cluster",
        ],
    ),
    (
        cluster() | group(),
        group(),
        [
            "! cluster demo: removed: the scheduler and 6 workers are deleted, with all that they hold",
            "group demo-gpu: has no workers any more: its cluster is gone",
        ],
    ),
    (
        cluster(None),
        {},
        ["! cluster demo: removed: the scheduler and all workers are deleted, with all that they hold"],
    ),
    (cluster(suspend=True), {}, ["cluster demo: removed; no Pods ran"]),
    # at rest
    (
        cluster() | group(),
        cluster(suspend=True) | group(),
        [f"! cluster demo: suspended: 6 workers leave, then the scheduler{DISCARDS}"],
    ),
    (cluster(suspend=True), cluster(), ["cluster demo: resumed: a new scheduler and 4 workers"]),
    (cluster(suspend=True), cluster(7, suspend=True, image="d:2"), [SETTINGS]),
    (
        cluster(),
        cluster(idleTimeout=1800),
        ["cluster demo: after 30 min without work it is deleted (parked, if a GitOps tool tracks it)"],
    ),
    (
        cluster(),
        cluster(idleTimeout=1800, idleAction="Scale"),
        ["cluster demo: after 30 min without work it is parked: idleAction is Scale"],
    ),
    (
        cluster(idleTimeout=60),
        cluster(),
        ["cluster demo: it is neither deleted nor parked any more when nobody uses it"],
    ),
    # autoscalers
    (
        cluster(4),
        cluster(None) | autoscaler(1, 10),
        ["cluster demo: an autoscaler sizes it, from 1 to 10 workers"],
    ),
    (
        cluster(4),
        cluster(None) | autoscaler(6, 10),
        ["cluster demo: 2 more workers, 4 to 6", "cluster demo: an autoscaler sizes it, from 6 to 10 workers"],
    ),
    (
        cluster(4),
        cluster(None) | autoscaler(1, 3),
        [
            "cluster demo: 1 of 4 workers leaves, handing over its results",
            "cluster demo: an autoscaler sizes it, from 1 to 3 workers",
        ],
    ),
    (
        cluster(None),
        cluster(None, autoscaler={"minimum": 1, "maximum": 4}),
        ["cluster demo: an autoscaler sizes it, from 1 to 4 workers"],
    ),
    (
        cluster(None) | autoscaler(1, 10),
        cluster(None),
        ["cluster demo: no autoscaler sizes it any more: the number of workers stays as it is"],
    ),
    (
        cluster(None) | autoscaler(1, 10),
        cluster(3),
        [
            "cluster demo: 3 workers from now on; who is too many hands over and leaves",
            "cluster demo: no autoscaler sizes it any more",
        ],
    ),
    (
        cluster(None) | autoscaler(1, 10),
        cluster(None) | autoscaler(2, 5),
        ["cluster demo: its autoscaler's limits: 1 to 10 become 2 to 5; who is too many hands over and leaves"],
    ),
    (
        cluster(None) | autoscaler(1, 10),
        cluster(None) | autoscaler(1, 10, interval=60),
        ["cluster demo: its autoscaler's pace changes"],
    ),
    (
        cluster() | group(None) | autoscaler(0, 3, workerGroup="demo-gpu"),
        cluster() | group(None) | autoscaler(0, 4, workerGroup="demo-gpu"),
        ["group demo-gpu: its autoscaler's limits: 0 to 3 become 0 to 4; who is too many hands over and leaves"],
    ),
    # in place
    (cluster(), cluster(**surge(1)), [SETTINGS]),
    (cluster(), cluster(drainTimeout=10, progressDeadlineSeconds=9, whenUnreachable="Drain"), [SETTINGS]),
    (
        cluster(),
        cluster(meta={"labels": {"team": "a"}}),
        ["cluster demo: labels and annotations change in place on 5 Pods"],
    ),
    (
        cluster(),
        cluster(worker={"metadata": {"annotations": {"note": "a"}}}),
        ["cluster demo: labels and annotations change in place on 4 Pods"],
    ),
    (cluster(), cluster(meta={"labels": {"app.kubernetes.io/part-of": "a"}}), [SETTINGS]),
    (
        cluster(),
        cluster(scheduler={"service": {"type": "LoadBalancer"}}),
        ["cluster demo: the Service is changed in place: ClusterIP to LoadBalancer"],
    ),
    (
        cluster(scheduler={"service": {"externalIPs": ["203.0.113.7"]}}),
        cluster(),
        ["cluster demo: the Service is changed in place"],
    ),
    (
        cluster(scheduler={"service": {"clusterIP": "10.96.7.7"}}),
        cluster(scheduler={"service": {"clusterIP": "None"}}),
        ["cluster demo: the Service is made anew"],
    ),
    (
        cluster(),
        cluster(tls={"enabled": True}),
        [
            "cluster demo: Stalled: scheduler ready, 4 of 4 workers ready; "
            f"worker group demo-default: 4 of 4 workers ready; {NO_TLS.format(' of DaskCluster demo')}; {NO_TLS.format('')}",
            f"cluster demo: Stalled: 4 of 4 workers ready; {NO_TLS.format(' of DaskCluster demo')}",
        ],
    ),
    # jobs
    ({}, job(), ["job nightly: added: runs once, on a scheduler and 3 workers of its own"]),
    ({}, job(suspend=True), ["job nightly: added, suspended: nothing runs until suspend is false"]),
    (
        job(),
        {},
        ["! job nightly: removed: a run that is under way ends, its runner and its cluster are deleted"],
    ),
    (job(suspend=True), {}, ["job nightly: removed; nothing ran"]),
    (
        job(),
        job(job=container("job", image="etl:2")),
        ["job nightly: UpdatePending: spec.job or spec.cluster was changed after the start; the change counts for a later run, this one goes on as it is"],
    ),
    (
        job(),
        job(restartedAt=LATER),
        ["job nightly: UpdatePending: spec.restartedAt asks for another run; it begins when this one has ended"],
    ),
    (
        job(activeDeadlineSeconds=60),
        job(activeDeadlineSeconds=60, suspend=True),
        ["! job nightly: suspended: a runner under way is deleted and begins anew later; its cluster rests"],
    ),
    (job(suspend=True), job(), ["job nightly: its runner starts, on a scheduler and 3 workers"]),
    (
        job(activeDeadlineSeconds=60),
        job(activeDeadlineSeconds=60, ttlSecondsAfterFinished=9),
        ["job nightly: holds from now on; no Pod is replaced"],
    ),
    (
        cluster(name="nightly"),
        job(),
        [
            "! cluster nightly: removed: the scheduler and 4 workers are deleted, with all that they hold",
            "job nightly: added: runs once, on a scheduler and 3 workers of its own",
        ],
    ),
    (
        job(),
        job(meta={"labels": {"team": "a"}}),
        ["job nightly: labels and annotations change in place on 5 Pods"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "words"), TABLE)
def test_words(before: Any, after: Any, words: list[str]) -> None:
    assert told(before, after) == words


@pytest.mark.parametrize(
    ("mark", "goes"),
    [
        ({"argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true, Prune=confirm"}, False),
        ({"argocd.argoproj.io/sync-options": "Prune=false"}, False),
        ({"argocd.argoproj.io/sync-options": "Delete=confirm"}, True),
        ({"kustomize.toolkit.fluxcd.io/prune": "disabled"}, False),
        ({"kustomize.toolkit.fluxcd.io/prune": "enabled"}, True),
        ({"helm.sh/resource-policy": "keep"}, False),
    ],
)  # fmt: skip
def test_what_is_protected_stays_when_git_forgets_it(mark: dict[str, str], goes: bool) -> None:
    lines = told(cluster(meta={"annotations": mark}), {})
    if goes:
        assert lines[0].startswith("! cluster demo: removed")
    else:
        ((key, value),) = mark.items()
        said = value.rpartition(" ")[2]
        assert lines == [f"cluster demo: not declared any more, but it stays: {key}: {said}"]


def test_the_fields_that_changed_are_named() -> None:
    containers = [{"name": "worker", "image": "d:1"}, {"name": "log", "image": "l:1"}]
    before = cluster(worker={"spec": {"containers": containers}}, **INLINE)
    changed = [{"name": "worker", "image": "d:2", "env": [{"name": "A", "value": "1"}]}]
    after = cluster(
        3,
        meta={"labels": {"team": "a"}},
        worker={"spec": {"containers": changed, "tolerations": [{"key": "gpu"}]}},
        **SMALLER,
    )
    of_cluster, of_group = subjects(before | autoscaler(1, 2), after | autoscaler(1, 3))
    assert (of_cluster.kind, of_group.name) == ("cluster", "demo-gpu")
    assert of_cluster.changed == [
        "autoscaler.maximum",
        "labels.team",
        "worker.replicas",
        "worker.spec.containers[log]",
        "worker.spec.containers[worker].env[A]",
        "worker.spec.containers[worker].image",
        "worker.spec.tolerations",
    ]
    assert of_group.changed == ["workerGroups[gpu].worker.replicas"]


def test_many_workers_one_after_the_other() -> None:
    before, after = (cluster(100, worker=env(value), **surge(1)) for value in "12")
    assert told(before, after) == [
        "cluster demo: 100 workers are replaced, one after the other; each hands over first"
    ]


def test_numbers_for_programs() -> None:
    before, after = cluster(None, worker=env("1")), cluster(None, worker=env("2"))
    assert [e.workers for s in subjects(before, after) for e in s.effects] == [None]
    (effect,) = subjects(cluster(4), cluster(1))[0].effects
    assert (effect.what, effect.workers, effect.disruptive) == ("down", 3, False)


@pytest.mark.parametrize(
    "spec",
    [{"workerGroups": 3}, {"worker": ["x"]}, {"workerGroups": [{"worker": {}}]}],
)
def test_a_spec_that_cannot_be_read_ends_no_rehearsal(spec: Any) -> None:
    """The API server takes none of them; what is Stalled for it is told, and no fault of ours."""
    assert told({}, declared("DaskCluster", "demo", spec))
