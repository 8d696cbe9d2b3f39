"""YAML as Kubernetes reads it: kubectl, Helm, Argo CD and Flux, all with sigs.k8s.io/yaml.

That is YAML 1.1 with some words of 1.2, made JSON: `08` is 8 and `1e3` is 1000, `on` is true, `0o14` is 12 like `014`,
times and `12:30` are text, keys are text. Only a key that is there twice is refused here: of kubectl and Flux, one takes
the last and one takes none.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

DEEPEST = 100  # levels; no object of ours has 30
MOST_ALIASED = (
    1_000_000  # parts of a document that stand there by an alias: some lines can make billions
)

_TAGS = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)  # of it, only the parser is used


class DocumentError(Exception):
    """:ivar line: from 1 on; None: nobody knows."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def read(text: str) -> list[Any]:
    """The documents of a stream, as JSON values; an empty document is None.

    :raises DocumentError: Kubernetes would not read it either.
    """
    found = _as_json(text)
    return _as_yaml(text) if found is None else found


def _as_json(text: str) -> list[Any] | None:
    """Objects one after the other, as a stream that begins with a brace is tried first; None: it is no JSON."""
    if not text.lstrip().startswith("{"):
        return None
    decoder = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_int=_number, parse_float=_number, parse_constant=_no_number
    )
    found, at = [], _next(text, 0)
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found.append(value)
            at = _next(text, at)
    except (ValueError, RecursionError):
        return None
    for value in found:
        _check(value)
    return found


_BLANK = re.compile(r"\s*")


