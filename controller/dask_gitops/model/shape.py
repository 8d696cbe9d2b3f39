"""Pure: does a JSON value have the shape that we read it in? If not, where and how it differs, in words for a person.

Only what the controller itself reads is looked at; all else is for the API server to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]

_KEY_LIMIT = 63  # characters of a user's key in a path
_LARGEST = 2**63 - 1  # an int64, as every number of the API


@dataclass(frozen=True, slots=True)
class WrongShape:
    """One value that cannot be read.

    :ivar path: of the field, as ``spec.worker.spec.containers[1].env``.
    :ivar said: what it is, and what it should be.
    """

    path: str
    said: str

    def __str__(self) -> str:
        return f"{self.path}: {self.said}"


#: Value and its path -> what is wrong with it first; None: nothing.
Shape = Callable[[Any, str], WrongShape | None]


def kind_of(value: Any) -> str:
    """A JSON value's kind, in words: ``a string``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, dict) else "a list"


def _expected(value: Any, path: str, what: str) -> WrongShape:
    return WrongShape(path, f"is {kind_of(value)}; expected {what}")


def text(value: Any, path: str) -> WrongShape | None:
    return None if isinstance(value, str) else _expected(value, path, "a string")


def flag(value: Any, path: str) -> WrongShape | None:
    return None if isinstance(value, bool) else _expected(value, path, "true or false")


def quantity(value: Any, path: str) -> WrongShape | None:
    """``"500m"`` or ``2``."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None
    return _expected(value, path, "a quantity")


def amount(value: Any, path: str) -> WrongShape | None:
    """A number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _expected(value, path, "a number")
    fits = 0 <= value <= 1e308
    return None if fits else WrongShape(path, "is out of range; expected a number from 0 on")


def whole(least: int | None = None) -> Shape:
    """A whole number, as Kubernetes takes it."""

    def check(value: Any, path: str) -> WrongShape | None:
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, float):
                return WrongShape(path, "has a fraction or an exponent; expected a whole number")
            return _expected(value, path, "a whole number")
        if least is not None and value < least:
            return WrongShape(path, f"is less than {least}")
        return None if abs(value) <= _LARGEST else WrongShape(path, "is out of range")

    return check


def whole_or_text(value: Any, path: str) -> WrongShape | None:
    """A number of workers, or a percentage of them."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return None
    return _expected(value, path, "a whole number or a percentage")


def list_of(item: Shape, *, nulls: bool = False) -> Shape:
    """:param nulls: Kubernetes takes them, as empty texts."""

    def check(value: Any, path: str) -> WrongShape | None:
        if not isinstance(value, list):
            return _expected(value, path, "a list")
        for index, each in enumerate(value):
            if each is None and nulls:
                continue
            if (wrong := item(each, f"{path}[{index}]")) is not None:
                return wrong
        return None

    return check


def map_of(item: Shape) -> Shape:
    """An object with the user's own keys; null is as good as absent."""

    def check(value: Any, path: str) -> WrongShape | None:
        if not isinstance(value, dict):
            return _expected(value, path, "an object")
        for key, each in value.items():
            if each is not None and (wrong := item(each, f"{path}[{key[:_KEY_LIMIT]}]")):
                return wrong
        return None

    return check


def record(*required: str, **fields: Shape) -> Shape:
    """An object with fields of ours, null as good as absent; others are not looked at.

    :param required: fields without which it cannot be read.
    """

    def check(value: Any, path: str) -> WrongShape | None:
        if not isinstance(value, dict):
            return _expected(value, path, "an object")
        for key in required:
            if value.get(key) is None:
                return WrongShape(f"{path}.{key}", "is missing")
        for key, shape in fields.items():
            found = value.get(key)
            if found is not None and (wrong := shape(found, f"{path}.{key}")) is not None:
                return wrong
        return None

    return check
