"""Pure: how the control API gets into the container that starts a scheduler.

Dask takes preloads from its configuration, unless ``--preload`` stands on the command line. So ours is the only one that
is configured, and loads the user's, as Dask wants as many lists of arguments as there are preloads; and beside a
``--preload`` it is one more, the first: what is loaded first is started first and ends last.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops.model.podspec import Container
from dask_gitops.resources import controlport, labels, shelltext
from dask_gitops.resources.commands import Programs, Word, behind_start, option
from dask_gitops.resources.listening import Reading

JSON = dict[str, Any]

_OPTION = "--preload"
_CONFIGURED = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"


@dataclass(frozen=True, slots=True)
class ControlApi:
    """What puts the control API into a scheduler: preload texts, and the env that they read.

    :ivar preload: where it is the only one that is configured; it loads the user's.
    :ivar beside: beside others on the command line.
    :ivar users_preload_env: holds what the user says in the variable that Dask reads; :ivar users_argv_env: the arguments.
    :ivar text_env: holds ``beside`` for shell texts that start a scheduler with ``--preload``.
    """

    preload: str
    beside: str
    source_env: str
    source: str
    token_env: str
    users_preload_env: str = "SCHEDULER_CONTROL_PRELOAD"
    users_argv_env: str = "SCHEDULER_CONTROL_PRELOAD_ARGV"
    text_env: str = "SCHEDULER_CONTROL_PRELOAD_TEXT"


def control_api(container: JSON, control: ControlApi, token: str, number: int) -> None:
    """Load our control API in this container, which listens on this port, beside whatever the user preloads."""
    ours = (
        control.token_env,
        control.source_env,
        control.users_preload_env,
        control.users_argv_env,
        controlport.PORT_ENV,
        control.text_env,
    )
    env = [e for e in container.get("env") or [] if e["name"] not in ours]
    read = Container(container)
    if option([*read.command, *read.args], _OPTION) is not None:
        _first_on_the_command_line(container, control.beside)
    else:
        if _first_in_texts(container, control.text_env):
            env.append({"name": control.text_env, "value": control.beside})
        moved = {
            _CONFIGURED: control.users_preload_env,
            f"{_CONFIGURED}_ARGV": control.users_argv_env,
        }
        env = [{**e, "name": moved.get(e["name"], e["name"])} for e in env]
        env.append({"name": _CONFIGURED, "value": control.preload})
        env.append({"name": f"{_CONFIGURED}_ARGV", "value": "[]"})
    env.append({"name": control.source_env, "value": control.source})
    env.append({"name": control.token_env, "value": token})
    env.append({"name": controlport.PORT_ENV, "value": str(number)})
    container["env"] = env


def _first_on_the_command_line(container: JSON, preload: str) -> None:
    for field in ("command", "args"):
        words = list(container.get(field) or ())
        for at, word in enumerate(words):
            if str(word).partition("=")[0] == _OPTION:
                container[field] = [*words[:at], _OPTION, preload, *words[at:]]
                return


def _first_in_texts(container: JSON, variable: str) -> bool:
    """In each start with ``--preload``, also where a variable says so, one more from this variable; is there any?"""
    read = Container(container)
    words, reading = [*read.command, *read.args], Reading.of(read)
    texts = Texts(reading, variable)
    new = list(words)
    for at in Programs(words).texts:
        new[at] = texts.changed(words[at])
    for field, part in (
        ("command", new[: len(read.command)]),
        ("args", new[len(read.command) :]),
    ):
        if part:
            container[field] = part
    return new != words


class Texts:
    """Shell texts of one container."""

    def __init__(self, reading: Reading, variable: str) -> None:
        self.reading = reading
        self.variable = variable

    def changed(self, text: str) -> str:
        """The text with one preload more, the first, for each scheduler that it starts with one of the user's."""
        more = f'{_OPTION} "${self.variable}"'
        new = self._with(text, more)
        if new != text or "$$" in text:
            return new
        # One may stand in a variable, which Kubernetes puts in its place.
        run = self.reading.of_kubernetes(text)
        new = self._with(run, more)
        return text if new == run else new

    def _with(self, text: str, more: str) -> str:
        def edits(words: Sequence[str], raw: Sequence[str]) -> dict[int, str]:
            among, out = Programs(words, in_shell=True), {}
            for at in among.programs:
                behind = behind_start(words, at, labels.SCHEDULER)
                if behind is not None and self._preloads(words[behind:], raw[behind:]):
                    out[behind - 1] = f"{raw[behind - 1]} {more}"
            for at in among.texts:
                # Another shell reads it: within double quotes, this one must leave what is added as it is.
                within = f'{_OPTION} \\"\\${self.variable}\\"' if raw[at][:1] == '"' else more
                out[at] = shelltext.inside(raw[at], functools.partial(self._with, more=within))
            return out

        return shelltext.replaced(text, edits)

    def _preloads(self, words: Sequence[str], raw: Sequence[str]) -> bool:
        options = (self.reading.parts(Word(*pair)) for pair in zip(words, raw, strict=True))
        return any(_OPTION in part for some in options for part in some)
