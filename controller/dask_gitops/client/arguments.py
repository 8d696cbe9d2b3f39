"""Pure: what a user may give, and what is said where it is something else."""

from __future__ import annotations

import copy
import datetime
import difflib
import enum
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any

JSON = dict[str, Any]


#: Fields of a Pod whose keys are a person's own.
_FREE = frozenset(
    (
        "annotations",
        "labels",
        "limits",
        "matchLabels",
        "nodeSelector",
        "options",
        "overhead",
        "requests",
        "volumeAttributes",
    )
)
#: What Python's clients of Kubernetes call otherwise than by its letters.
_SHORT = {"ip": "IP", "ips": "IPs", "ipc": "IPC", "pid": "PID", "fqdn": "FQDN", "wwids": "WWIDs", "wwns": "WWNs", "id": "ID"}  # fmt: skip


class CreateMode(enum.Enum):
    """What to do about a cluster of that name that exists, or does not."""

    CREATE_ONLY = "CREATE_ONLY"
    CREATE_OR_CONNECT = "CREATE_OR_CONNECT"
    CONNECT_ONLY = "CONNECT_ONLY"


def create_mode(given: Any) -> CreateMode:
    """An Enum, ours or another client's, or its name in any case.

    :raises ValueError: it is none of the three.
    """
    name = getattr(given, "name", given)
    if isinstance(name, str) and name.upper() in CreateMode.__members__:
        return CreateMode[name.upper()]
    raise ValueError(
        f"create_mode is {given!r}; use CREATE_ONLY, CONNECT_ONLY or CREATE_OR_CONNECT"
    )


def count(field: str, given: Any) -> int:
    """A number of workers.

    :raises TypeError, ValueError: it is no whole number, or less than 0.
    """
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise TypeError(f"{field} is {given!r}; use a whole number")
    number = int(given.__index__())
    if number < 0:
        raise ValueError(f"{field} is {number}; use 0 or more")
    return number


def resources(field: str, given: Any) -> JSON | None:
    """Limits and requests of a container.

    :raises TypeError, ValueError: it is something else; the message names the part.
    """
    if given is None:
        return None
    example = "write a dict such as {'limits': {'cpu': '2', 'memory': '4Gi'}}"
    if not isinstance(given, Mapping):
        raise TypeError(f"{field} is {given!r}; {example}")
    for part, amounts in given.items():
        if part not in ("limits", "requests"):
            raise ValueError(
                f"{field} has the unknown field {part!r}; it may have: limits, requests"
            )
        if not isinstance(amounts, Mapping):
            example = "write a dict such as {'cpu': '2', 'memory': '4Gi'}"
            raise TypeError(f"{field}[{part!r}] is {amounts!r}; {example}")
    return {part: dict(amounts) for part, amounts in given.items()}


def seconds(field: str, given: Any) -> float:
    """Seconds, or a text such as ``5 minutes``.

    :raises TypeError, ValueError: it is something else, or no number that there is.
    """
    example = "use seconds, or '5 minutes'"
    value = given.total_seconds() if isinstance(given, datetime.timedelta) else given
    if isinstance(given, str):
        from dask.utils import parse_timedelta

        try:
            value = parse_timedelta(given)
        except (ValueError, LookupError, OverflowError):  # of what is no time, or has no end
            raise ValueError(f"{field} is {given!r}; {example}") from None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{field} is {given!r}; {example}")
    try:
        found = float(value)
    except OverflowError:  # too long to be shown, too
        raise ValueError(f"{field} is no number of seconds that there is; {example}") from None
    if not 0 <= found < float("inf"):
        raise ValueError(f"{field} is {given}; use 0 or more seconds")
    return found


def env(given: Any) -> list[JSON] | None:
    """Variables, as a mapping or as Kubernetes writes them.

    :raises TypeError: it is something else; the message names the entry.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        for name, value in given.items():
            if not isinstance(value, str):
                raise TypeError(f"env[{name!r}] is {value!r}; values are strings")
        return [{"name": name, "value": value} for name, value in given.items()]
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"env is {given!r}; write a dict such as {{'NAME': 'value'}}")
    found = []
    for i, entry in enumerate(given):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise TypeError(
                f"env[{i}] has no 'name'; each entry is {{'name': ..., 'value': ...}} or has "
                "'valueFrom'"
            )
        value = entry.get("value")
        if value is not None and not isinstance(value, str):
            raise TypeError(f"env[{i}]['value'] is {value!r}; values are strings")
        found.append(dict(entry))
    return found


def words(field: str, given: Any) -> list[str]:
    """A command: a text of words, or a list of them.

    :raises TypeError: it is something else.
    """
    found = given.split() if isinstance(given, str) else given
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        raise TypeError(f"{field} is {given!r}; write a text, or a list of words")
    if not found:
        raise ValueError(f"{field} is empty; write a command such as 'dask-worker'")
    return list(found)


def texts(field: str, given: Any) -> dict[str, str]:
    """Labels or annotations.

    :raises TypeError: a key or value is no text.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{field} is {given!r}; write a dict such as {{'team': 'b'}}")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{field}[{name!r}] is {value!r}; keys and values are strings")
    return dict(given)


def kubernetes_fields(field: str, given: Any) -> None:
    """Are the keys of a Pod's spec, or of a part of it, in Kubernetes' words?

    :raises TypeError, ValueError: one is no text, or is what Python's clients call a field.
    """
    if isinstance(given, list):
        for i, each in enumerate(given):
            kubernetes_fields(f"{field}[{i}]", each)
    if not isinstance(given, Mapping):
        return
    for key, value in given.items():
        if not isinstance(key, str):
            raise TypeError(f"{field} has the key {key!r}; keys are strings")
        if "_" in key:
            raise ValueError(
                f"{field} has {key!r}, which is no field of Kubernetes; write {_camel(key)!r}"
            )
        if key not in _FREE:
            kubernetes_fields(f"{field}.{key}", value)


def _camel(name: str) -> str:
    """``image_pull_policy`` -> ``imagePullPolicy``."""
    first, *more = [part for part in name.split("_") if part] or [name]
    return first + "".join(_SHORT.get(part, part[:1].upper() + part[1:]) for part in more)


def template(field: str, given: Any) -> JSON:
    """A Pod, or the spec of one: ``{"metadata": ..., "spec": ...}``.

    :raises TypeError, ValueError: it is something else.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{field} is {given!r}; write a dict: a Pod, or the spec of one")
    found = copy.deepcopy(dict(given))
    if "spec" not in found and not {"metadata", "kind"} & set(found):
        return {"spec": found}
    kind = found.get("kind", "Pod")
    if kind != "Pod":
        raise ValueError(f"{field} is a {kind}; write a Pod, or the spec of one")
    for part in ("metadata", "spec"):
        if not isinstance(found.get(part) or {}, Mapping):
            raise TypeError(f"{field}[{part!r}] is {found[part]!r}; write a dict")
    return {part: found[part] for part in ("metadata", "spec") if found.get(part)}


def path(field: str, given: Any) -> str:
    """A file's path.

    :raises TypeError: it is something else.
    """
    if not isinstance(given, str | os.PathLike) or not str(given):
        raise TypeError(f"{field} is {given!r}; write a path")
    return os.path.expanduser(str(given))


def unknown(of: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse arguments that nobody knows, with what may have been meant.

    :raises TypeError: there is one.
    """
    known = list(known)
    for name in names:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{of} has no argument {name!r}{meant}")
