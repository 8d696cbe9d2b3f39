"""The demo's roll-out: what it asks of Dask, with a real scheduler, and what it takes for a success, with a cluster
that is played."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from ci.demo import places, story
from ci.demo.shell import Problem
from ci.demo.steps import Step, Steps

JSON = dict[str, Any]
COUNT = 4
IMAGES = {places.CONTROLLER: "c:1", places.DASK: "d:1"}


# ---- inside the pod, with a real scheduler and two workers


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[JSON]:
    """The names of inside.py, connected; what only its array and dataframe need is not there."""
    for name in ("dask.array", "dask.dataframe", "numpy", "pandas"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    names: JSON = {}
    exec(Path(story.__file__).with_name("inside.py").read_text(encoding="utf-8"), names)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        names["connect"](cluster.scheduler_address, 2)
        names["cluster"] = cluster
        yield names
        names["client"].close()


@pytest.mark.filterwarnings("ignore")  # what Dask warns of is not ours
def test_a_computation_goes_on(inside: JSON) -> None:
    assert inside["go_on"](8, 0.05) == 0
    while inside["go_on"](8, 0.05) < 20:
        pass
    tasks = len(inside["going"])
    found = inside["come_to_an_end"]()
    assert tasks >= 28
    assert found == {"results": [n * n for n in range(tasks)], "starts": [1] * tasks}
    assert inside["go_on"](1, 0) == 0, "it begins anew"


@pytest.mark.filterwarnings("ignore")
def test_the_end_of_a_worker_is_told(inside: JSON) -> None:
    first = sorted(inside["names"]())[0]
    inside["client"].retire_workers([first])
    (event,) = inside["removed"]()
    assert event == end(first)


@pytest.mark.filterwarnings("ignore")
def test_a_second_start_is_counted(inside: JSON) -> None:
    """A worker that ends without a word takes its results along; Dask computes them again, and all are right."""
    inside["go_on"](6, 0.01)
    while inside["go_on"](0) < 6:
        pass
    worker = inside["cluster"].workers[0]
    inside["cluster"].sync(worker.close, nanny=False)
    found = inside["come_to_an_end"]()
    assert found["results"] == [n * n for n in range(6)]
    assert max(found["starts"]) == 2
    (event,) = inside["removed"]()
    assert event["lost-computed-tasks"] == found["starts"].count(2)


@pytest.mark.filterwarnings("ignore")
def test_a_variable_of_the_workers(inside: JSON, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inside["variable"]("RELEASE") == [""]
    monkeypatch.setenv("RELEASE", "2")
    assert inside["variable"]("RELEASE") == ["2"]


# ---- the story, in a cluster that is played


def pod(uid: str, value: str = story.VALUE) -> JSON:
    env = [{"name": story.VARIABLE, "value": value}] if value else []
    return {"metadata": {"uid": uid}, "spec": {"containers": [{"env": env}]}}


def ready(up: bool, message: str, **counts: int) -> JSON:
    condition = {"type": "Ready", "status": str(up), "message": message}
    return {"status": {"conditions": [condition], **counts}}


def end(worker: str, **changes: Any) -> JSON:
    event = {
        "worker": worker,
        "expected": True,
        "lost-computed-tasks": 0,
        "lost-scattered-tasks": 0,
    }
    return event | changes


class Played:
    """Kubernetes and Dask at once: one worker more is new each time somebody looks."""

    def __init__(self) -> None:
        self.new = 0
        self.helm_words: tuple[str, ...] = ()
        self.scheduler = "s"
        self.answers: JSON = {
            f"hold({story.RANDOM}, {story.SCATTERED}, {story.SIZE})": {
                "hashes": ["h"], "keys": {"w0": 52},
            },
            "names()": {f"tcp://{n}": f"w{n}" for n in range(COUNT)},
            f"go_on({story.AHEAD})": 40,
            "come_to_an_end()": {"results": [0, 1, 4], "starts": [1, 1, 1]},
            "hashes()": ["h"],
            f"variable({story.VARIABLE!r})": [story.VALUE],
            "let_go()": None,
        }  # fmt: skip
        self.ends = [end(f"tcp://{n}") for n in range(COUNT)]
        self.old_stay = 0
        self.without_variable = 0
        self.quiet = False

    def helm(self, *words: str) -> None:
        self.helm_words = words

    def get(self, kind: str, name: str) -> JSON:
        if kind == "pod":
            return {"metadata": {"uid": self.scheduler}}
        up = self.new == COUNT
        if kind == "daskcluster":
            return ready(up, "")
        self.new = min(COUNT, self.new + bool(self.helm_words))
        message = (
            "" if self.quiet else f"{self.new} of {COUNT} updated, {COUNT} of {COUNT} workers ready"
        )
        # As long as somebody looks, the message is that of before this step.
        return ready(up, message, replicas=COUNT, readyReplicas=COUNT, updatedReplicas=self.new)

    def objects(self, kinds: str, selector: str) -> list[JSON]:
        new = min(self.new, COUNT - self.old_stay)
        fresh = [
            pod(f"new-{n}", "" if n < self.without_variable else story.VALUE) for n in range(new)
        ]
        return fresh + [pod(f"old-{n}", "") for n in range(new, COUNT)]

    def python(self, code: str, timeout: float) -> Any:
        question = code.removeprefix("result = ")
        if question == "removed()":
            return self.ends if self.helm_words else []
        return self.answers[question]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    def wait_until(what: str, look: Callable[[], bool], timeout: float) -> bool:
        for _ in range(10):
            if look():
                return True
        raise Problem(what)

    monkeypatch.setattr(story, "wait_until", wait_until)
    return Played()


def tell(played: Played) -> Step:
    place: Any = types.SimpleNamespace(kube=played)
    told = story.Story(place, Steps())
    told.images = IMAGES
    told.python = played.python  # type: ignore[assignment]
    step = Step(1, "roll-out")
    told.roll_out(step)
    return step


def test_the_roll_out_as_it_should_be(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    step = tell(played)
    assert "4 workers replaced, 3 tasks each started once, the very same 52 values" in step.shown
    said = capsys.readouterr().out
    assert "1 of 4 updated, 2 of 4 updated, 3 of 4 updated, 4 of 4 updated" in said
    assert said.count("expected, 0 results lost") == COUNT
    change = f"clusters.demo.worker.env.{story.VARIABLE}={story.VALUE}"
    assert f"--set-string {change} ..." in said
    assert played.helm_words == tuple(story.helm_command(IMAGES, change, wait=False))
    assert played.helm_words[-1] == change
    assert "--wait" not in played.helm_words


WRONG: dict[str, tuple[str, JSON]] = {
    "an old worker stays": ("4 new workers", {"old_stay": 1}),
    "the status says nothing of it": ("the status told of the progress", {"quiet": True}),
    "a value is another one": ("hashes of the held values", {"hashes()": ["other"]}),
    "a result is wrong": ("results of the", {"come_to_an_end()": {"results": [0, 1, 5], "starts": [1, 1, 1]}}),
    "a task was started twice": ("starts per task", {"come_to_an_end()": {"results": [0, 1, 4], "starts": [1, 2, 1]}}),
    "a worker was not expected to go": ("end of w0", {"ends": [end("tcp://0", expected=False)] + [end("x")] * 3}),
    "the scheduler does not say so": ("end of w0", {"ends": [{"worker": "tcp://0"}] + [end("x")] * 3}),
    "a computed result was lost": ("end of x", {"ends": [end("tcp://0"), end("x", **{"lost-computed-tasks": 1})]}),
    "a scattered value was lost": ("end of x", {"ends": [end("tcp://0"), end("x", **{"lost-scattered-tasks": 1})]}),
    "more workers went than old ones": ("workers removed", {"ends": [end(f"tcp://{n}") for n in range(5)]}),
    "a pod lacks the variable": ("pods with RELEASE=2", {"without_variable": 1}),
    "a worker has another value": ("RELEASE in the workers", {f"variable({story.VARIABLE!r})": ["", "2"]}),
}  # fmt: skip


@pytest.mark.parametrize(("words", "changes"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_a_success(played: Played, words: str, changes: JSON) -> None:
    for name, value in changes.items():
        if name in played.answers:
            played.answers[name] = value
        else:
            assert hasattr(played, name)
            setattr(played, name, value)
    with pytest.raises(Problem, match=words):
        tell(played)


def test_another_scheduler_is_not_a_success(played: Played) -> None:
    ask = played.python

    def python(code: str, timeout: float) -> Any:
        if "hashes()" in code:
            played.scheduler = "another"
        return ask(code, timeout)

    played.python = python  # type: ignore[method-assign]
    with pytest.raises(Problem, match="uid of the scheduler"):
        tell(played)
