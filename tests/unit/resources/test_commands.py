from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources.commands import modernised, option

SCHEDULER = ["python", "-m", "distributed.cli.dask_scheduler"]
WORKER = ["python", "-m", "distributed.cli.dask_worker"]
IN_SHELL = "python -m distributed.cli.dask_worker"


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
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["command", "args"])
def test_old_words(field: str, words: list[str], new: list[str]) -> None:
    assert modernised({"name": "c", field: words}) == {"name": "c", field: new}


def test_twice_is_once() -> None:
    once = modernised({"args": ["bash", "-c", "exec dask-scheduler"], "command": ["dask-worker"]})
    assert modernised(once) == once


@pytest.mark.parametrize("value", [None, "dask-worker", [1, None]])
def test_what_is_no_list_of_words_is_left_to_the_api_server(value: Any) -> None:
    assert modernised({"args": value}) == {"args": value}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["a", "--x", "1"], "1"),
        (["a", "--x=1"], "1"),
        (["a", "--x"], None),
        (["--xy", "1"], None),
        ([], None),
        (["--x", 1], "1"),
    ],
)
def test_option(words: list[Any], value: str | None) -> None:
    assert option(words, "--x") == value
