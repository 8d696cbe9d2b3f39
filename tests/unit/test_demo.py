"""The demo's choice of a Kubernetes cluster, and the commands that it runs there: with programs that only write
down how they were called."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.demo import places, story
from ci.demo.kube import Kube
from ci.demo.remote import RemotePython
from ci.demo.shell import Problem, wait_until
from ci.demo.steps import Steps, parts_table

Fake = Callable[..., None]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only fake programs are on PATH; this file gets a line per call."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DASK_GITOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path / "calls"


@pytest.fixture
def fake(calls: Path) -> Fake:
    """Put a program on PATH that notes its words and KUBECONFIG, prints something, and exits."""

    def make(name: str, prints: str = "", code: int = 0) -> None:
        program = calls.parent / "bin" / name
        note = f'echo "{name} $* ${{KUBECONFIG:+[$KUBECONFIG]}}" >> {calls}'
        program.write_text(f"#!/bin/sh\n{note}\nprintf '%s' '{prints}'\nexit {code}\n")
        program.chmod(0o755)

    return make


def lines(calls: Path) -> list[str]:
    return [line.strip() for line in calls.read_text().splitlines()]


def test_local_where_no_docker_answers(fake: Fake, calls: Path) -> None:
    assert isinstance(places.choose("", ""), places.Local)
    fake("docker", code=1)  # the program without its daemon
    assert places.choose("", "").title == "a local Kubernetes (no Docker daemon answers)"


def test_local_where_docker_has_no_kind(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("docker")
    monkeypatch.setattr(places.os, "geteuid", lambda: 0)
    assert places.choose("", "").title == "a local Kubernetes (kind is not on PATH)"
    monkeypatch.setattr(places.os, "geteuid", lambda: 1000)
    with pytest.raises(Problem, match=r"kind is not on PATH, and a local Kubernetes .* needs root"):
        places.choose("", "")


def test_kind_has_a_kubeconfig_of_its_own(fake: Fake, calls: Path, tmp_path: Path) -> None:
    fake("docker")
    fake("kind", prints="another")
    place = places.choose("", "")
    assert isinstance(place, places.Kind)
    with pytest.raises(Problem, match="not on PATH: kubectl, helm"):
        place.start()
    for program in ("kubectl", "helm"):
        fake(program, prints='{"serverVersion": {"gitVersion": "v1.35.0"}}')
    calls.unlink()
    config = f"--kubeconfig {tmp_path}/cache/demo/kind-kubeconfig"
    assert place.start() == "created"
    assert place.kube.reachable() == "v1.35.0"
    assert place.stop() == "deleted"
    assert lines(calls) == [
        "kind get clusters",
        f"kind create cluster --name dask-gitops-demo {config} --wait 180s",
        f"kubectl --namespace dask-demo version -o json [{tmp_path}/cache/demo/kind-kubeconfig]",
        f"kind delete cluster --name dask-gitops-demo {config}",
    ]


def test_a_kind_cluster_that_is_there_stays(fake: Fake, calls: Path) -> None:
    for program in ("docker", "kubectl", "helm"):
        fake(program)
    fake("kind", prints="dask-gitops-demo")
    place = places.Kind()
    assert place.start() == "was up already"
    place.stop()
    assert not any("create" in line or "delete" in line for line in lines(calls))


def test_a_named_context_is_in_every_command(fake: Fake, calls: Path) -> None:
    fake("docker")  # a daemon that answers changes nothing
    fake("kubectl", prints="mine")
    fake("helm")
    place = places.choose("mine", "registry.example.com/us")
    place.start()
    place.kube.kubectl("get", "pods")
    place.kube.helm("list")
    assert lines(calls)[-2:] == [
        "kubectl --context mine --namespace dask-demo get pods",
        "helm --kube-context mine --namespace dask-demo list",
    ]


@pytest.mark.parametrize(
    ("context", "registry", "words"),
    [
        ("", "registry.example.com", "a registry without a context"),
        ("other", "registry.example.com", "no context 'other' in your kubeconfig; there are: mine"),
        ("mine", "", "needs a registry"),
    ],
)
def test_wishes_that_cannot_be_met(fake: Fake, context: str, registry: str, words: str) -> None:
    fake("kubectl", prints="mine")
    fake("helm")
    with pytest.raises(Problem, match=words):
        places.choose(context, registry).start()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (places.Kind(), ("--load", "kind", "dask-gitops-demo")),
        (places.Context("mine", "r.example.com/x"), ("--push", "r.example.com/x")),
        (places.Context("kind-dev", ""), ("--load", "kind", "dev")),
    ],
)
def test_where_images_go(
    monkeypatch: pytest.MonkeyPatch, place: places.Place, words: tuple[str, ...]
) -> None:
    given: list[tuple[str, ...]] = []

    def deliver(*target: str) -> dict[str, str]:
        given.append(target)
        return {}

    monkeypatch.setattr(places, "deliver", deliver)
    place.images()
    assert given == [words]


def test_the_local_place_is_made_by_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs, images and Kubernetes side by side: what it answers is all that the demo needs."""
    given: list[list[str]] = []
    answer = {
        "kubeconfig": "/state/kubeconfig",
        "path": "/cache/bin",
        "images": {places.DASK: "localhost/d:1"},
        "parts": [["servers: compiled", 200.0, 380.5]],
    }

    def run(command: list[str], **_: object) -> str:
        given.append(command[2:])
        return json.dumps(answer)

    monkeypatch.setattr(places, "run", run)
    monkeypatch.setenv("DASK_GITOPS_STATE", "/nowhere")
    place = places.Local("why")
    assert place.start() == "started"
    images = "dask-gitops-controller,dask-gitops-dask"
    assert given == [["up", "--name", "local", "--images", images]]
    assert place.images() == answer["images"]
    assert place.kube.env["PATH"].startswith("/cache/bin:")
    rows = parts_table(place.parts).splitlines()
    assert rows[2].split() == ["servers:", "compiled", "200.0", "380.5"]
    assert rows[-1].split() == ["all,", "side", "by", "side", "380.5"]
    assert len({len(row) for row in rows}) == 1


