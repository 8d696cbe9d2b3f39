"""Commands that old manifests use, in words that every version of Dask understands.

The console scripts ``dask-scheduler`` and ``dask-worker`` are gone since distributed 2026.6, while
``python -m distributed.cli.dask_scheduler`` and ``.dask_worker`` work in all versions.
"""

from __future__ import annotations

import re
from typing import Any

JSON = dict[str, Any]
_MODULES = {
    "dask-scheduler": ["python", "-m", "distributed.cli.dask_scheduler"],
    "dask-worker": ["python", "-m", "distributed.cli.dask_worker"],
}
# In a shell text: the word where a command may stand, i.e. at the start, after a separator, after a word like exec,
# behind variables that are set for it.
_IN_SHELL = re.compile(
    r"((?:^|[\n;&|({]|\b(?:exec|nohup|then|do|else|time)\s|\s--\s)\s*(?:\w+=\S*\s+)*)"
    r"(?:[^\s;&|(){}]*/)?(dask-scheduler|dask-worker)(?=[\s;&|)]|$)"
)
_SHELL_OPTION = re.compile(r"-[a-z]*c")  # bash -c, sh -ec, bash -lc


def _program(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def modernised(container: JSON) -> JSON:
    """The container with ``dask-scheduler`` / ``dask-worker`` in command or args replaced by the module's call."""
    out = dict(container)
    for field in ("command", "args"):
        words = out.get(field)
        if not isinstance(words, list):
            continue
        new: list[Any] = []
        done = False
        for index, word in enumerate(words):
            before = str(words[index - 1]) if index else ""
            if not isinstance(word, str) or done:
                new.append(word)
            elif _SHELL_OPTION.fullmatch(before) or any(c.isspace() for c in word):
                new.append(_IN_SHELL.sub(lambda m: m[1] + " ".join(_MODULES[m[2]]), word))
            elif _program(word) in _MODULES and (before == "--" or before[:2] != "--"):
                new += _MODULES[_program(word)]
                done = True  # a later one is an argument, such as a name
            else:
                new.append(word)
        out[field] = new
    return out


def option(words: list[Any], name: str) -> str | None:
    """Value of ``--name value`` or ``--name=value`` among the words of a command; None when it is not there."""
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            return str(words[index + 1])
        if isinstance(word, str) and word.startswith(name + "="):
            return word[len(name) + 1 :]
    return None
