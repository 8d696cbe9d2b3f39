from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from dask_gitops.kube import DASKWORKERGROUPS, PODS, ApiError, ApiUnreachable, Informer
from dask_gitops.kube import informer as informer_module

from tests.support import virtual_time
from tests.support.memory_api import MemoryApi


@dataclass(frozen=True, slots=True)
class View:
    name: str
    uid: str
    app: str
    phase: str


def view(raw: dict[str, Any]) -> View:
    meta = raw["metadata"]
    if (meta.get("annotations") or {}).get("broken"):
        raise ValueError("cannot read this")
    return View(meta["name"], meta["uid"], meta["labels"].get("app", ""), raw["status"]["phase"])


def pod(name: str, app: str = "x") -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": []}}


class World:
    """A server, an informer on it, and what the informer said."""

    def __init__(self, **options: Any) -> None:
        self.api = MemoryApi()
        self.said: list[str] = []
        self.informer = Informer(
            self.api,
            PODS,
            view,
            on_change=self._note,
            indexers={"app": lambda pod: [pod.app], "phase": lambda pod: [pod.phase]},
            **options,
        )

    def _note(self, old: View | None, new: View | None) -> None:
        if old is None and new is not None:
            self.said.append(f"+{new.name}")
        elif new is None and old is not None:
            self.said.append(f"-{old.name}")
        elif new is not None:
            self.said.append(f"~{new.name}")

    @asynccontextmanager
    async def running(self) -> Any:
        task = asyncio.create_task(self.informer.run())
        await self.informer.synced.wait()
        await asyncio.sleep(0.1)
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.check_indexes()

    def check_indexes(self) -> None:
        """Every index says what a look at all objects says."""
        for name, indexer in self.informer._indexers.items():
            expected: dict[Any, set[str]] = {}
            for item in self.informer.all():
                for value in indexer(item):
                    expected.setdefault(value, set()).add(item.name)
            index = self.informer._indexes[name]
            assert {value: {key[1] for key in keys} for value, keys in index.items()} == expected
            for value, names in expected.items():
                assert {item.name for item in self.informer.by_index(name, value)} == names

    def names(self) -> list[str]:
        return sorted(item.name for item in self.informer.all())

    def check_right(self) -> None:
        """The cache is what the server has."""
        assert sorted(self.informer.all(), key=lambda item: item.name) == [
            view(raw) for raw in self.api.items(PODS)
        ]
        self.check_indexes()


def scenario(**options: Any) -> Callable[[Callable[[World], Any]], Callable[[], None]]:
    """Run a test coroutine in virtual time, with a world."""

    def wrap(main: Callable[[World], Any]) -> Callable[[], None]:
        def test() -> None:
            async def start() -> None:
                await main(World(**options))

            virtual_time.run(start())

        test.__doc__ = main.__doc__
        return test

    return wrap


@pytest.fixture(autouse=True)
def _same_dice() -> None:
    random.seed(1)


@scenario(page_size=2)
async def test_lists_in_pages_then_follows(world: World) -> None:
    for name in "abcde":
        world.api.put(PODS, pod(name))
    assert world.informer.age() == float("inf")
    async with world.running():
        assert world.said == ["+a", "+b", "+c", "+d", "+e"]
        assert world.api.count("list") == 3
        world.said.clear()
        world.api.put(PODS, pod("f"))
        world.api.edit(PODS, "ns", "a", {"status": {"phase": "Running"}})
        world.api.edit(PODS, "ns", "b", {"metadata": {"annotations": {"noise": "1"}}})
        world.api.remove(PODS, "ns", "c")
        await asyncio.sleep(1)
        assert world.said == ["+f", "~a", "-c"]  # b did not change in what we look at
        world.check_right()
        assert world.informer.get("ns", "c") is None
        assert [item.name for item in world.informer.by_index("phase", "Running")] == ["a"]
        assert world.informer.by_index("phase", "Nonsense") == []
        assert world.informer.size == 5


@scenario()
async def test_a_watch_that_ends_normally_resumes_without_a_list(world: World) -> None:
    async with world.running():
        for name in "abc":
            await asyncio.sleep(400)
            world.api.put(PODS, pod(name))
        await asyncio.sleep(1)
        world.check_right()
        assert world.api.count("list") == 1
        assert 5 <= world.api.count("watch") <= 7
        assert world.informer.errors == 0


