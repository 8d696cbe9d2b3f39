"""Custom resources as the controller leaves them, on which the health checks and actions for Argo CD are tried.

`python -m tests.support.argocd_objects` writes them to gitops/argocd/resource_customizations; a test says when they are not current.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from dask_gitops.kube.resource import DASKAUTOSCALERS, DASKCLUSTERS, DASKJOBS, DASKWORKERGROUPS

from tests.support.harness import NS, Harness, play

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "gitops/argocd/resource_customizations/kubernetes.dask.org"
KINDS = {kind.kind: kind for kind in (DASKCLUSTERS, DASKWORKERGROUPS, DASKAUTOSCALERS, DASKJOBS)}
NO_TIME = "0001-01-01T00:00:00Z"
NAMES = {"DaskWorkerGroup": "demo-default", "DaskJob": "nightly"}

Story = Callable[[Harness], Awaitable[None]]
_stories: list[tuple[Story, tuple[str, ...]]] = []


def leaves(*objects: str) -> Callable[[Story], Story]:
    """The story ends with these objects, as Kind/name-of-the-file."""

    def note(story: Story) -> Story:
        _stories.append((story, objects))
        return story

    return note


async def up(h: Harness, replicas: int = 3, **spec: Any) -> None:
    h.cluster(worker={"replicas": replicas}, **spec)
    h.start()
    await h.settle()


@leaves("DaskCluster/new")
async def nobody_has_looked(h: Harness) -> None:
    h.cluster(worker={"replicas": 3})


@leaves("DaskCluster/changed")
async def nobody_has_looked_at_the_change(h: Harness) -> None:
    await up(h)
    h.kill()
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 5}})


@leaves("DaskCluster/progressing", "DaskWorkerGroup/progressing")
async def workers_start(h: Harness) -> None:
    h.kubelet.room = 3
    await up(h, 5)


@leaves("DaskCluster/healthy", "DaskWorkerGroup/healthy")
async def all_is_well(h: Harness) -> None:
    await up(h)


@leaves("DaskCluster/suspended", "DaskWorkerGroup/suspended")
async def a_person_suspended_it(h: Harness) -> None:
    await up(h)
    h.edit(DASKCLUSTERS, "demo", {"suspend": True})
    await h.settle()


@leaves("DaskCluster/idle", "DaskWorkerGroup/idle")
async def nobody_uses_it(h: Harness) -> None:
    await up(h, idleTimeout=600, idleAction="Scale")
    await h.pass_time(700)


@leaves("DaskCluster/update_pending")
async def a_change_waits(h: Harness) -> None:
    await up(h)
    h.schedulers.scatter()
    h.edit(DASKCLUSTERS, "demo", {"image": "dask:2"})
    await h.pass_time(300)


@leaves("DaskCluster/degraded", "DaskWorkerGroup/degraded")
async def nobody_can_pull_the_workers_image(h: Harness) -> None:
    h.judge.allow("failed", "the image of the workers does not exist")
    h.kubelet.missing = {"typo:1"}
    container = {"name": "worker", "image": "typo:1"}
    h.cluster(worker={"replicas": 1, "spec": {"containers": [container]}})
    h.start()
    await h.pass_time(700)


@leaves("DaskWorkerGroup/held")
async def results_have_no_place(h: Harness) -> None:
    await up(h, 2)
    h.schedulers.scatter()
    h.schedulers.silent = "does not answer"
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 1}})
    await h.pass_time(120)


@leaves("DaskAutoscaler/healthy")
async def it_follows_the_demand(h: Harness) -> None:
    h.cluster(worker={})
    h.autoscaler(1, 10)
    h.start()
    await h.pass_time(40)
    h.demand(6)
    await h.pass_time(30)


@leaves("DaskAutoscaler/contested")
async def somebody_resets_its_number(h: Harness) -> None:
    h.cluster(worker={})
    h.autoscaler(1, 10)
    h.start()
    await h.pass_time(40)
    h.demand(5)
    for _ in range(300):
        await h.pass_time(1)
        if len(h.workers()) == 5:
            h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 1}})


@leaves("DaskAutoscaler/progressing")
async def its_cluster_is_missing(h: Harness) -> None:
    h.autoscaler(1, 10)
    h.start()
    await h.pass_time(40)


@leaves("DaskAutoscaler/degraded")
async def two_for_one_group(h: Harness) -> None:
    h.cluster(worker={})
    h.autoscaler(1, 10, "first")
    h.start()
    await h.pass_time(40)
    h.judge.allow("failed", "the second autoscaler of a group")
    h.autoscaler(2, 5, "demo")
    await h.pass_time(40)


@leaves("DaskJob/progressing")
async def the_runner_waits(h: Harness) -> None:
    h.kubelet.room = 0
    h.job()
    h.start()
    await h.pass_time(40)


@leaves("DaskJob/running")
async def the_runner_runs(h: Harness) -> None:
    h.job()
    h.start()
    await h.pass_time(40)


async def ends(h: Harness, code: int, **spec: Any) -> None:
    h.job(**spec)
    h.start()
    await h.pass_time(40)
    h.kubelet.finish(NS, h.find(DASKJOBS, "nightly")["status"]["jobRunnerPodName"], code)
    await h.pass_time(120)


@leaves("DaskJob/successful")
async def it_succeeded(h: Harness) -> None:
    await ends(h, 0)


@leaves("DaskJob/failed")
async def it_failed(h: Harness) -> None:
    h.judge.allow("failed", "the runner exits with 3")
    await ends(h, 3, backoffLimit=0)


@leaves("DaskJob/suspended")
async def a_person_suspended_the_job(h: Harness) -> None:
    h.job(suspend=True)
    h.start()
    await h.pass_time(40)


# Kind/action -> the object it is tried on, and what it changes in the spec. Times are those that a test puts in.
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "DaskCluster/restart": ("healthy", {"restartedAt": NO_TIME}),
    "DaskCluster/suspend": ("healthy", {"suspend": True}),
    "DaskCluster/resume": ("suspended", {"suspend": False}),
    "DaskWorkerGroup/scale": ("healthy", {"worker": {"replicas": 7}}),
    "DaskJob/rerun": ("failed", {"restartedAt": NO_TIME}),
    "DaskJob/suspend": ("running", {"suspend": True}),
    "DaskJob/resume": ("suspended", {"suspend": False}),
}


def written() -> Iterator[tuple[Path, str]]:
    """Each file and its text."""
    found = {}
    for story, objects in _stories:
        h = play(story)
        for place in objects:
            kind = place.partition("/")[0]
            found[place] = obj = h.find(KINDS[kind], NAMES.get(kind, "demo"))
            # It hangs on the order of what happens at one moment.
            del obj["metadata"]["resourceVersion"]
    for place, obj in found.items():
        kind, _, file = place.partition("/")
        yield FOLDER / kind / "testdata" / f"{file}.yaml", _text(obj)
    for place, (file, change) in CHANGES.items():
        kind, _, action = place.partition("/")
        obj = copy.deepcopy(found[f"{kind}/{file}"])
        obj["spec"] |= change
        yield FOLDER / kind / "actions/testdata" / f"{action}.yaml", _text(obj)


def _text(obj: dict[str, Any]) -> str:
    return yaml.safe_dump(obj, width=120)


if __name__ == "__main__":
    for path, text in written():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
