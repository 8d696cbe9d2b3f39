"""What is done to a cluster that is there, with an API server in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dask_gitops.client import actions
from dask_gitops.client.adaptive import Adapting
from dask_gitops.client.errors import ClusterExistsError, WorkerGroupNotFoundError
from dask_gitops.client.session import Session
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS, ApiError

from tests.support.memory_api import MemoryApi, Request
from tests.unit.client.test_session import nobody, running, session, story

JSON = dict[str, Any]
MAIN: JSON = {"name": "worker", "image": "x:1", "args": ["dask-worker"], "env": [{"name": "A"}]}
WORKER: JSON = {"replicas": 2, "spec": {"containers": [MAIN], "nodeSelector": {"a": "b"}}}


def play(told: Callable[[MemoryApi, Session], Awaitable[None]]) -> MemoryApi:
    """With a cluster that has the groups default and more, beside another cluster's."""

    async def main(api: MemoryApi) -> None:
        metadata = {"name": "demo", "namespace": "team-b"}
        api.put(DASKCLUSTERS, {"metadata": metadata, "spec": {"worker": WORKER}})
        for name, cluster in (("demo-default", "demo"), ("demo-more", "demo"), ("demo-x", "other")):
            group(api, name, cluster)
        running(api)
        one = session(api)
        await one.start()
        try:
            await told(api, one)
        finally:
            await one.close(delete=False)

    return story(main, nobody)


def group(api: MemoryApi, name: str, cluster: str) -> None:
    spec = {"cluster": cluster, "worker": WORKER}
    api.put(DASKWORKERGROUPS, {"metadata": {"name": name, "namespace": "team-b"}, "spec": spec})


def autoscaler(api: MemoryApi, name: str, **spec: Any) -> None:
    metadata = {"name": name, "namespace": "team-b"}
    api.put(DASKAUTOSCALERS, {"metadata": metadata, "spec": {"cluster": "demo", **spec}})


def replicas(api: MemoryApi, name: str) -> int:
    found = api.find(DASKWORKERGROUPS, "team-b", name)
    assert found is not None
    return int(found["spec"]["worker"]["replicas"])


def test_scale_takes_the_groups_autoscaler_away_and_no_other() -> None:
    async def told(api: MemoryApi, one: Session) -> None:
        autoscaler(api, "whatever")
        autoscaler(api, "of-more", workerGroup="demo-more")
        autoscaler(api, "of-another", cluster="other")
        await actions.scale(one, 5, "default")
        assert replicas(api, "demo-default") == 5
        assert api.names(DASKAUTOSCALERS) == ["of-another", "of-more"]
        await actions.scale(one, 0, "more")
        assert replicas(api, "demo-more") == 0
        assert api.names(DASKAUTOSCALERS) == ["of-another"]
        words = "cluster demo has no worker group 'x'; it has: default, more"
        for action in (actions.scale(one, 1, "gpu"), actions.delete_group(one, "gpu")):
            with pytest.raises(WorkerGroupNotFoundError) as caught:
                await action
            assert str(caught.value) == words.replace("'x'", "'gpu'")

    play(told)


@pytest.mark.parametrize("why", ["no such group", "no right to scale"])
def test_what_cannot_be_scaled_keeps_its_autoscaler(why: str) -> None:
    async def told(api: MemoryApi, one: Session) -> None:
        def forbidden(request: Request) -> None:
            if request.subresource == "scale":
                raise ApiError(403, "Forbidden", "no")

        name = "gpu" if why == "no such group" else "more"
        autoscaler(api, "mine", workerGroup=f"demo-{name}")
        if why == "no right to scale":
            api.admission.append(forbidden)
        with pytest.raises((WorkerGroupNotFoundError, ApiError)):
            await actions.scale(one, 3, name)
        assert api.names(DASKAUTOSCALERS) == ["mine"]

    play(told)


def test_adapt_changes_what_sizes_the_group_or_makes_it() -> None:
    async def told(api: MemoryApi, one: Session) -> None:
        await actions.adapt(one, "default", {"minimum": 0, "maximum": 3})
        made = api.find(DASKAUTOSCALERS, "team-b", "demo")
        assert made is not None
        assert made["spec"] == {"cluster": "demo", "minimum": 0, "maximum": 3}
        assert made["metadata"]["ownerReferences"][0]["uid"] == one.uid
        await actions.adapt(one, "default", {"minimum": 1, "maximum": 9, "interval": 2})
        autoscaler(api, "whatever", workerGroup="demo-more", maximum=2)
        await actions.adapt(one, "more", {"maximum": 4})
        assert api.names(DASKAUTOSCALERS) == ["demo", "whatever"]
        maximums = [each["spec"]["maximum"] for each in api.items(DASKAUTOSCALERS)]
        assert maximums == [9, 4]
        await actions.stop_adapting(one, "more")
        assert api.names(DASKAUTOSCALERS) == ["demo"]
        with pytest.raises(WorkerGroupNotFoundError):
            await actions.adapt(one, "gpu", {"maximum": 4})

    play(told)


