"""Commands that old manifests use, in words that every version of Dask understands.

The console scripts ``dask-scheduler`` and ``dask-worker`` are gone since distributed 2026.6, while
``python -m distributed.cli.dask_scheduler`` and ``.dask_worker`` work in all versions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

JSON = dict[str, Any]
_MODULES = {
    "dask-scheduler": ["python", "-m", "distributed.cli.dask_scheduler"],
    "dask-worker": ["python", "-m", "distributed.cli.dask_worker"],
}
_OLD = "dask-(?:scheduler|worker)"
# In a shell text: the word where a command may stand, i.e. at the start, after a separator, after a word like exec,
# behind variables that are set for it and programs that run another one. Atomic groups keep the time linear:
# a text may come from anybody.
_IN_SHELL = re.compile(
    rf"""((?:^|[\n;&|({{]|\b(?:exec|nohup|then|do|else|time)\s|\s--\s|\s-[a-z]*c\s+['"])\s*
    (?>(?:
        \w+=\S*\s+
        | (?:[^\s;&|(){{}}'"]*\.sh|env|nice|(?:conda|mamba|micromamba|pipenv|pixi|poetry|uv)\s+run)
          (?>(?:\s+-\S+(?:\s+(?!{_OLD})[^\s;&|'"-][^\s;&|]*)?)*)\s+
    )*))
    (?:[^\s;&|(){{}}]*/)?({_OLD})(?=[\s;&|)<>'"]|$)""",
    re.VERBOSE,
)
_SHELL_OPTION = re.compile(r"-[a-z]*c")  # bash -c, sh -ec, bash -lc
_FLAGS = ("--", "--no-capture-output", "--live-stream")  # of start programs: no value follows


def _program(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def modernised(container: JSON) -> JSON:
    """The container with ``dask-scheduler`` / ``dask-worker`` in command or args replaced by the module's call."""
    out = dict(container)
    before = ""  # args go on where the command ends
    done = False
    for field in ("command", "args"):
        words = out.get(field)
        if not isinstance(words, list):
            continue
        new: list[Any] = []
        for word in words:
            if not isinstance(word, str) or done:
                new.append(word)
            elif _SHELL_OPTION.fullmatch(before) or any(c.isspace() for c in word):
                new.append(_IN_SHELL.sub(lambda m: m[1] + " ".join(_MODULES[m[2]]), word))
            elif _program(word) in _MODULES and (before in _FLAGS or before[:2] != "--"):
                new += _MODULES[_program(word)]
                done = True  # a later one is an argument, such as a name
            else:
                new.append(word)
                done = [before, word] in (call[1:] for call in _MODULES.values())
            before = str(word)
        out[field] = new
    return out


def words_of(container: JSON) -> list[str]:
    """All words of command and args, those of shell texts one by one."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [part for word in words for part in str(word).split()]


def port(container: JSON, name: str) -> int | None:
    """The port that ``--port 9000``, ``--dashboard-address :9000`` and the like fix; None when none does."""
    text = (option(words_of(container), name) or "").strip("'\"").rpartition(":")[2]
    return (int(text) or None) if text.isdecimal() and len(text) < 10 else None


def option(words: Sequence[Any], name: str) -> str | None:
    """Value of ``--name value`` or ``--name=value`` among the words of a command; None when it is not there."""
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            return str(words[index + 1])
        if isinstance(word, str) and word.startswith(name + "="):
            return word[len(name) + 1 :]
    return None
