from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.model.podspec import Container
from dask_gitops.resources import commands
from dask_gitops.resources.commands import option

JSON = dict[str, Any]

SCHEDULER = ["python", "-m", "distributed.cli.dask_scheduler"]
WORKER = ["python", "-m", "distributed.cli.dask_worker"]
IN_SHELL = "python -m distributed.cli.dask_worker"


def modernised(container: JSON) -> JSON:
    return commands.modernised(Container(container)).fields


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["dask-scheduler"], SCHEDULER),
        (["dask-worker", "--nthreads", "2"], [*WORKER, "--nthreads", "2"]),
        (["/opt/conda/bin/dask-worker"], WORKER),
        (["/usr/bin/prepare.sh", "dask-worker"], ["/usr/bin/prepare.sh", *WORKER]),
        (["tini", "-g", "--", "dask-worker"], ["tini", "-g", "--", *WORKER]),
        # a name, not a command
        (["dask-worker", "--name", "dask-worker"], [*WORKER, "--name", "dask-worker"]),
        (["dask", "worker", "--name", "dask-worker"], ["dask", "worker", "--name", "dask-worker"]),
        # today's words
        (["dask", "scheduler"], ["dask", "scheduler"]),
        (["dask-cuda-worker"], ["dask-cuda-worker"]),
        (["my-dask-worker"], ["my-dask-worker"]),
        (["python", "-m", "distributed.cli.dask_worker"], WORKER),
        # shells
        (["bash", "-c", "dask-worker"], ["bash", "-c", IN_SHELL]),
        (["sh", "-ec", "dask-worker --x"], ["sh", "-ec", f"{IN_SHELL} --x"]),
        (["bash", "-lc", "cd /x && exec dask-worker"], ["bash", "-lc", f"cd /x && exec {IN_SHELL}"]),
        (["bash", "-c", "pip install x; /bin/dask-worker --y"], ["bash", "-c", f"pip install x; {IN_SHELL} --y"]),
        (["bash", "-c", "\n  dask-worker;\n"], ["bash", "-c", f"\n  {IN_SHELL};\n"]),
        (["bash", "-c", "A=1 B=2 dask-worker &"], ["bash", "-c", f"A=1 B=2 {IN_SHELL} &"]),
        (["bash", "-c", "(dask-worker)"], ["bash", "-c", f"({IN_SHELL})"]),
        (["bash", "-c", "tini -- dask-worker"], ["bash", "-c", f"tini -- {IN_SHELL}"]),
        (["bash", "-c", "echo dask-worker"], ["bash", "-c", "echo dask-worker"]),
        (["bash", "-c", "tail dask-worker.log"], ["bash", "-c", "tail dask-worker.log"]),
        (["bash", "-c", "dask worker --name dask-worker"], ["bash", "-c", "dask worker --name dask-worker"]),
        (["bash", "-c", "/usr/bin/prepare.sh dask-worker"], ["bash", "-c", f"/usr/bin/prepare.sh {IN_SHELL}"]),
        (["bash", "-c", "tini -g -- prepare.sh dask-worker"], ["bash", "-c", f"tini -g -- prepare.sh {IN_SHELL}"]),
        (["bash", "-c", "conda run -n dask dask-worker"], ["bash", "-c", f"conda run -n dask {IN_SHELL}"]),
        (["bash", "-c", "poetry run dask-worker"], ["bash", "-c", f"poetry run {IN_SHELL}"]),
        (["bash", "-c", "nice -n 5 dask-worker"], ["bash", "-c", f"nice -n 5 {IN_SHELL}"]),
        (["bash", "-c", "env A=1 dask-worker"], ["bash", "-c", f"env A=1 {IN_SHELL}"]),
        (["bash", "-c", "su dask -c 'dask-worker'"], ["bash", "-c", f"su dask -c '{IN_SHELL}'"]),
        (["bash", "-c", "dask-worker>/tmp/log"], ["bash", "-c", f"{IN_SHELL}>/tmp/log"]),
        (["bash", "-c", "pip install dask-worker"], ["bash", "-c", "pip install dask-worker"]),
        (["bash", "-c", "echo 'run dask-worker'"], ["bash", "-c", "echo 'run dask-worker'"]),
        (["conda", "run", "--no-capture-output", "dask-worker"], ["conda", "run", "--no-capture-output", *WORKER]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["command", "args"])
def test_old_words(field: str, words: list[str], new: list[str]) -> None:
    assert modernised({"name": "c", field: words}) == {"name": "c", field: new}


def test_a_shell_in_the_command_and_its_text_in_the_args() -> None:
    """One word without a space is a text too: split into words, the shell would run ``python`` alone."""
    made = modernised({"command": ["/bin/bash", "-c"], "args": ["dask-worker"]})
    assert made == {"command": ["/bin/bash", "-c"], "args": [IN_SHELL]}


def test_a_name_in_the_args_of_an_option_in_the_command() -> None:
    container = {"command": ["dask", "worker", "--name"], "args": ["dask-worker"]}
    assert modernised(container) == container


def test_only_the_first_of_command_and_args_is_the_program() -> None:
    made = modernised({"command": ["dask-worker"], "args": ["tcp://x:8786", "dask-worker"]})
    assert made == {"command": WORKER, "args": ["tcp://x:8786", "dask-worker"]}


def test_twice_is_once() -> None:
    once = modernised({"args": ["bash", "-c", "exec dask-scheduler"], "command": ["dask-worker"]})
    assert modernised(once) == once


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["a", "--x", "1"], "1"),
        (["a", "--x=1"], "1"),
        (["a", "--x"], None),
        (["--xy", "1"], None),
        ([], None),
    ],
)
def test_option(words: list[Any], value: str | None) -> None:
    assert option(words, "--x") == value


def test_words_of_shell_texts_are_taken_one_by_one() -> None:
    container = {"command": ["sh", "-c"], "args": ["a --x 1 && b", "7", None]}
    assert Container(container).words == ["sh", "-c", "a", "--x", "1", "&&", "b", "7"]
    assert Container({"args": None}).words == []


@pytest.mark.parametrize(
    "text", ["a.sh " + "-x a.sh " * 20_000, "A=1 " * 50_000, "env " * 50_000, "/" * 100_000]
)
def test_a_long_text_takes_no_time(text: str) -> None:
    """A text that doubles the time with every word would stop the controller for everybody."""
    assert modernised({"args": ["sh", "-c", text + "!"]})["args"][2] == text + "!"