def worker(**given: Any) -> Callable[[JSON], JSON]:
    names = ("n_workers", "image", "resources", "worker_command", "env", "custom_spec")
    return actions.worker_of(*(given.get(name) for name in (*names, "worker_template")))


@pytest.mark.parametrize(
    ("given", "main", "count"),
    [
        ({}, {}, None),
        ({"n_workers": 0, "env": {}}, {"env": []}, 0),
        ({"n_workers": 3, "image": "y:2"}, {"image": "y:2"}, 3),
        (
            {"worker_template": {"containers": [{"name": "worker", "env": [{"name": "B"}]}]}},
            {"env": [{"name": "A"}, {"name": "B"}]},
            None,
        ),
    ],
)
def test_another_group_is_like_the_clusters_own(given: JSON, main: JSON, count: Any) -> None:
    """No workers and no variables mean what they say."""
    made = worker(**given)(WORKER)
    assert made["spec"]["containers"] == [{**MAIN, **main}]
    assert made["spec"]["nodeSelector"] == {"a": "b"}
    assert made.get("replicas") == count
    assert WORKER["replicas"] == 2


def test_groups_come_and_go() -> None:
    async def told(api: MemoryApi, one: Session) -> None:
        await actions.add_group(one, "gpu", worker(n_workers=1))
        made = api.find(DASKWORKERGROUPS, "team-b", "demo-gpu")
        assert made is not None
        assert made["spec"]["cluster"] == "demo"
        assert made["metadata"]["ownerReferences"][0]["uid"] == one.uid
        with pytest.raises(ClusterExistsError) as caught:
            await actions.add_group(one, "gpu", worker(n_workers=1))
        assert str(caught.value) == "cluster demo already has the worker group 'gpu'"
        await actions.delete_group(one, "gpu")
        assert api.names(DASKWORKERGROUPS) == ["demo-default", "demo-more", "demo-x"]
        with pytest.raises(WorkerGroupNotFoundError):
            await actions.delete_group(one, "x")  # another cluster's

    play(told)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"minimum": 5, "maximum": 2}, ValueError, "minimum 5 is more than maximum 2"),
        ({"maximum": -1}, ValueError, "maximum is -1; use 0 or more"),
        ({"maximum": "4"}, TypeError, "maximum is '4'; use a whole number"),
        (
            {},
            ValueError,
            "adapt needs maximum=: the most workers that may be paid for; or set "
            "kubernetes.count.max",
        ),
        (
            {"maximum": 1, "adaptive": object},
            TypeError,
            "adaptive scaling runs in the controller: a class of your own cannot be used; "
            "minimum, maximum, interval and wait_count can",
        ),
        (
            {"maximum": 1, "interval": "1e400"},
            ValueError,
            "interval is '1e400'; use seconds, or '5 minutes'",
        ),
        (
            {"maximum": 1, "unknown": {"maxmum": 2}},
            TypeError,
            "adapt has no argument 'maxmum'; did you mean 'maximum'?",
        ),
    ],
)
def test_bounds_that_cannot_be(given: JSON, kind: type[Exception], words: str) -> None:
    default = {"minimum": None, "maximum": None, "adaptive": None, "unknown": {}}
    more = {"worker_group": "default", "interval": None, "wait_count": None, "ask": print}
    with pytest.raises(kind) as caught:
        Adapting.of(**{**default, **more, **given})
    assert str(caught.value) == words


def test_which_logs() -> None:
    pods = [pod("demo-scheduler", "scheduler"), pod("a", "worker"), pod("b", "worker")]
    info = {"workers": {"tcp://10.0.0.1:1": {"name": "a"}, "tcp://10.0.0.2:1": {"name": "b"}}}

    def chosen(scheduler: bool, workers: Any) -> list[str]:
        which = actions.which_pods(scheduler, workers, info)
        return [each["metadata"]["name"] for each in pods if which(each)]

    assert chosen(True, True) == ["demo-scheduler", "a", "b"]
    assert chosen(True, False) == ["demo-scheduler"]
    assert chosen(False, ["tcp://10.0.0.2:1"]) == ["b"]
    assert chosen(False, ["a"]) == ["a"]


def pod(name: str, component: str) -> JSON:
    return {"metadata": {"name": name, "labels": {"dask.org/component": component}}}
