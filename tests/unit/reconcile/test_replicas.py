"""One number of workers, many who write it: what the controller makes of each, in memory.

docs/replicas.md has the whole table; tests/cluster/test_replicas.py walks it with the real tools.
"""

from __future__ import annotations

from typing import Any

from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS

from tests.support.harness import NS, Harness
from tests.support.memory_api import Request
from tests.unit.reconcile.test_scenarios import GROUP, ready, replicas, scenario, up

JSON = dict[str, Any]
NO_NUMBER: JSON = {"worker": {"replicas": None}}


def overridden(h: Harness) -> tuple[str, str, str]:
    return h.condition(DASKCLUSTERS, "demo", "ReplicasOverridden")


async def scale(h: Harness, number: int, name: str = GROUP, res: Any = DASKWORKERGROUPS) -> None:
    """As ``kubectl scale`` does."""
    body = {"spec": {"replicas": number}}
    await h.api.client("kubectl").patch(res, NS, name, body, subresource="scale")


async def group_up(h: Harness, number: int | None) -> None:
    """A group of its own, ``extra``, beside a default group of one worker."""
    await up(h, 1)
    h.group("extra", worker={} if number is None else {"replicas": number})
    await h.settle()


# ---- a number that is taken away is held


@scenario
async def test_held_while_a_worker_is_being_replaced(h: Harness) -> None:
    await group_up(h, 5)
    h.delete_pod(h.workers("extra")[2])
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (5, 5)


@scenario
async def test_held_while_all_workers_are_gone(h: Harness) -> None:
    await group_up(h, 3)
    for name in h.workers("extra"):
        h.api.remove(PODS, NS, name)
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (3, 3)


@scenario
async def test_zero_is_held_as_well(h: Harness) -> None:
    await group_up(h, 0)
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.settle()
    assert (replicas(h, "extra"), h.workers("extra")) == (0, [])


@scenario
async def test_zero_is_held_without_any_status(h: Harness) -> None:
    await group_up(h, 0)
    h.kill()
    h.api.edit(DASKWORKERGROUPS, NS, "extra", {"status": None, "spec": NO_NUMBER})
    h.start()
    await h.settle()
    assert replicas(h, "extra") == 0


@scenario
async def test_held_while_the_workers_change(h: Harness) -> None:
    await group_up(h, 3)
    h.edit(
        DASKWORKERGROUPS,
        "extra",
        {"worker": {"replicas": None, "spec": {"containers": [{"name": "worker", "image": "x"}]}}},
    )
    await h.settle()
    assert replicas(h, "extra") == 3


@scenario
async def test_held_in_the_middle_of_a_roll_out(h: Harness) -> None:
    await group_up(h, 4)
    h.schedulers.running = set(h.schedulers.workers())
    spec = {"containers": [{"name": "worker", "image": "x"}]}
    h.edit(DASKWORKERGROUPS, "extra", {"worker": {"spec": spec}})
    await h.pass_time(10)
    assert len(h.workers("extra")) == 5  # a new one, and an old one that still works
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.pass_time(10)
    h.schedulers.running.clear()
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (4, 4)


@scenario
async def test_who_was_leaving_leaves(h: Harness) -> None:
    await group_up(h, 5)
    h.schedulers.running = set(h.schedulers.workers())
    await scale(h, 2, "extra")
    await h.pass_time(5)
    assert len(h.schedulers.leaving) == 3
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.pass_time(5)
    h.schedulers.running.clear()
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (2, 2)


@scenario
async def test_nobody_has_to_leave_because_a_number_is_taken_away(h: Harness) -> None:
    await group_up(h, 2)
    check = h.api.quota(NS, PODS, 7)
    await scale(h, 20, "extra")
    await h.pass_time(30)
    live = len(h.workers("extra"))
    assert live == 5
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.pass_time(30)
    h.api.admission.remove(check)
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (live, live)


@scenario
async def test_a_new_group_has_one_worker_also_if_it_was_edited_before_anyone_looked(
    h: Harness,
) -> None:
    await up(h, 0)
    h.kill()
    h.group("extra", worker={"replicas": 4})
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    h.start()
    await h.settle()
    assert replicas(h, "extra") == 1


