"""Pure: the words by which a worker's or scheduler's container of a classic cluster starts Dask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dask_gitops.model.podspec import Container
from dask_gitops.resources.commands import Programs, option, program

JSON = dict[str, Any]
NAME = ["--name", "$(DASK_WORKER_NAME)"]
#: Options that today's Dask refuses, and what they are called in all versions that can be used.
RENAMED = {
    "--no-bokeh": "--no-dashboard",
    "--bokeh": "--dashboard",
    "--bokeh-port": "--dashboard-address",
    "--bokeh-prefix": "--dashboard-prefix",
    "--nprocs": "--nworkers",
}
#: What workers always do now, or never.
GONE = ("--reconnect", "--no-reconnect")
_RENAMED = re.compile(rf"(?<![\w-])({'|'.join(RENAMED)})(?![\w-])")
_GONE = re.compile(rf"(?<![\w-])({'|'.join(GONE)})(?![\w-])\s*")
_WORKER = re.compile(
    r"dask-(cuda-)?worker\b|dask (cuda )?worker\b|python\S* -m (distributed\.cli\.dask_worker|dask_cuda)"
)
_SCHEDULER = re.compile(r"\bdask[-_ ]scheduler\b")


def worker_words(container: JSON) -> JSON:
    """The container with options that Dask still has, and with a name for the worker where none is said."""
    found = {**container}
    for field in ("command", "args"):
        if field in found:
            found[field] = [_today(word) for word in found[field] if word not in GONE]
    read = Container(found)
    words = [*read.command, *read.args]
    # In a text for a shell nothing can be added; whoever says nothing at all gets the controller's words.
    if not words or Programs(words).texts:
        return found
    if option(words[_worker_at(words) or 0 :], "--name") is None:
        found["args"] = [*read.args, *NAME]
    return found


def scheduler_words(container: JSON, *, is_workers: bool) -> JSON:
    """The container running a scheduler: in its user's words if they start one, else what stands before a worker's.

    :param is_workers: the words are a worker's.
    """
    found = {**container}
    read = Container(found)
    if not is_workers and _SCHEDULER.search(" ".join(read.words)):
        return found
    command: list[str] = []
    if not Programs(read.command).texts:
        command = read.command[: _worker_at(read.command)]
    found.pop("command", None)
    if command:
        found["command"] = command
    found["args"] = ["dask-scheduler"]
    return found


def _today(word: Any) -> Any:
    if not isinstance(word, str):
        return word
    return _RENAMED.sub(lambda match: RENAMED[match[1]], _GONE.sub("", word))


def _worker_at(words: Sequence[str]) -> int | None:
    """Where a program stands that is a worker."""
    for at in Programs(words).programs:
        if _WORKER.match(" ".join([program(words[at]), *words[at + 1 : at + 3]])):
            return at
    return None
