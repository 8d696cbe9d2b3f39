"""Pure: commands that old manifests use, in words that every version of Dask understands.

The console scripts ``dask-scheduler`` and ``dask-worker`` are gone since distributed 2026.6, while
``python -m distributed.cli.dask_scheduler`` and ``.dask_worker`` work in all versions. They are also what people call
hosts, workers and files: only where a program to run may stand does such a word mean one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from dask_gitops.model.podspec import Container
from dask_gitops.resources import shelltext

_MODULES = {
    "dask-scheduler": ("python", "-m", "distributed.cli.dask_scheduler"),
    "dask-worker": ("python", "-m", "distributed.cli.dask_worker"),
}
_SHELLS = {"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"}
_SWITCH_USER = {"su", "runuser"}  # they hand a text to a shell, behind -c
# Programs that run the one that is named behind their own options, and how many words of their own stand before it.
_STARTERS = {
    "tini": 0, "tini-static": 0, "dumb-init": 0, "catatonit": 0, "env": 0, "exec": 0, "command": 0, "nohup": 0, "nice": 0,
    "ionice": 0, "time": 0, "stdbuf": 0, "setsid": 0, "numactl": 0, "xvfb-run": 0, "sudo": 0, "setpriv": 0,
    "eval": 0, "timeout": 1, "gosu": 1, "su-exec": 1, "taskset": 1, "chrt": 1,
}  # fmt: skip
_RUN_STARTERS = {
    "conda",
    "mamba",
    "micromamba",
    "pipenv",
    "pixi",
    "poetry",
    "uv",
}  # with their word `run`
_SCRIPTS = {"entrypoint", "docker-entrypoint", "prepare", "start"}  # like any *.sh
# In a shell text, a command may follow these at once.
_KEYWORDS = {"then", "do", "else", "elif", "if", "while", "until", "!", "{"}
# Options that stand alone, where one cannot see whether the next word is its value.
_FLAGS = {"--no-capture-output", "--live-stream", "--foreground", "--preserve-status", "--ignore-environment"}  # fmt: skip
_VALUES = {"--name", "--prefix", "--cwd", "--user", "--group", "--chdir", "--unset", "--environment", "--project"}  # fmt: skip
_SHORT_FLAGS = {"tini": "gsvw", "tini-static": "gsvw", "dumb-init": "cv", "env": "i0v", "sudo": "EHnS", "exec": "cl",
                "conda": "v", "mamba": "v", "micromamba": "v", "time": "pv", "xvfb-run": "a", "setsid": "cfw"}  # fmt: skip
_OPAQUE = {"dask", "dask-cuda-worker"}  # what follows are their own words, also behind --


def program(word: str) -> str:
    """``/usr/bin/tini`` -> ``tini``."""
    return word.rsplit("/", 1)[-1]


def modernised(container: Container) -> Container:
    """The container with ``dask-scheduler`` / ``dask-worker`` as the program of its command or args replaced."""
    command, args = container.command, container.args
    new = _modern_words((*command, *args))
    if new is None:
        return container
    fields = dict(container.fields)
    for field, part in (("command", new[: len(command)]), ("args", new[len(command) :])):
        if part:
            fields[field] = [word for words in part for word in words]
    return Container(fields)


class Word(NamedTuple):
    """Of a command.

    :ivar raw: as a shell text has it, with its quotes; None: no shell reads it.
    """

    text: str
    raw: str | None


def starts(words: Sequence[str], component: str) -> list[list[Word]]:
    """What stands behind each start of ``scheduler`` or ``worker``, among words that are run and in their shell texts."""
    found: list[list[Word]] = []

    def see(words: Sequence[str], raw: Sequence[str] | None) -> dict[int, str]:
        among = Programs(words, in_shell=raw is not None)
        for at in among.programs:
            if (behind := behind_start(words, at, component)) is not None:
                some = range(behind, len(words))
                found.append([Word(words[n], None if raw is None else raw[n]) for n in some])
        for at in among.texts:
            if raw is None:
                see_text(words[at])
            else:
                shelltext.inside(raw[at], see_text)
        return {}

    def see_text(text: str) -> str:
        return shelltext.replaced(text, see)

    see(words, None)
    return found


def behind_start(words: Sequence[str], at: int, component: str) -> int | None:
    """Where the options begin, if this program is ``dask-scheduler``, ``dask scheduler``, ``python -m ...dask_scheduler``."""
    old = (f"dask-{component}", f"dask_{component}")
    if program(words[at]).startswith("python"):
        rest = range(at + 1, len(words))
        at = next((n for n in rest if words[n] == "-m" or words[n][:1] != "-"), len(words) - 1)
        at = min(at + (words[at] == "-m"), len(words) - 1)
    name = program(words[at]).rpartition(".")[2]
    if name in old:
        return at + 1
    return at + 2 if name == "dask" and list(words[at + 1 : at + 2]) == [component] else None


def _is_old(word: str) -> bool:
    return program(word) in _MODULES


def _modern_words(words: tuple[str, ...]) -> list[tuple[str, ...]] | None:
    """What stands for each word; None: every word for itself."""
    if not any(old in word for word in words for old in _MODULES):
        return None
    found = Programs(words)
    out: list[tuple[str, ...]] = [(word,) for word in words]
    for at in found.programs:
        if _is_old(words[at]):
            out[at] = _MODULES[program(words[at])]
    for at in found.texts:
        out[at] = (_modern_text(words[at]),)
    return out


@lru_cache(maxsize=32)
def _modern_text(text: str) -> str:
    """A shell text in which the old words are replaced where a command may stand."""
    return shelltext.replaced(text, _edits)


def _edits(words: Sequence[str], raw: Sequence[str]) -> dict[int, str]:
    """What stands for some of the words of one command in a shell text, by their index.

    :param raw: the words as they are written, with their quotes.
    """
    found = Programs(words, in_shell=True)
    out = {
        at: " ".join(_MODULES[program(words[at])]) for at in found.programs if _is_old(words[at])
    }
    for at in found.texts:
        out[at] = shelltext.inside(raw[at], _modern_text)
    return out


class Programs:
    """Where among words that are run stands a program, and where a text for a shell.

    :ivar programs: indices, those of programs that start another one among them.
    :ivar texts: indices.
    """

    def __init__(self, words: Sequence[str], *, in_shell: bool = False) -> None:
        self.words = words
        self.in_shell = in_shell
        self.programs: list[int] = []
        self.texts: list[int] = []
        self._dashes = iter([at for at, word in enumerate(words) if word == "--"])
        self._dash = next(self._dashes, None)
        at: int | None = 0
        while at is not None and at < len(words):
            at = self._program(at)

    def _program(self, at: int) -> int | None:
        """Look at the word where a program should stand; where is the next such place?"""
        word = self.words[at]
        name = program(word)
        if word == "--" or (self.in_shell and (word in _KEYWORDS or _assigns(word))):
            return at + 1
        if not self.in_shell and at == 0 and any(c.isspace() for c in word):
            self.texts.append(at)  # the image's own entrypoint is a shell
            return self._behind_dashes(at)
        self.programs.append(at)
        if name in _MODULES or name in _OPAQUE or name.startswith("python"):
            return None
        if name in _SHELLS:
            return self._shell(at + 1)
        if name in _SWITCH_USER:
            return self._text_of(at + 1)
        if name in _RUN_STARTERS:
            return self._run(at + 1, name)
        if name in _STARTERS:
            return self._options(at + 1, name, _STARTERS[name])
        if (name.endswith(".sh") and not name.startswith("wait")) or name in _SCRIPTS:
            behind = self._behind_dashes(at)
            return self._options(at + 1, "", 0) if behind is None else behind
        return self._behind_dashes(at)

    def _behind_dashes(self, at: int) -> int | None:
        while self._dash is not None and self._dash <= at:
            self._dash = next(self._dashes, None)
        return None if self._dash is None else self._dash + 1

    def _shell(self, at: int) -> int | None:
        """``bash -lc text``, ``bash -l script``."""
        while at < len(self.words):
            word = self.words[at]
            if word in _SHELLS:  # busybox sh
                at += 1
            elif word[:1] in ("-", "+") and word != "--":
                at += 1
                if word[1:2] != "-" and "c" in word[1:]:
                    return self._text_of(at - 1)
                if word in ("-o", "+o", "--rcfile", "--init-file"):
                    at += 1
            else:
                return at
        return None

    def _text_of(self, at: int) -> int | None:
        """The text behind ``-c``, or ``-ec``."""
        while at < len(self.words):
            word = self.words[at]
            if word[:1] == "-" and word[1:2] != "-" and word.endswith("c"):
                if at + 1 < len(self.words):
                    self.texts.append(at + 1)
                return self._behind_dashes(at + 1)
            at += 1
        return None

    def _run(self, at: int, name: str) -> int | None:
        """``conda run -n env program``."""
        while at < len(self.words):
            if self.words[at] == "run":
                return self._options(at + 1, name, 0)
            if not self.words[at].startswith("-"):
                return None
            at += 1
        return None

    def _options(self, at: int, starter: str, own: int) -> int | None:
        """Past the options of a program that starts another one, and so many more words of its own."""
        flags = _SHORT_FLAGS.get(starter, "")
        while at < len(self.words):
            word = self.words[at]
            if word == "--":
                return at + 1
            if starter in ("env", "sudo") and (_assigns(word) or word == "-"):
                at += 1
            elif word.startswith("-") and len(word) > 1:
                at += 1
                if self._takes_value(word, starter, flags, at):
                    at += 1
            elif own:
                own -= 1
                at += 1
            else:
                return at
        return None

    def _takes_value(self, option: str, starter: str, flags: str, at: int) -> bool:
        """Is the word after this option its value?"""
        if at >= len(self.words) or self.words[at].startswith("-"):
            return False
        if option in _FLAGS or "=" in option or option.startswith("--no-"):
            return False
        if option[1] == "-":
            return not starter or option in _VALUES or not _is_old(self.words[at])
        if len(option) > 2 or option[1:].isdecimal() or option[1] in flags:
            return False  # -n5, or flags together
        # Of a script nobody knows: an old word behind it is the program rather than a value.
        return bool(starter) or not _is_old(self.words[at])


def _assigns(word: str) -> bool:
    """``NAME=value``"""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def option(words: Iterable[str], name: str) -> str | None:
    """Value of ``--name value`` or ``--name=value`` among the words of a command; None when it is not there."""
    words = list(words)
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(name + "="):
            return word[len(name) + 1 :]
    return None