def _next(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise DocumentError(f"the key {twice!r} is there twice")
    return found


def _check(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise DocumentError(f"it is nested deeper than {DEEPEST} levels")
    if isinstance(value, str):
        _text(value, None)
    for part in (*value, *value.values()) if isinstance(value, dict) else ():
        _check(part, depth + 1)
    for part in value if isinstance(value, list) else ():
        _check(part, depth + 1)


# ---- numbers


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _number(text: str) -> int | float:
    """A JSON number; whole ones that 64 bits hold are int, as Kubernetes has it."""
    return _exact(float(text)) if re.search("[.eE]", text) else _whole(int(text[:400]), text)


def _whole(number: int, text: str = "") -> int | float:
    if -(2**63) <= number < 2**63:
        return number
    try:
        return _exact(float(text or number))
    except OverflowError:
        raise ValueError(text[:40]) from None


def _exact(number: float) -> int | float:
    if not math.isfinite(number):
        raise ValueError(number)
    # Written as JSON, 1e20 has no exponent, 1e21 has one.
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


_INT = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_BASES = {"x": 16, "o": 8, "b": 2}
_WORDS: dict[str, Any] = {
    word: value
    for value, some in (
        (True, "y Y yes Yes YES true True TRUE on On ON"),
        (False, "n N no No NO false False FALSE off Off OFF"),
        (None, "~ null Null NULL"),
        (math.nan, ".nan .NaN .NAN"),
        (math.inf, ".inf .Inf .INF +.inf +.Inf +.INF"),
        (-math.inf, "-.inf -.Inf -.INF"),
    )
    for word in some.split()
} | {"": None}


def resolve(text: str) -> Any:
    """What a word without quotes means: None, bool, int (64 bits), float, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not re.match(r"[-+.0-9]", text):
        return text
    if text[0] == ".":
        return _float(text, text)
    plain = text.replace("_", "")
    found = _INT.match(plain)
    if found:
        digits = found[2].lower()
        letter = digits[1:2]
        base = _BASES.get(letter) or (8 if digits[0] == "0" and len(digits) > 1 else 10)
        if len(digits) < 400:
            number = int(digits[2:] if letter in _BASES else digits, base)
            number = -number if found[1] == "-" else number
            if -(2**63) <= number < 2**64:
                return number
    return _float(plain, text)


def _float(plain: str, text: str) -> Any:
    if not _FLOAT.match(plain):
        return text
    number = float(plain)
    return number if math.isfinite(number) else text


# ---- nodes


@dataclass
class _Node:
    """:ivar parts: of a list; of a map, keys and values in turns."""

    kind: type[yaml.Event]
    line: int
    tag: str = ""
    value: str = ""
    plain: bool = False
    parts: list[_Node] = field(default_factory=list)
    open: bool = True
    aliased: bool = False


_SEPARATOR = re.compile(r"^---[ \t]*[^#\s].*$", re.M)


def _as_yaml(text: str) -> list[Any]:
    crowded = _SEPARATOR.search(text)
    if crowded:
        line = text.count("\n", 0, crowded.start()) + 1
        raise DocumentError("behind --- only a comment may stand", line)
    try:
        return [_Reader().value(node) if node else None for node in _documents(text)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(error.problem or str(error), mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise DocumentError(" ".join(str(error).split())) from error
    except UnicodeEncodeError:
        raise DocumentError("it is no Unicode text") from None


def _documents(text: str) -> Iterator[_Node | None]:
    """Their roots, made without recursion."""
    events: Iterable[Any] = yaml.parse(text, Loader=_Loader)
    anchors: dict[str, _Node] = {}
    stack: list[_Node] = []
    root: _Node | None = None
    for event in events:
        line = event.start_mark.line + 1
        node: _Node | None = None
        if isinstance(event, yaml.DocumentStartEvent):
            anchors, root = {}, None
            if event.version or event.tags:
                raise DocumentError("directives (%) are not read", line)
        elif isinstance(event, yaml.DocumentEndEvent):
            yield root
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise DocumentError(f"unknown anchor {event.anchor!r}", line)
            known = anchors[event.anchor]
            if known.open:
                raise DocumentError(f"the anchor {event.anchor!r} contains itself", line)
            node = _Node(known.kind, line, known.tag, known.value, known.plain, known.parts, False)
            node.aliased = True
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
        elif isinstance(event, yaml.ScalarEvent):
            tag = event.tag or ""
            node = _Node(type(event), line, tag, event.value, not tag and event.implicit[0])
            node.open = False
        elif isinstance(event, yaml.CollectionStartEvent):
            node = _Node(type(event), line, event.tag or "")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            assert node is not None
            if event.anchor:
                anchors[event.anchor] = node
        if node is not None:
            if stack:
                stack[-1].parts.append(node)
            else:
                root = node
        if node is not None and node.open:
            stack.append(node)
            if len(stack) > DEEPEST:
                raise DocumentError(f"it is nested deeper than {DEEPEST} levels", line)


class _Reader:
    """Makes values of the nodes of one document."""

    def __init__(self) -> None:
        self._aliased = 0

    def value(self, node: _Node, depth: int = 0, aliased: bool = False) -> Any:
        """A value of its own: what an alias names is copied."""
        aliased = aliased or node.aliased
        self._aliased += aliased
        if self._aliased > MOST_ALIASED:
            raise DocumentError("its aliases make too much of it", node.line)
        if depth > DEEPEST:
            raise DocumentError(f"it is nested deeper than {DEEPEST} levels", node.line)
        if node.kind is yaml.ScalarEvent:
            return _json(_scalar(node), node)
        if node.kind is yaml.SequenceStartEvent:
            return [self.value(part, depth + 1, aliased) for part in node.parts]
        return self._map(node, depth, aliased)

    def _map(self, node: _Node, depth: int, aliased: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        mine: set[str] = set()
        for key, value in _pairs_of(node.parts):
            if _is_merge(key):
                for some in self._merged(value, depth, aliased):
                    out.update(some)
                continue
            name = _key(key)
            if name in mine:
                raise DocumentError(f"the key {name!r} is there twice", key.line)
            mine.add(name)
            out[name] = self.value(value, depth + 1, aliased)
        return out

    def _merged(self, node: _Node, depth: int, aliased: bool) -> Iterator[dict[str, Any]]:
        """The first of them has the last word; what is merged has it over what stands before it."""
        some = node.parts if node.kind is yaml.SequenceStartEvent else [node]
        for part in reversed(some):
            if part.kind is not yaml.MappingStartEvent:
                raise DocumentError("only maps can be merged by <<", node.line)
            yield self.value(part, depth + 1, aliased or node.aliased)


def _pairs_of(parts: list[_Node]) -> Iterator[tuple[_Node, _Node]]:
    return zip(parts[::2], parts[1::2], strict=True)


def _is_merge(key: _Node) -> bool:
    return key.kind is yaml.ScalarEvent and (
        (key.plain and key.value == "<<") or key.tag == f"{_TAGS}merge"
    )


def _scalar(node: _Node) -> Any:
    if node.plain:
        return resolve(node.value)
    name = node.tag.removeprefix(_TAGS)
    if name == "binary":
        try:
            return base64.b64decode("".join(node.value.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise DocumentError("!!binary is no text in base64", node.line) from None
    if name not in ("null", "bool", "int", "float"):
        return node.value
    found = resolve(node.value)
    kinds: dict[str, tuple[type, ...]] = {
        "null": (type(None),),
        "bool": (bool,),
        "int": (int,),
        "float": (float, int),
    }
    if not isinstance(found, kinds[name]) or (isinstance(found, bool) and name != "bool"):
        raise DocumentError(f"{node.value[:40]!r} is no {name}", node.line)
    return found


def _json(value: Any, node: _Node) -> Any:
    if isinstance(value, str):
        return _text(value, node.line)
    if isinstance(value, bool) or value is None:
        return value
    try:
        return _exact(value) if isinstance(value, float) else _whole(value)
    except ValueError:
        raise DocumentError(f"{node.value[:40]!r} is no number of JSON", node.line) from None


def _text(value: str, line: int | None) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DocumentError("it is no Unicode text", line) from None
    return value


def _key(node: _Node) -> str:
    """A key as text, as JSON has it."""
    if node.kind is not yaml.ScalarEvent:
        raise DocumentError("a list or a map cannot be a key", node.line)
    value = _scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value < 2**63:
        return str(value)
    if isinstance(value, float):
        return _short(value)
    if not isinstance(value, str):
        raise DocumentError(f"{node.value[:40]!r} cannot be a key", node.line)
    return _text(value, node.line)


def _short(value: float) -> str:
    """Go's shortest form of 32 bits, with an exponent from a million on, or below 0.0001."""
    if math.isnan(value):
        return ".nan"
    if abs(value) > 3.4028235677973366e38:
        return "-.inf" if value < 0 else ".inf"
    single = struct.unpack("f", struct.pack("f", value))[0]
    for digits in range(1, 10):
        text = f"{single:.{digits - 1}e}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == single:
            break
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if power < -4 or power >= 6:
        return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02}"
    return f"{float(text):.{max(0, digits - 1 - power)}f}"