@scenario
async def test_a_number_that_comes_while_one_is_held_wins(h: Harness) -> None:
    await group_up(h, 2)

    def scaled_meanwhile(request: Request) -> None:
        if request.subresource == "scale" and request.client == "controller":
            h.api.admission.remove(scaled_meanwhile)
            h.edit(DASKWORKERGROUPS, "extra", {"worker": {"replicas": 7}})

    h.api.admission.append(scaled_meanwhile)
    h.edit(DASKWORKERGROUPS, "extra", NO_NUMBER)
    await h.settle()
    assert (replicas(h, "extra"), len(h.workers("extra"))) == (7, 7)


# ---- the cluster's number and the group's


@scenario
async def test_the_clusters_number_is_copied_once(h: Harness) -> None:
    """A leader that was asleep copies nothing over what a person wrote since."""
    await up(h, 3)

    def copied_and_scaled_meanwhile(request: Request) -> None:
        if (
            request.verb == "patch"
            and request.resource == DASKWORKERGROUPS
            and not request.subresource
        ):
            h.api.admission.remove(copied_and_scaled_meanwhile)
            note = {"annotations": {"dask.org/cluster-replicas": "5"}}
            h.api.edit(
                DASKWORKERGROUPS, NS, GROUP, {"metadata": note, "spec": {"worker": {"replicas": 8}}}
            )

    h.api.admission.append(copied_and_scaled_meanwhile)
    await scale(h, 5, "demo", DASKCLUSTERS)
    await h.settle()
    assert (replicas(h), len(h.workers())) == (8, 8)
    assert overridden(h)[0] == "True"


@scenario
async def test_a_number_taken_from_the_cluster_leaves_the_groups_alone(h: Harness) -> None:
    await up(h, 3)
    await scale(h, 6)
    await h.settle()
    assert overridden(h)[0] == "True"
    h.edit(DASKCLUSTERS, "demo", NO_NUMBER)
    await h.settle()
    assert (replicas(h), len(h.workers()), overridden(h)[0]) == (6, 6, "")
    h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 3}})  # a number after none is news
    await h.settle()
    assert (replicas(h), len(h.workers()), overridden(h)[0]) == (3, 3, "")


@scenario
async def test_an_unchanged_number_of_the_cluster_is_no_news(h: Harness) -> None:
    await up(h, 3)
    await scale(h, 6)
    await scale(h, 3, "demo", DASKCLUSTERS)
    h.edit(DASKCLUSTERS, "demo", {"drainTimeout": 60})
    await h.settle()
    assert (replicas(h), overridden(h)) == (
        6,
        (
            "True",
            "ScaledElsewhere",
            "spec.worker.replicas is 3, the worker group was scaled to 6",
        ),
    )


@scenario
async def test_scaling_a_cluster_that_gives_no_number(h: Harness) -> None:
    await up(h, None)
    await scale(h, 4)
    await h.settle()
    assert overridden(h)[0] == ""
    await scale(h, 2, "demo", DASKCLUSTERS)
    await h.settle()
    assert (replicas(h), len(h.workers())) == (2, 2)


@scenario
async def test_the_number_of_an_inline_group_is_treated_alike(h: Harness) -> None:
    await up(h, 1, workerGroups=[{"name": "gpu", "worker": {"replicas": 2}}])
    await scale(h, 4, "demo-gpu")
    await h.settle()
    assert (replicas(h, "demo-gpu"), overridden(h)[2]) == (
        4,
        "spec.workerGroups[gpu].worker.replicas is 2, the worker group was scaled to 4",
    )
    h.edit(DASKCLUSTERS, "demo", {"workerGroups": [{"name": "gpu", "worker": {}}]})
    await h.settle()
    assert (replicas(h, "demo-gpu"), overridden(h)[0]) == (4, "")
    h.edit(DASKCLUSTERS, "demo", {"workerGroups": [{"name": "gpu", "worker": {"replicas": 3}}]})
    await h.settle()
    assert (replicas(h, "demo-gpu"), len(h.workers("demo-gpu"))) == (3, 3)


@scenario
async def test_a_default_group_that_a_person_declared_goes_by_itself_and_the_cluster_says_so(
    h: Harness,
) -> None:
    h.group(GROUP, worker={"replicas": 2})
    await up(h, 5)
    assert (replicas(h), len(h.workers()), ready(h)) == (2, 2, ("True", "ClusterReady"))
    assert overridden(h) == (
        "True",
        "GroupOfItsOwn",
        "worker group demo-default was not made for this cluster: it goes by its own spec, not by spec.worker",
    )
    assert h.api.requests("patch", DASKWORKERGROUPS, subresource=None) == []