@scenario()
async def test_deletions_missed_over_a_410_are_noticed(world: World) -> None:
    for name in "abcd":
        world.api.put(PODS, pod(name))
    async with world.running():
        world.said.clear()
        world.api.hold_events(PODS)
        world.api.remove(PODS, "ns", "a")
        world.api.remove(PODS, "ns", "b")
        world.api.put(PODS, pod("b"))  # another uid
        world.api.edit(PODS, "ns", "c", {"status": {"phase": "Failed"}})
        world.api.compact()
        world.api.release_events()
        await asyncio.sleep(60)
        assert world.said == ["-b", "+b", "~c", "-a"]
        assert world.api.count("list") == 2
        world.check_right()


@scenario(page_size=1)
async def test_410_in_mid_list_falls_back_to_one_page(world: World) -> None:
    for name in "abc":
        world.api.put(PODS, pod(name))
    world.api.fault("list", nth=2, error=ApiError(410, "Expired", "too old"))
    async with world.running():
        assert world.api.count("list") == 3  # first page, the 410, all at once
        world.check_right()
        assert len(world.said) == 3


@pytest.mark.parametrize(
    "error",
    [
        ApiUnreachable("reset", sent=True),
        ApiUnreachable("refused", sent=False),
        ApiError(500, "InternalError"),
        ApiError(429, "TooManyRequests", retry_after=3),
        ApiError(403, "Forbidden"),
        ApiError(404, "NotFound"),
        ApiError(410, "Expired"),
        ValueError("a bug"),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_recovers_from_every_error(verb: str, error: Exception) -> None:
    async def main() -> None:
        world = World()
        world.api.put(PODS, pod("a"))
        world.api.fault(verb, times=5, error=error)
        async with world.running():
            world.api.put(PODS, pod("b"))
            await asyncio.sleep(120)
            world.check_right()
            assert world.informer.errors == 5
            assert world.api.count() < 15

    virtual_time.run(main())


@scenario()
async def test_an_endless_error_is_retried_slowly_and_logged_once(world: World) -> None:
    fault = world.api.fault("list", times=None, error=ApiError(403, "Forbidden", "no rights"))
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    informer_module.log.addHandler(handler)
    task = asyncio.create_task(world.informer.run())
    await asyncio.sleep(3600)
    informer_module.log.removeHandler(handler)
    assert 200 < fault.hits < 600
    assert len(records) == 1
    assert not world.informer.synced.is_set()
    fault.cancel()
    await asyncio.sleep(31)
    assert world.informer.synced.is_set()
    task.cancel()


@scenario()
async def test_a_watch_that_ends_at_once_is_no_busy_loop(world: World) -> None:
    async with world.running():
        for _ in range(600):
            world.api.break_watches()
            await asyncio.sleep(0.1)
        assert world.api.count("watch") < 60


@scenario()
async def test_broken_watch_resumes_where_it_was(world: World) -> None:
    async with world.running():
        for name in "abc":
            world.api.break_watches(error=ApiUnreachable("reset", sent=True))
            world.api.put(PODS, pod(name))
            await asyncio.sleep(60)
            world.check_right()
        assert world.api.count("list") == 1


@scenario()
async def test_a_deaf_watch_is_noticed_and_opened_anew(world: World) -> None:
    """The connection is dead, without a word: long before a liveness probe would do something."""
    world.api.put(PODS, pod("a"))
    async with world.running():
        await asyncio.sleep(200)
        assert world.api.count("list") == 1  # bookmarks are enough to be believed
        assert world.api.count("watch") == 1
        assert world.informer.age() < 61
        world.api.deafen_watches()
        world.api.remove(PODS, "ns", "a")
        world.api.put(PODS, pod("b"))
        await asyncio.sleep(10)
        assert world.names() == ["a"]
        await asyncio.sleep(70)
        world.check_right()
        assert world.api.count("list") == 1  # the events since were waiting there
        assert world.api.count("watch") == 2


@scenario()
async def test_a_watch_that_is_deaf_again_means_a_list(world: World) -> None:
    """A watch from a place that a restored etcd does not know hears nothing, however often it is opened."""
    world.api.put(PODS, pod("a"))
    async with world.running():
        world.api.hold_events(PODS)
        world.api.remove(PODS, "ns", "a")
        world.api.put(PODS, pod("b"))
        await asyncio.sleep(80)
        assert world.api.count("watch") == 2
        assert world.names() == ["a"]
        await asyncio.sleep(80)
        world.check_right()
        assert world.api.count("list") == 2


@scenario()
async def test_a_server_that_sends_no_bookmarks(world: World) -> None:
    """None are owed: where nothing ever happens, looking now and then is all there is."""
    world.api.bookmark_s = 1e9
    world.api.put(PODS, pod("a"))
    async with world.running():
        oldest = 0.0
        for _ in range(3600):
            await asyncio.sleep(1)
            oldest = max(oldest, world.informer.age())
        world.check_right()
        assert oldest < 170  # not yet called deaf by the liveness probe
        assert world.api.count("list") <= 25
        assert world.api.count("watch") <= 50


@scenario()
async def test_our_own_writes_are_seen_at_once(world: World) -> None:
    async with world.running():
        world.api.hold_events(PODS)
        created = (await world.api.create(PODS, "ns", pod("a"))).object
        assert world.informer.observe(created)
        assert world.names() == ["a"]
        patch = {"metadata": {"labels": {"app": "y"}}}
        patched = await world.api.patch(PODS, "ns", "a", patch)
        assert world.informer.observe(patched)
        assert [item.name for item in world.informer.by_index("app", "y")] == ["a"]
        assert world.said == ["+a", "~a"]
        assert not world.informer.observe(created)  # older than what is known
        world.api.release_events()
        await asyncio.sleep(10)
        assert world.said == ["+a", "~a"]  # the echo is no news
        world.check_right()


@scenario()
async def test_the_watch_may_be_faster_than_the_answer(world: World) -> None:
    async with world.running():
        world.api.answer_latency_s = 5
        creating = asyncio.create_task(world.api.create(PODS, "ns", pod("a")))
        await asyncio.sleep(1)
        assert world.names() == ["a"]
        world.api.remove(PODS, "ns", "a")
        await asyncio.sleep(1)
        assert world.names() == []
        assert not world.informer.observe((await creating).object)  # it is dead already
        assert world.names() == []
        assert world.said == ["+a", "-a"]


@scenario()
async def test_a_late_answer_does_not_replace_the_successor(world: World) -> None:
    async with world.running():
        old = world.api.put(PODS, pod("a"))
        await asyncio.sleep(1)
        world.api.remove(PODS, "ns", "a")
        new = world.api.put(PODS, pod("a"))
        await asyncio.sleep(1)
        assert not world.informer.observe(old)
        found = world.informer.get("ns", "a")
        assert found is not None
        assert found.uid == new["metadata"]["uid"]


@scenario()
async def test_observed_successor_replaces_and_old_events_do_not_hurt(world: World) -> None:
    async with world.running():
        world.api.put(PODS, pod("a"))
        await asyncio.sleep(1)
        world.api.hold_events(PODS)
        world.api.edit(PODS, "ns", "a", {"status": {"phase": "Failed"}})
        world.api.remove(PODS, "ns", "a")
        new = (await world.api.create(PODS, "ns", pod("a"))).object
        world.said.clear()
        assert world.informer.observe(new)
        assert world.said == ["-a", "+a"]
        world.api.release_events()  # MODIFIED and DELETED of the old one, ADDED of the new one
        await asyncio.sleep(1)
        assert world.said == ["-a", "+a"]
        world.check_right()


@scenario()
async def test_forgotten_objects_stay_away(world: World) -> None:
    async with world.running():
        raw = world.api.put(PODS, pod("a"))
        await asyncio.sleep(1)
        world.api.hold_events(PODS)
        uid = raw["metadata"]["uid"]
        edited = world.api.edit(PODS, "ns", "a", {"status": {"phase": "Running"}})
        await world.api.delete(PODS, "ns", "a", uid=uid)
        assert not world.informer.forget("ns", "a", "another uid")
        assert world.names() == ["a"]
        assert world.informer.forget("ns", "a", uid)
        assert not world.informer.observe(edited)
        world.api.release_events()
        await asyncio.sleep(1)
        assert world.names() == []
        assert world.said == ["+a", "-a"]


@scenario(page_size=1)
async def test_a_list_begun_before_our_create_does_not_drop_it(world: World) -> None:
    world.api.put(PODS, pod("a"))
    world.api.put(PODS, pod("z"))
    async with world.running():
        world.api.hold_events(PODS)
        world.api.compact()
        world.api.latency_s = 5.0
        world.api.put(PODS, pod("b"))
        world.api.compact()
        world.api.release_events()  # 410: list anew, one page every 5 s
        await asyncio.sleep(8)
        assert world.api.count("list") == 2 + 2  # its snapshot is made, it waits for the next page
        world.api.latency_s = 0.0
        world.api.hold_events(PODS)
        mine = (await world.api.create(PODS, "ns", pod("mine"))).object
        world.informer.observe(mine)
        uid = world.api.items(PODS, "ns")[0]["metadata"]["uid"]
        assert await world.api.delete(PODS, "ns", "a", uid=uid) is not None
        world.informer.forget("ns", "a", uid)
        world.said.clear()
        await asyncio.sleep(30)
        assert world.informer.lists == 2
        assert world.names() == ["b", "mine", "z"]
        assert not [word for word in world.said if word in ("-mine", "+a", "+mine")]
        world.api.release_events()
        await asyncio.sleep(1)
        world.check_right()


@scenario(label_selector="app=x")
async def test_an_object_that_leaves_the_selector_may_come_back(world: World) -> None:
    async with world.running():
        world.api.put(PODS, pod("a"))
        for app in ["y", "x", "y", "x"]:
            world.api.edit(PODS, "ns", "a", {"metadata": {"labels": {"app": app}}})
            await asyncio.sleep(1)
            assert world.names() == (["a"] if app == "x" else [])
        assert world.said == ["+a", "-a", "+a", "-a", "+a"]


@scenario(field_selector="metadata.name=a")
async def test_one_object_alone(world: World) -> None:
    world.api.put(PODS, pod("b"))
    async with world.running():
        for name in "ca":
            world.api.put(PODS, pod(name))
        await asyncio.sleep(1)
        assert world.names() == ["a"]
        assert world.said == ["+a"]


@scenario()
async def test_history_that_goes_back_is_believed(world: World) -> None:
    """etcd restored from a backup: numbers are lower than ours, and yet they are the truth."""
    world.api.put(PODS, pod("a"))
    backup = world.api.snapshot()
    async with world.running():
        world.api.edit(PODS, "ns", "a", {"status": {"phase": "Running"}})
        for name in "bcd":
            world.api.put(PODS, pod(name))
        world.api.remove(PODS, "ns", "b")
        await asyncio.sleep(1)
        assert world.names() == ["a", "c", "d"]
        world.api.restore(backup)
        await asyncio.sleep(1)
        world.api.bookmark_s = 1e9  # nothing comes: our place in history does not exist
        world.api.deafen_watches()
        world.api.put(PODS, pod("e"))
        await asyncio.sleep(200)
        world.check_right()
        assert world.names() == ["a", "e"]


@scenario()
async def test_a_list_from_a_server_that_lags_behind_is_not_believed(world: World) -> None:
    """One API server of several may answer from yesterday: what was seen to be gone does not come back."""
    world.api.put(PODS, pod("a"))
    backup = world.api.snapshot()
    async with world.running():
        world.api.put(PODS, pod("b"))
        world.api.remove(PODS, "ns", "a")
        await asyncio.sleep(1)
        assert world.names() == ["b"]
        world.said.clear()
        world.api.stale_lists(backup, times=2)
        world.api.break_watches(error=ApiError(410, "Expired", "too old"))
        await asyncio.sleep(10)
        assert not world.said
        world.api.put(PODS, pod("c"))
        await asyncio.sleep(1)
        world.check_right()
        assert world.said == ["+c"]


@scenario()
async def test_an_unreadable_object_keeps_its_last_good_state(world: World) -> None:
    world.api.put(
        PODS, {**pod("bad"), "metadata": {**pod("bad")["metadata"], "annotations": {"broken": "1"}}}
    )
    world.api.put(PODS, pod("a"))
    async with world.running():
        assert world.names() == ["a"]
        world.api.edit(PODS, "ns", "a", {"metadata": {"annotations": {"broken": "1"}}})
        world.api.put(PODS, pod("b"))
        await asyncio.sleep(1)
        assert world.names() == ["a", "b"]
        assert world.informer.convert_errors == 2
        world.api.edit(
            PODS, "ns", "a", {"metadata": {"annotations": None}, "status": {"phase": "Running"}}
        )
        world.api.edit(PODS, "ns", "bad", {"metadata": {"annotations": None}})
        await asyncio.sleep(1)
        world.check_right()
        world.api.remove(PODS, "ns", "a")
        broken = pod("a")
        broken["metadata"]["annotations"] = {"broken": "1"}
        world.api.hold_events(PODS)
        world.api.put(PODS, broken)
        world.api.compact()
        world.api.release_events()
        await asyncio.sleep(10)
        assert world.names() == ["b", "bad"]  # the predecessor is gone, whatever follows it


def deep(name: str, levels: int = 150) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return {**pod(name), "spec": {"containers": [], "a": value}}


@scenario()
async def test_an_object_that_nests_too_deep_is_named_and_costs_no_other(world: World) -> None:
    """In a list, in a watch, and in the answer to a write; until it is as others, or gone."""
    named: list[str] = []
    world.informer.on_unreadable = lambda namespace, name: named.append(name)
    world.api.put(PODS, deep("listed"))
    world.api.put(PODS, pod("a"))
    async with world.running():
        assert world.names() == ["a", "listed"]  # others see that it is there
        world.api.put(PODS, deep("watched"))
        world.api.put(PODS, pod("b"))
        await asyncio.sleep(1)
        assert world.names() == ["a", "b", "listed", "watched"]
        world.api.hold_events(PODS)
        answer = await world.api.create(PODS, "ns", deep("made"))
        assert world.informer.observe(answer.object)
        assert named == ["listed", "watched", "made"]
        for name in named:
            unreadable = world.informer.unreadable("ns", name)
            assert unreadable is not None
            assert unreadable.why == "it nests deeper than 100 levels"
        assert world.informer.unreadable("ns", "a") is None
        world.api.release_events()
        world.api.edit(PODS, "ns", "a", {"spec": deep("a")["spec"]})  # what was good stays
        world.api.edit(PODS, "ns", "made", {"spec": {"a": None}})
        world.api.remove(PODS, "ns", "watched")
        await asyncio.sleep(1)
        assert world.names() == ["a", "b", "listed", "made"]
        world.check_right()
        world.api.hold_events(PODS)
        world.api.remove(PODS, "ns", "listed")
        world.api.compact()
        world.api.release_events()
        await asyncio.sleep(10)
        assert named == ["listed", "watched", "made", "a"]
        assert (world.informer.lists, world.informer.unreadables) == (2, 1)
        assert world.informer.convert_errors == 4  # states of objects


@scenario(cut_is_enough=True)
async def test_what_is_left_of_an_object_may_be_enough(world: World) -> None:
    world.api.put(PODS, deep("a"))
    async with world.running():
        assert world.names() == ["a"]
        assert world.informer.unreadables == 0


@scenario()
async def test_no_object_stops_the_informer(world: World) -> None:
    """However odd it is: an indexer fails, it has no identity, its version is a word."""
    world.informer._indexers["odd"] = lambda pod: [{"not": "hashable"}] if pod.app == "odd" else []
    world.informer._indexes["odd"] = {}
    world.api.put(PODS, pod("odd", app="odd"))
    world.api.put(PODS, pod("a"))
    async with world.running():
        assert world.names() == ["a"]
        for raw in ({}, {"metadata": None}, {"metadata": {"name": []}}, {"metadata": {"uid": {}}}):
            world.informer._event("ADDED", raw)
        nameless = {**pod("b")["metadata"], "uid": "u", "resourceVersion": "later"}
        world.informer._event("ADDED", {"metadata": nameless})
        world.api.put(PODS, pod("c"))
        await asyncio.sleep(1)
        assert world.names() == ["a", "c"]
        assert world.informer.errors == 0
        assert world.informer.lists == 1


@scenario()
async def test_a_failing_callback_does_not_stop_the_cache(world: World) -> None:
    def explode(old: View | None, new: View | None) -> None:
        raise RuntimeError("boom")

    world.informer.on_change = explode
    world.api.put(PODS, pod("a"))
    async with world.running():
        world.api.put(PODS, pod("b"))
        await asyncio.sleep(1)
        assert world.names() == ["a", "b"]
        assert world.informer.errors == 0


@scenario()
async def test_the_answer_of_the_scale_subresource_is_no_object(world: World) -> None:
    informer = Informer(world.api, DASKWORKERGROUPS, lambda raw: 1)
    with pytest.raises(ValueError, match="Scale"):
        informer.observe({"kind": "Scale", "metadata": {"name": "a"}})


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_end_right(seed: int) -> None:
    """Whatever happens, in whatever order: when it calms down, the cache is the server's state,
    the callbacks add up to the cache, and nothing that was deleted ever came back."""
    dice = random.Random(seed)

    async def main() -> None:
        world = World(page_size=dice.choice([1, 2, 500]))
        mirror: dict[str, str] = {}
        dead: set[str] = set()

        def follow(old: View | None, new: View | None) -> None:
            if old is not None:
                assert mirror.pop(old.name) == old.uid
                if new is None:
                    dead.add(old.uid)
            if new is not None:
                assert new.name not in mirror
                assert new.uid not in dead, "a deleted object came back"
                mirror[new.name] = new.uid

        problems: list[BaseException] = []

        def checked(old: View | None, new: View | None) -> None:
            try:
                follow(old, new)
            except AssertionError as error:
                problems.append(error)

        world.informer.on_change = checked
        api = world.api
        async with world.running():
            for _ in range(200):
                names = api.names(PODS)
                move = dice.choice(
                    [
                        "put",
                        "put",
                        "edit",
                        "edit",
                        "remove",
                        "create",
                        "create",
                        "late",
                        "sleep",
                        "sleep",
                        "break",
                        "hold",
                        "release",
                        "compact",
                        "fault",
                        "delete",
                    ]
                )
                fresh = f"p{dice.randrange(12)}"
                api.latency_s = dice.choice([0, 0, 0.5])
                if move == "put" and fresh not in names:
                    api.put(PODS, pod(fresh))
                elif move == "edit" and names:
                    phase = {"phase": str(dice.random())}
                    raw = api.edit(PODS, "ns", dice.choice(names), {"status": phase})
                    if dice.random() < 0.5:
                        world.informer.observe(raw)
                elif move == "remove" and names:
                    api.remove(PODS, "ns", dice.choice(names))
                elif move == "delete" and names:
                    raw = api.items(PODS)[0]
                    meta = raw["metadata"]
                    await api.delete(PODS, "ns", meta["name"], uid=meta["uid"])
                    world.informer.forget("ns", meta["name"], meta["uid"])
                elif move == "create" and fresh not in names:
                    world.informer.observe((await api.create(PODS, "ns", pod(fresh))).object)
                elif move == "late" and names:
                    raw = api.items(PODS)[0]
                    loop = asyncio.get_running_loop()
                    loop.call_later(dice.random() * 20, world.informer.observe, raw)
                elif move == "sleep":
                    await asyncio.sleep(dice.random() * 5)
                elif move == "break":
                    error = dice.choice([None, ApiUnreachable("reset", sent=True)])
                    api.break_watches(error=error)
                elif move == "hold":
                    api.hold_events(PODS)
                elif move == "release":
                    api.release_events()
                elif move == "compact":
                    api.compact()
                elif move == "fault":
                    api.fault(dice.choice(["list", "watch"]), nth=dice.randrange(1, 3))
            api.latency_s = 0
            api.release_events()
            await asyncio.sleep(400)
            world.check_right()
            assert mirror == {item.name: item.uid for item in world.informer.all()}
        assert not problems, problems

    virtual_time.run(main())
