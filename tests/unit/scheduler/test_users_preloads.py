"""What users preload into a scheduler, by whatever way: it runs as it would without us, beside our control API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.resources.inject import ControlApi
from dask_gitops.resources.pods import scheduler_pod
from dask_gitops.scheduler.source import (
    BESIDE,
    PRELOAD,
    SOURCE_ENV,
    TOKEN_ENV,
    USERS_ARGV_ENV,
    USERS_PRELOAD_ENV,
    control_source,
)

from tests.unit.objects import cluster

JSON = dict[str, Any]
NAME = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
CONTROL = ControlApi(PRELOAD, BESIDE, SOURCE_ENV, control_source(), TOKEN_ENV)

#: A preload that takes arguments, and one that takes none; each writes down what happens to it.
WITH = """
import click, json
def tell(*words):
    with open({mark!r}, "a") as f:
        f.write(json.dumps(words) + chr(10))
tell("imported", {name!r})
@click.command()
@click.option("--level", default="none")
async def dask_setup(scheduler, level):
    routes = [str(rule.target) for rule in scheduler.http_application.wildcard_router.rules]
    tell("setup", {name!r}, type(scheduler).__name__, level)
async def dask_teardown(scheduler):
    tell("teardown", {name!r})
"""
WITHOUT = WITH.replace("@click.command()\n", "").replace("@click.option(\"--level\", default=\"none\")\n", "").replace("scheduler, level)", "scheduler, level='plain')")  # fmt: skip


class Place:
    """A folder with configuration and preloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = folder / "mark"
        self.mark.touch()
        (folder / "config").mkdir()

    def preload(self, name: str, text: str) -> str:
        path = self.folder / f"{name}.py"
        path.write_text(text.format(mark=str(self.mark), name=name))
        return str(path)

    def config(self, **scheduler: Any) -> None:
        text = yaml.safe_dump({"distributed": {"scheduler": scheduler}})
        (self.folder / "config" / "mine.yaml").write_text(text)

    def told(self) -> list[list[str]]:
        return [json.loads(line) for line in self.mark.read_text().splitlines()]

    def run(self, container: JSON) -> tuple[int, str]:
        """Start what is in the container of a scheduler's Pod until the preloads had their say -> exit code, log."""
        log = self.folder / "log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
        env |= {e["name"]: e["value"] for e in container["env"]}
        words = container["args"][2:]
        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        with log.open("w") as out:
            process = subprocess.Popen(
                [*command, *words],
                env={**env, "DASK_CONFIG": str(self.folder / "config")},
                stdout=out,
                stderr=out,
                cwd=self.folder,
            )
        try:
            until = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
                if any(words[0] == "setup" for words in self.told()):
                    break
                if "Scheduler at" in log.read_text():  # and then the preloads, if there are any
                    until = min(until, time.monotonic() + 3)
            time.sleep(0.5 if process.poll() is None else 0)
            process.send_signal(signal.SIGTERM)
            return process.wait(60), log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def container(args: list[str], env: list[JSON], *, ours: bool) -> JSON:
    users = {"name": "scheduler", "args": ["dask", "scheduler", *args], "env": env}
    if not ours:
        return users
    spec = {"scheduler": {"spec": {"containers": [users]}}}
    made = scheduler_pod(cluster(spec), default_image="x", control=CONTROL, token="secret")
    found: JSON = made["spec"]["containers"][0]
    return found


def ways(place: Place) -> dict[str, tuple[list[str], list[JSON]]]:
    """How a user may say it: arguments and variables; files are written."""
    a, b = place.preload("a", WITH), place.preload("b", WITHOUT)
    return {
        "file": ([], []),
        "variable": ([], [{"name": NAME, "value": a}]),
        "variables with arguments": (
            [],
            [
                {"name": NAME, "value": repr([a, b])},
                {"name": f"{NAME}_ARGV", "value": "[['--level', 'nested'], []]"},
            ],
        ),
        "command line": (["--preload", a], []),
        "command line with arguments": (["--preload", a, "--level", "flat"], []),
        "two on the command line": (["--preload", b, "--preload", a], []),
    }


FILES: dict[str, JSON] = {
    "one": {"preload": ["a"]},
    "a text": {"preload": "a"},
    "two": {"preload": ["a", "b"]},
    "arguments for each": {"preload": ["a", "b"], "preload-argv": [["--level", "one"], []]},
    "arguments for the only one": {"preload": ["a"], "preload-argv": [["--level", "only"]]},
    "arguments for all": {"preload": ["b", "a"], "preload-argv": ["--level", "all"]},
    "arguments alone": {"preload-argv": [["--level", "x"], []]},
    "nothing": {},
}


def write(place: Place, said: JSON) -> None:
    named = {n: str(place.folder / f"{n}.py") for n in ("a", "b")}
    known = said.get("preload")
    if known is not None:
        said = {
            **said,
            "preload": named[known] if isinstance(known, str) else [named[n] for n in known],
        }
    place.config(**said)


def both(tmp_path: Path, way: str, said: JSON) -> tuple[Any, Any]:
    """What the preloads tell without us, and with us."""
    found = []
    for ours in (False, True):
        folder = tmp_path / ("with" if ours else "without")
        folder.mkdir()
        place = Place(folder)
        args, env = ways(place)[way]
        write(place, said)
        code, log = place.run(container(args, env, ours=ours))
        served = "/control/v1" in log or "control API is not available" not in log
        assert served, log
        # A SIGTERM is how this ends; anything else is the preloads'.
        found.append((place.told(), code))
    return found[0], found[1]


@pytest.mark.parametrize("said", FILES.values(), ids=FILES)
def test_preloads_from_a_file(tmp_path: Path, said: JSON) -> None:
    without, with_us = both(tmp_path, "file", said)
    assert with_us == without


@pytest.mark.parametrize("way", ["variable", "variables with arguments", "command line", "two on the command line"])  # fmt: skip
def test_preloads_from_elsewhere(tmp_path: Path, way: str) -> None:
    without, with_us = both(tmp_path, way, {"preload": ["b"]})
    assert with_us == without
    assert any(words[:2] == ["setup", "a"] for words in with_us[0])


def test_arguments_of_a_file_beside_the_preload_of_a_variable(tmp_path: Path) -> None:
    said = {"preload": ["b"], "preload-argv": [["--level", "of the file"]]}
    without, with_us = both(tmp_path, "variable", said)
    assert with_us == without
    assert ["setup", "a", "Scheduler", "of the file"] in with_us[0]


def test_a_preload_that_cannot_be_loaded_ends_the_scheduler_as_without_us(place: Place) -> None:
    place.config(preload=["nowhere.to.be.found"])
    code, log = place.run(container([], [], ours=True))
    assert code != 0
    assert "nowhere" in log


def test_names() -> None:
    assert (CONTROL.users_preload_env, CONTROL.users_argv_env) == (USERS_PRELOAD_ENV, USERS_ARGV_ENV)  # fmt: skip
    assert not USERS_PRELOAD_ENV.startswith("DASK_")  # dask would take it for configuration
