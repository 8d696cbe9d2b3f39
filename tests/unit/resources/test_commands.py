from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.model.podspec import Container
from dask_gitops.resources import commands
from dask_gitops.resources.commands import option

from tests.support import steps

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


#: Where one of the old words is something else: nothing is changed.
NO_PROGRAM: list[list[str]] = [
    ["nc", "-z", "-w", "60", "dask-scheduler", "8786"],
    ["ping", "dask-scheduler"],
    ["python", "wait.py", "dask-scheduler"],
    ["python", "-m", "wait", "--", "dask-scheduler"],
    ["wait-for-it.sh", "dask-scheduler", "8786"],
    ["start.sh", "--name", "dask-worker"],
    ["start.sh", "worker", "dask-worker"],
    ["tini", "--", "nc", "dask-scheduler", "8786"],
    ["env", "HOST=dask-scheduler", "my-worker"],
    ["conda", "run", "--name", "dask-worker", "my-worker"],
    ["conda", "create", "dask-worker"],
    ["dask", "worker", "--", "dask-worker"],
    ["sh", "-c", "until nc -z dask-scheduler 8786; do sleep 1; done"],
    ["sh", "-c", "while ! getent hosts dask-scheduler; do sleep 1; done; dask worker"],
    ["sh", "-c", "wait-for.sh dask-scheduler 8786 && my-worker"],
    ["sh", "-c", "echo a; echo dask-worker >dask-worker"],
    ["sh", "-c", "my-worker # or: ; dask-worker"],
    ["sh", "-c", "cat <<EOF\ndask-worker\nEOF\nmy-worker"],
    ["sh", "-c", "cat <<-'EOF'\n\tdask-worker\n\tEOF\nmy-worker"],
    ["sh", "-c", "case $1 in\ndask-worker) x;;\nesac"],
    ["sh", "-c", "case $1 in\ndask-scheduler|dask-worker) x;;\nesac"],
    ["sh", "-c", "dask-worker() { x; }"],
    ["sh", "-c", "echo $(hostname) dask-worker"],
    ["sh", "-c", "echo `hostname` dask-worker"],
    ["sh", "-c", "HOST=dask-scheduler my-worker"],
    ["sh", "-c", 'echo "a; dask-worker"'],
    ["sh", "-c", "echo 'a\n; dask-worker'"],
    ["sh", "-c", "echo a \\\n dask-worker"],
    ["sh", "-c", "'my dask-worker' x"],
    ["sh", "-c", "unclosed 'dask-worker ; dask-worker"],
    ["sh", "-c", "my-dask-worker; dask-worker.sh; ./dask-worker/run"],
    ["sh", "-c", "my-worker", "dask-worker"],
]