def test_images_reach_the_chart() -> None:
    images = {places.CONTROLLER: "localhost:5000/c:12345", places.DASK: "localhost/d:1e5"}
    command = story.helm_command(images)
    assert command[:5] == ["upgrade", "--install", "demo", ".", "-f"]
    given = {word for flag, word in itertools.pairwise(command) if flag == "--set-string"}
    assert given == {
        "controller.image.repository=localhost:5000/c",
        "controller.image.tag=12345",
        "defaults.image.repository=localhost/d",
        "defaults.image.tag=1e5",
        "defaults.image.pullPolicy=IfNotPresent",
    }


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps()
    for title in ("short", "a longer one"):
        with steps.step(title) as step:
            step.shown = f"shown {title}"
    assert "[ 1] short ....." in capsys.readouterr().out
    rows = steps.table().splitlines()
    assert len({row.index("shown s") for row in rows[2:3]} | {rows[3].index("shown a")}) == 1
    assert steps.current is None
    with pytest.raises(Problem), steps.step("fails"):
        raise Problem("no")
    assert steps.current is not None
    assert steps.current.title == "fails"


def test_waiting_tells_what_was_missing() -> None:
    def not_yet() -> bool:
        raise Problem("one of two")

    with pytest.raises(Problem, match=r"two pods: not so after 0 s: one of two"):
        wait_until("two pods", not_yet, timeout=0)


def test_python_at_the_other_end() -> None:
    """State lives on, errors and ends are told in words. (`env` stands for kubectl exec.)"""
    remote = RemotePython(["/usr/bin/env", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"])
    assert remote("x = 20\nprint('hello')\nresult = x + y", y=1) == 21
    assert remote("result = x") == 20
    assert remote.output == ["hello"]
    with pytest.raises(Problem, match="ZeroDivisionError"):
        remote("1 / 0")
    with pytest.raises(Problem, match="no answer from the pod within 0 s"):
        remote("import time; time.sleep(60)", timeout=0)
    ended = RemotePython(["/usr/bin/env", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"])
    with pytest.raises(Problem, match="has ended"):
        ended("import os; os._exit(3)")
    remote.close()
    ended.close()


def test_a_failure_is_told_in_words(calls: Path) -> None:
    """The real program, without Docker, without kubectl: what is wrong and what to try, no stack trace."""
    command = [sys.executable, "ci/demo", "--context", "mine"]
    done = subprocess.run(command, cwd=places_root(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "FAILED: Kubernetes\n    not on PATH: kubectl, helm" in done.stdout
    assert "try: install them" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def places_root() -> Path:
    return Path(places.__file__).parents[2]


def test_how_to_reach_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    kube = Kube("ns", {"KUBECONFIG": "/tmp/config", "PATH": "/cache/bin:/usr/bin:/bin"})
    assert kube.shell_lines() == [
        'export KUBECONFIG="/tmp/config"',
        'export PATH="/cache/bin:$PATH"',
    ]
