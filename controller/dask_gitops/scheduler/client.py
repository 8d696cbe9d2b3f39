"""HTTP client of the control API that runs inside a user's scheduler (`control.py`).

The other end runs users' code, so it may answer anything. Whatever it does, a call ends within its
timeout (once it is made, see `patience.py`), holds at most `MAX_ANSWER` bytes of its answer, keeps
the event loop for a tenth of a second at most, and either returns checked dataclasses or raises
`SchedulerUnavailable`. Nothing is ever unpickled, no redirect followed, nothing unpacked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

import aiohttp

from dask_gitops.plan.demand import Demand, Kind, Process
from dask_gitops.resources.listening import Listening
from dask_gitops.scheduler.errors import SchedulerUnavailable, SchedulerUnreachable
from dask_gitops.scheduler.patience import DECODED, Budget, Patience
from dask_gitops.text import printable

__all__ = ["Outcome", "SchedulerClient", "SchedulerUnavailable", "State", "WorkerRow", "base_url"]

MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of an answer that are read at most: some 5,000 workers."""

CONNECT_SHARE = 0.8
"""Of a call's timeout, for the connection alone: one that takes longer tells of a closed port, not of a busy scheduler."""

MAX_CONTAINERS, MAX_COMMAS = 15_000, 150_000
"""Of an answer, counted before it is decoded: 2 MiB of `[],[],` would take half a second and 50 MB."""

ROWS_AT_ONCE = 200
"""Workers of an answer that are checked before others get the event loop: some 5 ms."""

MAX_KINDS, MAX_NEEDS = 200, 20
"""Kinds of tasks that a scheduler may tell apart, and resources that one kind may need."""

MAX_STATES = 100
"""States of tasks that a scheduler may tell apart; Dask has ten."""

MAX_WAIT_S = 20.0
"""Seconds that a `retire` call may wait inside the scheduler."""

T = TypeVar("T")
OutcomeState = Literal["retired", "gone", "draining", "refused"]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker as its scheduler sees it."""

    id: str
    """Server id: new for each worker process, unlike names and addresses."""
    address: str
    """As in Dask: `tcp://10.0.0.7:40123`."""
    host: str
    """IP of `address` in canonical form (a name, if the worker registered with one)."""
    name: str
    status: str
    """Dask's word: `running`, `paused`, `closing_gracefully` (also: leaving), ..."""
    processing: int
    """Tasks sent to the worker: started, waiting there, and seceded ones."""
    running: int
    """Tasks started: exact for a leaving worker after its next heartbeat, else an upper bound."""
    long_running: int
    """Tasks that seceded from the thread pool; part of `running`."""
    keys: int
    unique_keys: int
    """Keys without a copy on a worker that stays."""
    bytes: int
    unique_bytes: int
    actors: int
    nthreads: int
    resources: Mapping[str, float]
    last_seen_age: float
    """Seconds since the last heartbeat."""
    leaving: bool
    """True while the scheduler is bringing it to its end because we asked."""
    refused: str | None
    """Why the last retire of this worker was refused; None: it was not."""