#: Where it is the program: {} stands for it.
PROGRAM: list[list[str]] = [
    ["dumb-init", "{}"],
    ["tini", "-s", "--", "env", "-u", "X", "A=1", "{}", "--name", "dask-worker"],
    ["wait-for-it.sh", "dask-scheduler", "8786", "--", "{}"],
    ["wait-for-it.sh", "dask-scheduler:8786", "--timeout", "60", "--", "{}"],
    ["/opt/start.sh", "{}"],
    ["start", "--", "{}"],
    ["entrypoint", "{}"],
    ["nice", "-n", "5", "ionice", "-c2", "{}"],
    ["timeout", "-k", "5", "60", "{}"],
    ["gosu", "dask", "{}"],
    ["sudo", "-E", "-u", "dask-worker", "{}"],
    ["numactl", "--interleave=all", "{}"],
    ["conda", "run", "-n", "dask-worker", "--no-capture-output", "{}"],
    ["mamba", "run", "--live-stream", "-p", "/env", "{}"],
    ["uv", "run", "--no-sync", "{}"],
    ["bash", "-l", "start.sh", "{}"],
    ["sh", "-c", 'exec "$@"', "--", "{}"],
    ["sh", "-c", "until nc -z dask-scheduler 8786; do sleep 1; done; exec {}"],
    ["sh", "-c", "if nc -z dask-scheduler 8786; then {}; else exit 1; fi"],
    ["sh", "-c", "echo dask-worker | tee log && {} >log 2>&1"],
    ["sh", "-c", "2>log {} --name dask-worker"],
    ["sh", "-c", "cat <<EOF\ndask-worker\nEOF\n{}"],
    ["sh", "-c", "case $1 in\ndask-worker) exec {};;\nesac"],
    ["sh", "-c", "run() { {}; }; run"],
    ["sh", "-c", "x=$({} --version)"],
    ["sh", "-c", "! {}"],
    ["sh", "-c", "{} $(hostname) --name dask-worker"],
    ["sh", "-c", "pip install \\\n  x && \\\n {}"],
    ["sh", "-c", "bash -c \"exec {} --name $NAME\""],
    ["sh", "-c", "exec -a me {}"],
    ["busybox", "sh", "-c", "{}"],
    ["bash", "-o", "pipefail", "-c", "{}"],
    ["su", "dask", "-c", "{}"],
    ["{} --nthreads 2"],
]  # fmt: skip


@pytest.mark.parametrize("field", ["command", "args"])
@pytest.mark.parametrize("words", NO_PROGRAM, ids=" ".join)
def test_a_word_that_is_no_program_stays(words: list[str], field: str) -> None:
    assert modernised({field: words}) == {field: words}


@pytest.mark.parametrize("old", ["dask-worker", "/opt/conda/bin/dask-worker"])
@pytest.mark.parametrize("words", PROGRAM, ids=" ".join)
def test_a_word_that_is_the_program_is_run_by_module(words: list[str], old: str) -> None:
    want = [part for word in words for part in (WORKER if word == "{}" else [word])]
    if words[-1] == "{}" and words[-2] == "-c":
        want = [*words[:-1], IN_SHELL]  # a text of one word
    want = [word.replace("{}", IN_SHELL) for word in want]
    for cut in range(len(words)):  # args go on where the command ends
        given = [word.replace("{}", old) for word in words]
        made = modernised({"command": given[:cut], "args": given[cut:]})
        assert made["command"] + made["args"] == want


#: Pieces of texts, of which long ones are made: every one that somebody's parser could try in vain again and again.
PIECES = [
    "a.sh ", "A=1 ", "env ", "env -u ", "/", "\n", ";", "(", ")", "$(", "`", "'", '"', "\\", "\\\n", "<<E\n", "<<-'E'\n", "#",
    "{", "& ", "| ", "-", "-- ", "--x ", "exec ", "conda run ", "conda run -n ", "bash -c '", 'bash -c "', "su x -c ",
    "dask-worker", "dask-worker ", "dask-worker;", "dask-worker|", "dask-worker)", "case x in\n", "x\\'", "é", "\t", ">", "a=b",
]  # fmt: skip


@pytest.mark.parametrize("number", range(55))
def test_twice_the_text_takes_twice_the_time(number: int) -> None:
    """A text that doubles the time with every word would stop the controller for everybody."""
    draw = random.Random(number)
    some = [draw.choice(PIECES) for _ in range(draw.randint(1, 4))]
    some = [PIECES[number]] if number < len(PIECES) else some

    def reading(size: int) -> Callable[[], None]:
        """In both forms."""
        text = ("".join(some) * size)[:size] + "\n dask-worker"
        words = text.split(" ")

        def work() -> None:
            commands._modern_text.cache_clear()
            modernised({"args": ["sh", "-c", text]})
            modernised({"args": words})

        return work

    size = 4_000
    while steps.cost(reading(size), times=1) < steps.LEAST:
        size *= 2
        if size > 200_000:
            return  # nothing at all is done with it
    steps.is_linear(reading, 2 * size)
