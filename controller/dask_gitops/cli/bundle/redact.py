"""Pure: takes out what nobody may see: values of variables, tokens, passwords, keys.

Two nets, one behind the other. Values of variables go by their place in objects, and then by themselves wherever they
stand: a program prints what it was given. What looks like a secret goes by its looks. Rather too much than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

JSON = dict[str, Any]
OUT = "(removed)"
#: Shorter values of variables stand in too many texts that are none of theirs.
SHORTEST = 6
#: Made by the controller of names, and needed by who reads.
_OF_NAMES = {"DASK_WORKER_NAME", "DASK_SCHEDULER_ADDRESS"}
_NAMES = re.compile(r"tcp://[a-z0-9.-]+\.svc:\d+|[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
#: Lists of names and values that only their owner knows, and what else is data.
_VARIABLES = {"env", "httpHeaders"}
_FIELDS = {"data", "stringData", "binaryData"}
#: Annotations that repeat what the object says, values and all.
_COPIES = re.compile(r"last-applied|last-handled|objectset\.rio\.cattle\.io/applied")
_SECRET = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|signature|sig|authorization|auth|cookie|session(?:[-_. ]?id)?"
    r"|(?:api|access|private|account|client|signing|encryption|license|shared|master|secret|deploy|ssh|hmac)[-_. ]?key)"
)
#: Such a word at the end of a name, such as ``my_db_password`` or ``tokens2``. Bounded: lines have no end.
_NAMED = rf"{_SECRET}(?:s|\d{{1,3}})?(?:[-_.][A-Za-z0-9]{{1,40}}){{0,3}}"
_OPTION_NAME = rf"--?[A-Za-z0-9_.-]{{0,40}}{_NAMED}"
_VALUE = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&,;}\])]+)"""
_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A key or certificate, from its first line to its last, also in one line of a log.
    (re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), OUT),
    # user:password@ and token@ of a URL
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/@\"']+@"), rf"\1{OUT}@"),
    (re.compile(r"\b(bearer|basic|digest|negotiate)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), OUT),
    # JSON Web Tokens, and tokens that say whose they are
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"), OUT),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), OUT),
    (
        re.compile(
            r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|hf_|npm_|pypi-|AIza|ya29\.|dapi)[A-Za-z0-9_.-]{8,}"
        ),
        OUT,
    ),
    # password=..., "apiKey": "...", token: ..., and --token ...
    (
        re.compile(rf"""({_NAMED}["']?\s{{0,3}}(?:=>?|:)\s{{0,3}}){_VALUE}""", re.IGNORECASE),
        rf"\1{OUT}",
    ),
    (re.compile(rf"((?<!\S){_OPTION_NAME}\s{{1,3}}){_VALUE}", re.IGNORECASE), rf"\1{OUT}"),
)
_OPTION = re.compile(_OPTION_NAME, re.IGNORECASE)


class Redactor:
    """Knows the values of all variables of the objects that it has seen."""

    def __init__(self, objects: Iterable[JSON]) -> None:
        values = {
            part
            for each in objects
            for value in _values(each)
            for part in (value, *map(str.strip, value.splitlines()))  # a log has it line by line
            if len(part) >= SHORTEST
        }
        # The longest first: one may stand in another.
        words = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
        self._known = re.compile(words) if words else None

    def text(self, text: str) -> str:
        """A text without what is known, and without what looks like a secret."""
        if self._known is not None:
            text = self._known.sub(OUT, text)
        for pattern, instead in _LOOKS:
            text = pattern.sub(instead, text)
        return text

    def object(self, value: Any, field: str = "") -> Any:
        """An object without values of variables, data of Secrets and copies of itself; all texts as above."""
        if isinstance(value, dict):
            return {key: self._field(key, inner, field) for key, inner in value.items()}
        if isinstance(value, list):
            if field in ("args", "command"):
                return self._words(value)
            return [self.object(each, field) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def _field(self, key: str, value: Any, where: str) -> Any:
        if key == "managedFields" or (where == "annotations" and _COPIES.search(key)):
            return OUT
        if key in _FIELDS and value:
            return OUT
        if key in _VARIABLES:
            return _without_values(value)
        if isinstance(value, str) and _is_secret(key):
            return OUT
        return self.object(value, key)

    def _words(self, words: list[Any]) -> list[Any]:
        """Of a command: what follows an option for a secret is one."""
        found: list[Any] = []
        after = False
        for word in words:
            found.append(OUT if after else self.object(word))
            after = isinstance(word, str) and _OPTION.fullmatch(word) is not None
        return found


def _is_secret(key: str) -> bool:
    """Is this the name of a field, label or annotation that holds a secret itself, not the name of one?"""
    return re.search(rf"{_SECRET}s?\Z", key, re.IGNORECASE) is not None


def _without_values(variables: Any) -> Any:
    """Names of variables; where a value comes from stays."""
    if isinstance(variables, dict):
        return dict.fromkeys(variables, OUT)
    if not isinstance(variables, list):
        return OUT
    return [
        {
            key: OUT if key == "value" and not _is_made(each) else inner
            for key, inner in each.items()
        }
        if isinstance(each, dict)
        else OUT
        for each in variables
    ]


def _is_made(variable: JSON) -> bool:
    return variable.get("name") in _OF_NAMES and bool(_NAMES.fullmatch(str(variable.get("value"))))


def _values(value: Any, field: str = "") -> Iterable[str]:
    """Values of variables, wherever in an object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _VARIABLES and isinstance(inner, dict):
                yield from (str(each).strip() for each in inner.values())
            else:
                yield from _values(inner, key)
    elif isinstance(value, list):
        for each in value:
            if field in _VARIABLES and isinstance(each, dict):
                if not _is_made(each) and isinstance(each.get("value"), str):
                    yield each["value"].strip()
            else:
                yield from _values(each, field)