@dataclass(frozen=True, slots=True)
class State:
    """What the controller needs to know of a scheduler, at one moment."""

    id: str
    """Server id of the scheduler: changes when it restarts."""
    version: str
    """Version of distributed in the scheduler."""
    now: float
    """The scheduler's own clock, seconds since the epoch."""
    idle_since: float | None
    """Since when (same clock) no task waits or runs, at the earliest since the scheduler's start;
    None: busy. It looks every second, so the true moment is up to a second earlier. Results in
    memory do not count as work."""
    clients: int
    tasks: Mapping[str, int]
    """Number of tasks per state of Dask's (`waiting`, `processing`, `queued`, `memory`, ...)."""
    workers: tuple[WorkerRow, ...]
    listens: Listening | None = None
    """Where it listens in truth; None: it runs since an earlier version, which does not tell."""

    @property
    def idle_seconds(self) -> float | None:
        """For how long nothing has run, seconds by the scheduler's clock; None: busy."""
        return None if self.idle_since is None else max(0.0, self.now - self.idle_since)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a retired worker is."""

    state: OutcomeState
    """`retired`: removed by us, its keys are elsewhere (or were discarded as asked). `gone`: the
    scheduler does not know it and did not retire it. `draining`: going on, call again. `refused`:
    it is back at work, `message` says why."""
    message: str
    """For people: "2 tasks running". Printable, at most 200 characters."""
    lost: bool = False
    """Something was discarded with it."""


def base_url(host: str, port: int) -> str:
    """Return the base URL for a pod IP (IPv4 or IPv6, without brackets) or a host name."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SchedulerClient:
    """Talks to the control API of any number of schedulers through one shared session.

    The session should have no cookie jar of its own (`aiohttp.DummyCookieJar`) and no proxy.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float = 5.0,
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """
        - `timeout_s`: seconds that a call may take in all (`retire`: besides its `wait_s`).
        - `aside`: entered while a scheduler is waited for, so that the caller's place is free.
        """
        self._session = session
        self._timeout_s = timeout_s
        self._aside = aside
        self._patience = Patience()
        self._budget = Budget(DECODED)

    async def state(self, base_url: str, token: str) -> State:
        """Return what the scheduler knows. Raises `SchedulerUnavailable`."""
        return await self._call("GET", base_url, "state", token, _parse_state)

    async def demand(self, base_url: str, token: str) -> Demand:
        """Return what there is to do and who does it. Raises `SchedulerUnavailable`."""
        return await self._call("GET", base_url, "demand", token, _parse_demand)

    async def retire(
        self,
        base_url: str,
        token: str,
        ids: Iterable[str],
        wait_s: float = 0.0,
        interrupt: bool = False,
        discard: bool = False,
    ) -> dict[str, Outcome]:
        """Drain and remove the workers with these server ids; return one outcome per id.

        Idempotent, and carried on by the scheduler when the call ends: repeat until nothing is
        `draining`. Give all ids that should leave in one call, so that none receives the keys of
        another. The flags of the latest call hold.

        - `wait_s`: the scheduler answers after so many seconds, earlier if all came to an end.
        - `interrupt`: do not wait for running tasks; they run again elsewhere.
        - `discard`: remove a worker also if its keys have no place to go or it holds actors.

        Raises `SchedulerUnavailable`; the drain may then have begun all the same.
        """
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        wait_s = min(max(wait_s, 0.0), MAX_WAIT_S)
        body = {"ids": asked, "wait_s": wait_s, "interrupt": interrupt, "discard": discard}

        async def parse(answer: Any) -> dict[str, Outcome]:
            return await _parse_per_id(answer, asked, _parse_outcome)

        return await self._call("POST", base_url, "retire", token, parse, body, wait_s)

    async def undrain(self, base_url: str, token: str, ids: Iterable[str]) -> dict[str, str]:
        """Stop retiring these workers: back to work. Return the status of each.

        The status is Dask's word (`running`), or `gone` for an id that the scheduler does not know.
        Raises `SchedulerUnavailable`.
        """
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}

        async def parse(answer: Any) -> dict[str, str]:
            return await _parse_per_id(answer, asked, lambda row: row.text("state", 64))

        return await self._call("POST", base_url, "undrain", token, parse, {"ids": asked})

    async def _call(
        self,
        method: str,
        base_url: str,
        what: str,
        token: str,
        parse: Callable[[Any], Awaitable[T]],
        body: Mapping[str, Any] | None = None,
        wait_s: float = 0.0,
    ) -> T:
        """Make one request when it is this scheduler's turn. Raises `SchedulerUnavailable`."""
        with self._aside():
            async with self._patience.turn((base_url, token), wait_s) as turn:
                raw = await self._answer(method, base_url, what, token, body, wait_s)
                turn.size = len(raw)
                try:
                    async with self._budget.of(len(raw)) as waited:
                        turn.excused = waited
                        return await parse(_decode(raw))
                except _Invalid as e:
                    raise SchedulerUnavailable(f"answer is not valid: {e}") from None

    async def _answer(
        self,
        method: str,
        base_url: str,
        what: str,
        token: str,
        body: Mapping[str, Any] | None,
        wait_s: float,
    ) -> bytes:
        """Return the body of the answer to one request. Raises `SchedulerUnavailable`."""
        timeout_s = self._timeout_s + wait_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._raw(method, f"{base_url}/control/v1/{what}", token, body)
        except aiohttp.ServerTimeoutError:  # packets are dropped: this one costs us time
            raise SchedulerUnavailable(_unreachable(base_url, "no connection")) from None
        except TimeoutError:
            raise SchedulerUnavailable(f"does not answer (timeout after {timeout_s:g} s)") from None
        except aiohttp.ClientConnectorError as e:
            number = e.os_error.errno or 0
            why = os.strerror(number) if number > 0 else e.os_error.strerror or "no connection"
            raise SchedulerUnreachable(_unreachable(base_url, why)) from None
        except aiohttp.ServerConnectionError:
            raise SchedulerUnavailable("closed the connection") from None
        except (aiohttp.ClientError, OSError, ValueError) as e:
            # Only the kind: the text of these may quote what the other side sent.
            raise SchedulerUnavailable(f"does not speak HTTP ({type(e).__name__})") from None

    async def _raw(
        self, method: str, url: str, token: str, body: Mapping[str, Any] | None
    ) -> bytes:
        """Return the body of a 200 answer. Raises SchedulerUnavailable and aiohttp's errors."""
        async with self._session.request(
            method,
            url,
            json=body,
            # Identity, and no unpacking: a small gzip body can grow a thousandfold.
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            auto_decompress=False,
            allow_redirects=False,  # would send our token to wherever the scheduler says
            # The caller's asyncio.timeout is the total.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SHARE * self._timeout_s),
        ) as response:
            try:
                if response.status != 200:
                    raise SchedulerUnavailable(
                        _STATUS.get(response.status)
                        or (
                            "answers with a redirect, which is not followed"
                            if 300 <= response.status < 400
                            else f"answers {response.status}"
                        )
                    )
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise SchedulerUnavailable("answer is not valid: compressed")
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_ANSWER:
                        raise SchedulerUnavailable(
                            f"answer is not valid: larger than {MAX_ANSWER >> 20} MiB"
                        )
                return bytes(raw)
            except SchedulerUnavailable:
                response.close()  # do not read the rest, do not keep the connection
                raise


