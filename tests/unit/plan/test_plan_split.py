"""How work is shared out: docs/autoscaling.md, with its example, and what it does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dask_gitops.plan.demand import Kind, Process
from dask_gitops.plan.split import LOOKS, MAKES, Crew, declared_threads, share, workers_for_memory

from tests.unit.objects import group

GPU = (("GPU", 1.0),)
GB = 10**9


def process(
    tasks: int = 0, *, threads: int = 1, held: int = 0, limit: int = GB, **resources: float
) -> Process:
    return Process("10.0.0.1", "w", threads, limit, held, int(held > 0), tasks, 0, resources)


def crew(name: str, pods: int = 0, maximum: int | None = 10, **more: Any) -> Crew:
    each = more.pop("each", process())
    return Crew(name, pods=((each,),) * pods, maximum=maximum, **more)


def kind(tasks: int, seconds: float, needs: Any = ()) -> Kind:
    return Kind(needs, tasks, 0, tasks * seconds)


def work(crews: list[Crew], *kinds: Kind) -> dict[str, float]:
    return {name: round(s.work, 3) for name, s in share(crews, kinds, 5.0).items()}


def table(root: Path, head: str) -> list[list[str]]:
    """Rows of the table in the docs that begins with this cell."""
    lines = (root / "docs/autoscaling.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_example_of_the_docs(root: Path) -> None:
    kinds = []
    for count, needs, takes, threads, _ in table(root, "tasks"):
        one = kind(int(count), float(takes.split()[0]), () if needs == "-" else GPU)
        assert min(one.tasks, one.seconds / 5) == int(threads)
        kinds.append(one)
    two = process(threads=2)
    crews, wanted = [], {}
    for name, limits, threads, at_once, workers in table(root, "group"):
        maximum = None if limits == "none" else int(limits.split()[-1])
        offers = {"GPU": 1.0} if name == "gpu" else {}
        pods = 4 if maximum is None else 0
        one_crew = crew(name, pods, maximum, threads=2, offers=offers, each=two)
        assert one_crew.at_once(GPU if offers else ()) == int(at_once[0])
        crews.append(one_crew)
        wanted[name] = int(workers.split(",")[0])
        assert wanted[name] == int(threads) / int(at_once[0])
    found = work(crews, *kinds)
    assert found == {n: w for n, w in wanted.items() if n != "fixed"}
    given = {
        name: int(number)
        for row in table(root, "tasks")
        for name, number in (some.split() for some in row[4].split(", "))
    }
    assert given == {row[0]: int(row[2]) for row in table(root, "group")}


@pytest.mark.parametrize(
    ("one", "workers"),
    [
        (kind(12, 0.5), 1.2),  # short: many on one worker
        (kind(12, 5), 12),
        (kind(12, 500), 12),  # a few long ones do not ask for more than one each
        (kind(1, 0), 0.001),  # somebody must do it
        (kind(100_000, 0.0005), 10),
    ],
)
def test_work_in_time(one: Kind, workers: float) -> None:
    assert work([crew("a", maximum=20)], one) == {"a": workers}


def test_a_group_with_resources_is_for_those_who_need_them() -> None:
    cpu, gpu = crew("demo-default"), crew("gpu", offers={"GPU": 1.0})
    assert work([cpu, gpu], kind(5, 60)) == {"demo-default": 5, "gpu": 0}
    assert work([cpu, gpu], kind(5, 60, GPU)) == {"demo-default": 0, "gpu": 5}
    # Not even when nobody else may grow.
    fixed = crew("demo-default", 0, None)
    assert work([fixed, gpu], kind(5, 60)) == {"gpu": 0}
    # Unless there are no others.
    assert work([gpu], kind(5, 60)) == {"gpu": 5}


def test_all_needed_resources_and_enough_of_each() -> None:
    both = (("GPU", 2.0), ("NVME", 1.0))
    small = crew("a", offers={"GPU": 1.0, "NVME": 1.0})
    big = crew("b", offers={"GPU": 4.0, "NVME": 1.0}, threads=8)
    assert work([small, big], kind(3, 60, both)) == {"a": 0, "b": 3}  # one NVME each
    assert work([small, big], kind(4, 60, (("GPU", 2.0),))) == {"a": 0, "b": 2}
    assert work([small], kind(3, 60, both)) == {"a": 0}


def test_first_those_that_are_there_anyway_then_in_order_up_to_the_maximum() -> None:
    crews = [crew("demo-default", maximum=2), crew("b", 3, None), crew("c", maximum=4)]
    assert work(crews, kind(3, 60)) == {"demo-default": 0, "c": 0}
    assert work(crews, kind(4, 60)) == {"demo-default": 1, "c": 0}
    assert work(crews, kind(8, 60)) == {"demo-default": 2, "c": 3}
    # More than all may do: the first one says that it is at its maximum.
    assert work(crews, kind(19, 60)) == {"demo-default": 12, "c": 4}


def test_kinds_share_a_worker() -> None:
    one = crew("a", offers={"A": 1.0, "B": 1.0}, threads=4)
    some = [kind(2, 1, (("A", 1.0),)), kind(3, 1, (("B", 1.0),))]
    assert work([one], *some) == {"a": 1.0}


def test_threads_and_resources_as_they_are() -> None:
    two = crew("a", 2, each=process(threads=4, GPU=2.0), offers={"GPU": 1.0})
    assert two.at_once(()) == 4
    assert two.at_once(GPU) == 2
    several = Crew("a", pods=((process(threads=2), process(threads=2)),))
    assert several.at_once(()) == 4
    odd = Crew("a", {"GPU": 1.0}, pods=((process(),),))  # it declares what it does not have
    assert odd.at_once(GPU) == 1


@pytest.mark.parametrize(
    ("container", "threads"),
    [
        ({}, 1),
        ({"args": ["dask", "worker", "--nthreads", "4"]}, 4),
        ({"args": ["dask", "worker", "--nworkers=2", "--nthreads=3"]}, 6),
        ({"command": ["bash", "-c", "exec dask worker --nthreads 2"]}, 2),
        ({"resources": {"limits": {"cpu": "2500m"}}}, 3),
        ({"resources": {"limits": {"cpu": 2}}}, 2),
        ({"args": ["--nthreads", "7"], "resources": {"limits": {"cpu": "2"}}}, 7),
        ({"args": ["--nthreads", "many"], "resources": {"limits": {"cpu": "?"}}}, 1),
        ({"args": ["--nthreads", "0"]}, 1),
    ],
)
def test_threads_of_an_empty_group(container: Any, threads: int) -> None:
    spec = {"worker": {"spec": {"containers": [{"name": "worker", **container}]}}}
    assert declared_threads(group(spec)) == threads


@pytest.mark.parametrize(
    ("container", "pod", "threads"),
    [
        ({"requests": {"cpu": 8}}, {}, 8),
        ({"requests": {"cpu": "2500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}, {}, 3),
        ({"requests": {"cpu": 2}, "limits": {"cpu": 4}}, {"limits": {"cpu": 16}}, 4),
        ({"requests": {"cpu": 2}}, {"limits": {"cpu": 16}}, 2),
        ({}, {"limits": {"cpu": "16"}, "requests": {"cpu": 8}}, 16),
        ({}, {"requests": {"cpu": "8"}}, 8),
        ({"limits": {"cpu": None}}, {"limits": None}, 1),
        ({"limits": {"cpu": "many"}}, {}, 1),
    ],
)
def test_threads_as_kubernetes_grants_them(container: Any, pod: Any, threads: int) -> None:
    spec = {"resources": pod, "containers": [{"name": "worker", "resources": container}]}
    assert declared_threads(group({"worker": {"spec": spec}})) == threads


def test_memory() -> None:
    assert workers_for_memory(crew("a", 4), []) == 0
    assert workers_for_memory(crew("a", 4, each=process(held=1)), []) == 1
    assert workers_for_memory(crew("a", 4, each=process(held=GB * 3 // 10)), []) == 2
    assert workers_for_memory(crew("a", 4, each=process(held=GB * 9 // 10)), []) == 6
    assert workers_for_memory(crew("a", 4, each=process(held=GB, limit=0)), []) == 1


def test_results_on_an_expensive_worker_move_to_others_with_room() -> None:
    gpu = crew("gpu", 2, each=process(held=GB // 2, GPU=1.0), offers={"GPU": 1.0})
    assert workers_for_memory(gpu, [crew("demo-default")]) == 2  # nobody there
    assert workers_for_memory(gpu, [crew("demo-default", 1)]) == 1  # room for 0.6 GB
    assert workers_for_memory(gpu, [crew("demo-default", 2)]) == 0
    assert workers_for_memory(gpu, [crew("demo-default", 2, each=process(held=GB // 2))]) == 2
    assert workers_for_memory(gpu, [crew("demo-default", 1, each=process(limit=0))]) == 0
    assert workers_for_memory(gpu, [crew("other", 2, offers={"GPU": 1.0})]) == 2


def test_a_scheduler_may_say_anything() -> None:
    odd = process(10**18, threads=10**18, held=10**18, limit=1, GPU=-5.0, X=1e-300)
    some = [Kind(GPU, 10**18, 10**18, 1e300), Kind((("X", 1e300),), 1, 1, 1e300), kind(0, 0)]
    one = Crew("a", {"GPU": 1.0, "X": 1e300}, pods=((odd,),), maximum=5)
    found = share([one, crew("b", 1, None, each=odd)], some, 0.001)["a"].work
    assert 5 <= found < 1e19
    assert workers_for_memory(one, []) > 1


def test_busy_is_a_worker_with_tasks_or_actors() -> None:
    idle, acting = process(), Process("h", "n", 1, GB, 0, 0, 0, 1)
    assert Crew("a", pods=((idle, process(1)), (idle,), (acting,))).busy == 2


# ---- what is alike counts as one


def test_kinds_of_the_same_needs_are_shared_out_as_they_stand() -> None:
    """One long task and many short ones are no thousand long ones."""
    some = [kind(1, 1000), kind(1000, 0.001), kind(2, 50, GPU), kind(3, 50, GPU)]
    crews = [crew("plain", maximum=100), crew("gpu", maximum=100, offers={"GPU": 1.0})]
    assert work(crews, *some) == {"plain": 1.2, "gpu": 5}
    shares = share(crews, some, 5.0)
    assert (shares["plain"].waiting, shares["gpu"].waiting) == (1001, 5)


def test_processes_that_differ_count_as_many_as_they_are() -> None:
    two = Crew("x", pods=((process(threads=1),), (process(threads=3),)), maximum=100)
    assert two.at_once(()) == 2
    # Of very many different ones, the most frequent stand for all.
    odd = tuple((process(threads=n),) for n in range(100, 200))
    many = Crew("x", pods=((process(threads=2),),) * 900 + odd, maximum=100)
    assert 2 <= many.at_once(()) < 4
    assert len(many.makes) == MAKES


def test_beyond_what_can_be_looked_at_the_heaviest_count() -> None:
    needs = [tuple((f"r{m}", n + 1.0) for m in range(20)) for n in range(200)]
    kinds = [kind(n + 1, 5, need) for n, need in enumerate(needs)]
    offers = dict.fromkeys((f"r{m}" for m in range(20)), 1000.0)
    crews = [crew(f"c{n}", maximum=10**6, offers=offers, threads=10**6) for n in range(400)]
    found = share(crews, kinds, 5.0)
    least = LOOKS // (21 * len(crews))
    assert found["c0"].waiting == sum(range(200, 200 - least, -1))