def _unreachable(base_url: str, why: str) -> str:
    """A port that nobody opened is the usual reason, and only a person can open it."""
    port, why = base_url.rpartition(":")[2], printable(why.lower(), 40)
    return (
        f"cannot be reached on port {port} ({why}); a NetworkPolicy must open it to the controller"
    )


_STATUS = {
    401: "refuses our token",
    403: "refuses our token",
    404: "answers 404: has no control API",
    400: "answers 400: does not understand us",
}


class _Invalid(Exception):
    """A field of an answer is wrong; the text says which and how, and quotes no value."""


def _decode(raw: bytes) -> Any:
    """Return the JSON value. Raises `_Invalid`."""
    if raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS or raw.count(b",") > MAX_COMMAS:
        raise _Invalid("it has too many parts")
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Invalid("not JSON") from None


class _Fields:
    """The fields of one JSON object, each checked when taken. Raises `_Invalid`."""

    def __init__(self, value: Any, at: str) -> None:
        """`at`: where the object stands in the answer, for the error ("" for the answer itself)."""
        if not isinstance(value, dict):
            raise _Invalid(f"{at or 'it'} is not an object")
        self._value = value
        self._prefix = f"{at}." if at else ""

    def _take(self, key: str, kind: type | tuple[type, ...], words: str) -> Any:
        value = self._value.get(key)
        # bool is an int to Python, and only to Python
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _Invalid(f"{self._prefix}{key} is not {words}")
        return value

    def text(self, key: str, longest: int = 1024) -> str:
        value: str = self._take(key, str, "a string")
        if len(value) > longest or not value.isprintable():
            raise _Invalid(f"{self._prefix}{key} is not a short line of text")
        return value

    def note(self, key: str) -> str:
        """Return text that only people read: whatever it was, printable and short."""
        return printable(self._take(key, str, "a string"), 200)

    def count(self, key: str) -> int:
        value: int = self._take(key, int, "an integer")
        if not 0 <= value < 2**63:
            raise _Invalid(f"{self._prefix}{key} is out of range")
        return value

    def number(self, key: str) -> float:
        value: int | float = self._take(key, (int, float), "a number")
        if abs(value) > 1e300:  # before float(): a long int overflows; 1e999 is read as infinity
            raise _Invalid(f"{self._prefix}{key} is out of range")
        return float(value)

    def truth(self, key: str) -> bool:
        value: bool = self._take(key, bool, "true or false")
        return value

    def items(self, key: str) -> list[Any]:
        value: list[Any] = self._take(key, list, "a list")
        return value

    def numbers(self, key: str) -> dict[str, float]:
        """Return an object whose values are numbers. The names in it are the user's: unquoted."""
        value: dict[str, Any] = self._take(key, dict, "an object")
        for name, number in value.items():
            if not (len(name) <= 256 and name.isprintable()):
                raise _Invalid(f"{self._prefix}{key} has a name that is not a short line of text")
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise _Invalid(f"{self._prefix}{key} has a value that is not a number")
            if abs(number) > 1e300:
                raise _Invalid(f"{self._prefix}{key} has a value that is out of range")
        return {name: float(number) for name, number in value.items()}

    def value(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = self._take(key, dict, "an object")
        return value

    def wrong(self, key: str, words: str) -> _Invalid:
        return _Invalid(f"{self._prefix}{key} {words}")

    def has(self, key: str) -> bool:
        return key in self._value

    def is_null(self, key: str) -> bool:
        return key in self._value and self._value[key] is None


async def _parse_state(answer: Any) -> State:
    fields = _Fields(answer, "")
    if len(fields.value("tasks")) > MAX_STATES:
        raise fields.wrong("tasks", "are too many")
    workers: dict[str, WorkerRow] = {}
    for n, item in enumerate(fields.items("workers")):
        if n % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
        row = _parse_worker(_Fields(item, f"workers[{n}]"))
        if row.id in workers:
            raise _Invalid(f"workers[{n}].id is there twice")
        workers[row.id] = row
    return State(
        id=fields.text("id"),
        version=fields.text("version", 64),
        now=fields.number("now"),
        idle_since=None if fields.is_null("idle_since") else fields.number("idle_since"),
        clients=fields.count("clients"),
        tasks={state: int(n) for state, n in fields.numbers("tasks").items()},
        workers=tuple(workers.values()),
        listens=_parse_listens(_Fields(fields.value("listens"), "listens"))
        if fields.has("listens")
        else None,
    )


def _parse_listens(row: _Fields) -> Listening | None:
    """Where it listens; None: at an address that no worker could be told."""
    address = re.fullmatch(r"([a-z][a-z0-9+.-]{0,19})://.*:([0-9]{1,5})", row.text("address"))
    http, secure, prefix = row.count("http"), row.truth("https"), row.text("prefix")
    if address is None:
        return None
    if not re.fullmatch(r"(/[\w.~@-]+)*", prefix, re.ASCII):
        prefix = ""  # part of an address that people click on
    return Listening(address[1], int(address[2]), "https" if secure else "http", http, prefix)


def _parse_worker(row: _Fields) -> WorkerRow:
    return WorkerRow(
        id=row.text("id"),
        address=row.text("address"),
        host=_canonical_host(row.text("host")),
        name=row.text("name"),
        status=row.text("status", 64),
        processing=row.count("processing"),
        running=row.count("running"),
        long_running=row.count("long_running"),
        keys=row.count("keys"),
        unique_keys=row.count("unique_keys"),
        bytes=row.count("bytes"),
        unique_bytes=row.count("unique_bytes"),
        actors=row.count("actors"),
        nthreads=row.count("nthreads"),
        resources=row.numbers("resources"),
        last_seen_age=row.number("last_seen_age"),
        leaving=row.truth("leaving"),
        refused=None if row.is_null("refused") else row.note("refused"),
    )


async def _parse_demand(answer: Any) -> Demand:
    fields = _Fields(answer, "")
    kinds = fields.items("kinds")
    if len(kinds) > MAX_KINDS:
        raise _Invalid("kinds are too many")
    processes = []
    for n, item in enumerate(fields.items("workers")):
        if n % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
        processes.append(_parse_process(_Fields(item, f"workers[{n}]")))
    return Demand(
        id=fields.text("id"),
        target_seconds=max(0.001, fields.number("target_seconds")),
        kinds=tuple(_parse_kind(_Fields(item, f"kinds[{n}]")) for n, item in enumerate(kinds)),
        processes=tuple(processes),
    )


def _parse_kind(row: _Fields) -> Kind:
    needs = row.numbers("resources")
    if len(needs) > MAX_NEEDS:
        raise row.wrong("resources", "are too many")
    if any(amount < 0 for amount in needs.values()):
        raise row.wrong("resources", "has a value that is out of range")
    seconds = row.number("seconds")
    if seconds < 0:
        raise row.wrong("seconds", "is out of range")
    return Kind(
        needs=tuple(sorted((name, n) for name, n in needs.items() if n > 0)),
        waiting=row.count("waiting"),
        running=row.count("running"),
        seconds=seconds,
    )


def _parse_process(row: _Fields) -> Process:
    return Process(
        host=_canonical_host(row.text("host")),
        name=row.text("name"),
        nthreads=row.count("nthreads"),
        memory_limit=row.count("memory_limit"),
        bytes=row.count("bytes"),
        keys=row.count("keys"),
        tasks=row.count("tasks"),
        actors=row.count("actors"),
        resources=row.numbers("resources"),
    )


async def _parse_per_id(answer: Any, ids: list[str], parse: Callable[[_Fields], T]) -> dict[str, T]:
    """Return `parse` of each asked id's row; rows that nobody asked for are dropped."""
    rows = _Fields(answer, "").value("workers")
    parsed = {}
    for n, i in enumerate(ids):
        if n % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
        parsed[i] = parse(_Fields(rows.get(i), f"workers[{n}]"))
    return parsed


def _parse_outcome(row: _Fields) -> Outcome:
    state = row.text("state", 64)
    if state not in get_args(OutcomeState):
        raise row.wrong("state", "is none that we know")
    message = row.note("message")
    # A scheduler that runs since an earlier version says it in words only.
    lost = row.truth("lost") if row.has("lost") else message.endswith("are lost")
    return Outcome(cast(OutcomeState, state), message, lost)


def _canonical_host(host: str) -> str:
    """Return an IP as Kubernetes writes it; anything else as it is."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
