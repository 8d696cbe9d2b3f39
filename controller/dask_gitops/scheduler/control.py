"""The control API: runs inside the user's scheduler, as preload text (see `source.py`).

Serves `/control/v1/{state,demand,retire,undrain}` on a port of its own (`health.py`), for an external
controller that must never speak Dask's RPC. Runs with distributed 2023.3 to 2026.8 on Python 3.8
and newer: no f-strings with nested quotes, no newer syntax, annotations only in quotes. No dollar
sign anywhere (Kubernetes and dask expand them). Comments and docstrings are not shipped.

How a worker leaves: it is marked as draining (Dask's `closing_gracefully`: the scheduler sends it
nothing new, and it starts nothing new), tasks it has not started move to others by Dask's own
stealing, running ones finish, keys nobody else has are copied to workers that stay by Dask's Active
Memory Manager, and it is removed, as an expected removal, in the same step of the event loop as the
last check. One background task does so for all leaving workers, whoever called and then went away.

A worker whose process is told to end asks for the same itself, over Dask's own connection: see
`handover.py`, which reaches workers and nannies as a Dask plugin when they register.
"""

import asyncio
import hmac
import inspect
import json
import logging
import os
import pickle
import sys
import time

import dask
from dask.utils import parse_timedelta
from distributed import Status, __version__
from distributed.active_memory_manager import (
    ActiveMemoryManagerExtension,
    ActiveMemoryManagerPolicy,
    Suggestion,
)
from distributed.preloading import process_preloads
from tornado.ioloop import PeriodicCallback
from tornado.web import RequestHandler, stream_request_body

from dask_gitops.scheduler.health import SERVERS, listen  # not shipped: it stands before us

log = logging.getLogger("distributed.scheduler.control")
DRAINING = Status.closing_gracefully
MAX_BODY = 1 << 20
REMEMBERED = 10000  # ends of workers
KINDS = 200  # of tasks, that `demand` tells: those with the most to do
HANDOVER = ""  # the text of handover.py; `source.py` puts it in


class Leaving:
    """One worker on its way out."""

    def __init__(self, ws):
        self.ws = ws
        self.since = None  # when the drain began
        self.asked = 0.0  # when its waiting tasks were last offered to others
        self.interrupt = self.discard = False
        self.dying = 0.0  # when its process was told to end; 0: it was not
        self.end = asyncio.Event()  # it left, or it stays

    def running(self):
        """Return the number of tasks started on the worker; an upper bound until it is known.

        A worker reports what it executes with its heartbeats: the first one that it can have
        written after it knew of the drain is exact, as nothing starts after that. It must also have
        been here for a moment: a task that finished right before is told on another connection.
        """
        ws = self.ws
        if self.since is None or not self.since + 0.3 < ws.last_seen < time.time() - 0.1:
            return len(ws.processing)
        return sum(t in ws.executing or t in ws.long_running for t in ws.processing)


class MoveKeys(ActiveMemoryManagerPolicy):
    """Copies what would vanish with the leaving workers to others; frees what is safe.

    One policy for all of them: a key held by two is suggested once. (Dask's RetireWorker is one per
    worker, gives up for a worker with actors, and may choose another recipient in each round.)
    """

    def __init__(self):
        self.workers = []  # in: WorkerStates to empty
        self.homeless = set()  # out: tasks that no worker could take in the last round
        self.chosen = {}  # task: (recipient, when)

    def run(self):
        s, now = self.manager.scheduler, time.time()
        self.homeless = set()
        self.chosen = {
            t: c for t, c in self.chosen.items() if c[0] in s.running and c[1] > now - 30
        }
        suggested = set()
        for ws in self.workers:
            for t in list(ws.has_what):
                if t.actor or t in suggested:
                    continue
                if not only_here(t, ws):
                    yield Suggestion("drop", t, {ws})  # a spilled key must not be read back
                    continue
                suggested.add(t)
                before = self.chosen.get(t)
                to = before and (yield Suggestion("replicate", t, {before[0]}))
                if to is None:
                    to = yield Suggestion("replicate", t, None)
                    self.chosen[t] = to, now
                if to is None:
                    self.homeless.add(t)


def named_numbers(resources):
    return {str(k): v for k, v in resources.items() if abs(v) < 1e300}


def target_seconds():
    """Return how long all that is to be done may take, as the user configures it for Dask."""
    text = dask.config.get("distributed.adaptive.target-duration", "5s")
    try:
        return max(0.001, min(float(parse_timedelta(text)), 1e9))
    except (TypeError, ValueError, KeyError):
        return 5.0


def stays(ws):
    return ws.status in (Status.running, Status.paused)


def only_here(t, ws):
    """Return whether task `t`'s result has no copy on another worker that stays."""
    return not any(w is not ws and stays(w) for w in t.who_has)


def lost_with(ws):
    """Return the tasks whose results would vanish with this worker."""
    return [t for t in ws.has_what if not t.actor and only_here(t, ws)]


def listens(s):
    """Return where scheduler `s` listens in truth, whatever told it so."""
    rules = s.http_application.wildcard_router.rules
    paths = [getattr(getattr(r.matcher, "regex", None), "pattern", "") for r in rules]
    health = "/health" + chr(36)
    return {
        "address": s.address,
        "http": s.http_server.port,
        "https": bool(s.http_server.ssl_options),
        "prefix": next((p[: -len(health)] for p in paths if p.endswith(health)), ""),
    }


class Control:
    """What the scheduler knows about workers on their way out."""

    def __init__(self, scheduler):
        self.s = scheduler
        self.leaving = {}  # server id: Leaving
        self.refused = {}  # server id: why the last attempt ended
        self.retired = {}  # server id: in words, was something lost; the last ones we removed
        self.worker = None  # the background task
        self.place = True  # is there a worker that stays?
        self.dying = 0.0  # when the last one said that its process ends
        self.moved = ([], 0.0)  # which workers were emptied last, and when
        # the scheduler's transition counter, and since when it stands
        self.activity = scheduler.transition_counter, time.time()
        self.amm = None
        self.policy = MoveKeys()

    def by_id(self):
        return {ws.server_id: ws for ws in self.s.workers.values()}

    # what is asked of us

    async def state(self):
        s, now = self.s, time.time()
        self.note_activity()
        tasks = {}
        for prefix in s.task_prefixes.values():
            for name, n in prefix.states.items():
                tasks[name] = tasks.get(name, 0) + n
        safe = {}  # worker: [keys, bytes] that others hold too
        for n, t in enumerate(list(s.replicated_tasks)):
            if n % 2000 == 1999:
                await asyncio.sleep(0)  # never hold the scheduler for more than some milliseconds
            for ws in list(t.who_has or ()):
                if not only_here(t, ws):
                    row = safe.setdefault(ws, [0, 0])
                    row[0] += 1
                    row[1] += max(t.nbytes, 0)
        busy = any(map(tasks.get, ("waiting", "processing", "queued", "no-worker")))
        return {
            "id": s.id,
            "version": __version__,
            "now": now,
            "idle_since": None if busy else self.activity[1],
            "clients": len(s.client_comms),
            "tasks": tasks,
            "listens": listens(s),
            "workers": [self.row(ws, now, safe.get(ws, (0, 0))) for ws in s.workers.values()],
        }

    def note_activity(self):
        if self.s.transition_counter != self.activity[0]:
            self.activity = self.s.transition_counter, time.time()

    def row(self, ws, now, safe):
        leaving = self.leaving.get(ws.server_id)
        return {
            "id": ws.server_id,
            "address": ws.address,
            "host": ws.host,
            "name": str(ws.name),
            "status": ws.status.name,
            "processing": len(ws.processing),
            "running": leaving.running() if leaving else len(ws.processing),
            "long_running": len(ws.long_running),
            "keys": len(ws.has_what),
            "unique_keys": max(0, len(ws.has_what) - safe[0]),
            "bytes": max(0, ws.nbytes),
            "unique_bytes": max(0, ws.nbytes - safe[1]),
            "actors": len(ws.actors),
            "nthreads": ws.nthreads,
            "resources": named_numbers(ws.resources),
            "last_seen_age": round(max(0, now - ws.last_seen), 3),
            "leaving": leaving is not None,
            "refused": self.refused.get(ws.server_id),
        }

    async def demand(self):
        """Return what there is to do, by the resources that tasks need, and who is there to do it.

        Tasks that name a worker or a host can run on no new worker, so they are no demand. A task
        counts with the mean duration of its kind, and with what the longest running one of its kind
        has taken so far: a first task that takes long is no small one.
        """
        s, kinds, takes, longest = self.s, {}, {}, {}
        for ws in s.workers.values():
            for t, spent in list(ws.executing.items()):
                longest[t.prefix] = max(longest.get(t.prefix, 0), spent)

        def seconds(prefix):
            if prefix not in takes:
                known = prefix.duration_average
                takes[prefix] = max(
                    known if known >= 0 else s.UNKNOWN_TASK_DURATION, longest.get(prefix, 0)
                )
            return takes[prefix]

        def count(needs, column, n, each):
            kind = kinds.setdefault(needs, {"waiting": 0, "running": 0, "seconds": 0.0})
            kind[column] += n
            kind["seconds"] += n * each

        for prefix in list(s.task_prefixes.values()):
            n = prefix.states.get("queued")
            if n:  # they never have restrictions; counted by kind, as they may be very many
                count((), "waiting", n, seconds(prefix))
        found = [(None, list(s.unrunnable))]
        found += [(ws, list(ws.processing)) for ws in s.workers.values()]
        for n, (ws, t) in enumerate((ws, t) for ws, tasks in found for t in tasks):
            if n % 2000 == 1999:
                await asyncio.sleep(0)
            if (t.worker_restrictions or t.host_restrictions) and not t.loose_restrictions:
                continue
            needs = t.resource_restrictions
            needs = (
                tuple(sorted((str(k), min(float(v), 1e299)) for k, v in needs.items()))
                if needs
                else ()
            )
            seceded = ws is not None and t in ws.long_running
            column = "running" if seceded or (ws is not None and t in ws.executing) else "waiting"
            count(needs, column, 1, 0 if seceded else seconds(t.prefix))
        order = sorted(kinds.items(), key=lambda item: -item[1]["seconds"])
        return {
            "id": s.id,
            "target_seconds": target_seconds(),
            "kinds": [dict(kind, resources=dict(needs)) for needs, kind in order[:KINDS]],
            "workers": [
                {
                    "host": ws.host,
                    "name": str(ws.name),
                    "nthreads": ws.nthreads,
                    "memory_limit": max(0, ws.memory_limit or 0),
                    "bytes": max(0, ws.nbytes),
                    "keys": len(ws.has_what),
                    "tasks": len(ws.processing),
                    "actors": len(ws.actors),
                    "resources": named_numbers(ws.resources),
                }
                for ws in s.workers.values()
            ],
        }

    def retire(self, ids, interrupt, discard):
        """Start, or go on with, the retirement of these workers; the background task does it."""
        known = self.by_id()
        for i in ids:
            if i in known:
                leaving = self.leaving.setdefault(i, Leaving(known[i]))
                if not leaving.dying:
                    leaving.interrupt, leaving.discard = interrupt, discard
                self.refused.pop(i, None)
        mine = [self.leaving[i] for i in ids if i in self.leaving]
        for leaving in mine:  # all are marked before any of their keys and tasks look for a place
            self.drain(leaving)
        for leaving in mine:
            self.offer_tasks(leaving)
            why = self.stays_because(leaving)
            if why:
                self.refuse(leaving, why)
        self.start_work()

    def start_work(self):
        if self.leaving and (self.worker is None or self.worker.done()):
            self.worker = asyncio.ensure_future(self.work())

    async def leave(self, who):
        """Retire the worker with this server id, or of the nanny with this address: it will end
        soon whatever we say, so it is never put back to work. Returns True when it is gone."""
        for ws in [w for w in self.s.workers.values() if who in (w.server_id, w.nanny)]:
            leaving = self.leaving.setdefault(ws.server_id, Leaving(ws))
            leaving.interrupt, self.dying = True, time.time()
            leaving.dying = leaving.dying or self.dying
            self.drain(leaving)
            self.start_work()
            await leaving.end.wait()
        return True

    def forget(self, i):
        """Return the worker that is no longer leaving, or None."""
        leaving = self.leaving.pop(i, None)
        if leaving:
            leaving.end.set()
        return leaving

    def outcomes(self, ids):
        known, out = self.by_id(), {}
        for i in ids:
            if i in self.leaving:
                leaving = self.leaving[i]
                running = 0 if leaving.interrupt else leaving.running()
                why = "{} tasks running".format(running)
                if not running:
                    why = "{} keys to move".format(len(lost_with(leaving.ws)))
                out[i] = "draining", why
            elif i in known:
                out[i] = "refused", self.refused.get(i, "put back to work")
            elif i in self.retired:
                out[i] = "retired", self.retired[i][0]
            else:
                out[i] = "gone", "unknown to the scheduler"
        rows = {i: {"state": state, "message": why} for i, (state, why) in out.items()}
        for i, row in rows.items():
            row["lost"] = row["state"] == "retired" and self.retired[i][1]
        return rows

    def undrain(self, ids):
        known, out = self.by_id(), {}
        for i in ids:
            dying = i in self.leaving and self.leaving[i].dying
            leaving = None if dying else self.forget(i)
            self.refused.pop(i, None)
            if leaving:
                self.tell(leaving.ws, Status.running)
            status = Status.running if leaving else getattr(known.get(i), "status", None)
            out[i] = {"state": status.name if i in known else "gone"}
        return out

    # how a worker leaves

    def tell(self, ws, status):
        """Set a worker's status: draining holds at once, running when the worker confirms it."""
        if self.s.workers.get(ws.address) is not ws:
            return
        stimulus = "control-{}-{}".format(status.name, time.time())
        if status == DRAINING:
            self.s.handle_worker_status_change(status, ws, stimulus)
        self.s.stream_comms[ws.address].send(
            {"op": "worker-status-change", "status": status.name, "stimulus_id": stimulus}
        )

    def drain(self, leaving):
        # Also when it is draining for another's sake, and again when a late confirmation of an
        # earlier "running" arrives.
        if leaving.since is None or leaving.ws.status in (Status.running, Status.paused):
            leaving.since, leaving.asked = time.time(), 0.0
            self.tell(leaving.ws, DRAINING)

    def offer_tasks(self, leaving):
        """Let others take what has not started. The worker confirms each: nothing runs twice.

        Once a second, as tasks that were on their way when the drain began arrive later. With
        stealing absent they wait until the worker is removed, which sends them elsewhere.
        """
        s, ws, now = self.s, leaving.ws, time.time()
        steal = s.extensions.get("stealing")
        if not steal or not s.running or now < leaving.asked + 1:
            return
        leaving.asked = now

        def load(w):
            return len(w.processing) / max(w.nthreads, 1)

        order = sorted(s.running, key=load)
        waiting = [t for t in ws.processing if t not in ws.executing and t not in ws.long_running]
        for n, t in enumerate(waiting[:1000]):
            able = s.valid_workers(t)  # None: any
            able = None if able is None else able & s.running
            if able is None or (not able and t.loose_restrictions and not t.resource_restrictions):
                steal.move_task_request(t, ws, order[n % len(order)])
            elif able:
                steal.move_task_request(t, ws, min(able, key=load))

    def stays_because(self, leaving, homeless=()):
        """Return why this worker cannot leave; "" if nothing is known against it."""
        ws = leaving.ws
        if leaving.discard or leaving.dying:
            return ""
        if ws.actors:
            return "holds {} actors, which cannot move".format(len(ws.actors))
        lost = lost_with(ws) if homeless or not self.s.running else ()
        if lost and (not self.s.running or any(t in homeless for t in lost)):
            return "no worker can take its {} keys".format(len(lost))
        return ""

    def refuse(self, leaving, why):
        i = leaving.ws.server_id
        self.forget(i)
        remember(self.refused, i, why)
        self.event(leaving.ws, "control-refused", reason=why)
        self.tell(leaving.ws, Status.running)

    def event(self, ws, action, **more):
        msg = dict(more, action=action, worker=ws.address, id=ws.server_id, name=str(ws.name))
        self.s.log_event(["all", ws.address], msg)

    def lock(self):
        """Return the lock that keeps a user's rebalance() and replicate() away: they delete copies
        that we may just have counted. Private to dask, hence the care."""
        try:
            return self.s._replica_lock("retire-workers")  # shared by all who retire
        except Exception:
            return getattr(self.s, "_lock", None) or asyncio.Lock()

    async def work(self):
        """Bring all leaving workers to their end; the only place that removes one."""
        while self.leaving:
            spent = 0.1
            try:
                async with self.lock():
                    start = time.time()
                    self.place = any(map(stays, self.s.workers.values()))
                    homeless = self.move_keys()
                    spent = time.time() - start
                    for leaving in list(self.leaving.values()):
                        start = time.time()
                        last = self.is_finished(leaving, homeless)
                        spent += time.time() - start
                        if last:
                            await self.remove(leaving)  # runs at once up to the removal itself
            except Exception:
                log.exception("Retiring workers goes on after an error")
                spent = 0.1
            await asyncio.sleep(max(0.05, min(2, 10 * spent)))  # a tenth of the scheduler's time

    def move_keys(self):
        """Have the memory manager empty the workers whose tasks are done.

        Returns the tasks whose results no worker can take; asked anew after two seconds at most.
        """
        now = time.time()
        ready = [v.ws for v in self.leaving.values() if self.may_move(v, now)]
        ids = [ws.server_id for ws in ready]
        if not any(lost_with(ws) for ws in ready):
            return ()
        if ids == self.moved[0] and now < self.moved[1] + 2:
            return ()
        if self.amm is None:
            self.amm = ActiveMemoryManagerExtension(
                self.s, policies={self.policy}, register=False, start=False
            )
        self.policy.workers, self.moved = ready, (ids, now)
        self.amm.run_once()
        return self.policy.homeless

    def may_move(self, leaving, now):
        """Return whether this worker's keys may be moved now."""
        if leaving.dying:  # others may be told to end in the same moment: no recipients
            return now > min(self.dying + 0.3, leaving.dying + 2)
        return leaving.interrupt or not leaving.running()

    def is_finished(self, leaving, homeless):
        """Move one worker on; return whether it may be removed in this very moment."""
        ws = leaving.ws
        if self.leaving.get(ws.server_id) is not leaving:
            return False  # undrained while another was removed
        if self.s.workers.get(ws.address) is not ws:
            self.forget(ws.server_id)  # it went on its own account
            return False
        self.drain(leaving)
        self.offer_tasks(leaving)
        why = self.stays_because(leaving, homeless)
        if why:
            self.refuse(leaving, why)
        if why or (not leaving.interrupt and leaving.running()):
            return False
        lost = lost_with(ws)
        if leaving.dying:
            return not lost or not self.place
        if leaving.discard and self.s.running:
            return all(t in homeless for t in lost)
        return leaving.discard or not lost

    async def remove(self, leaving):
        s, ws = self.s, leaving.ws
        lost, actors = lost_with(ws), len(ws.actors)
        end, more = "removed", {"interrupted": len(ws.processing)}
        if lost or actors:
            end = "removed; {} keys and {} actors had no place and are lost".format(
                len(lost), actors
            )
            more.update(keys=len(lost), bytes=sum(max(t.nbytes, 0) for t in lost), actors=actors)
        self.event(ws, "control-discarded" if lost or actors else "control-retired", **more)
        flag = "expected" if "expected" in inspect.signature(s.remove_worker).parameters else "safe"
        options = {flag: True, "close": not leaving.dying}  # a dying one closes itself
        stimulus = "control-retire-{}".format(time.time())
        try:
            await s.remove_worker(ws.address, stimulus_id=stimulus, **options)
        except Exception:
            log.exception("Removing worker %s", ws.address)
        if s.workers.get(ws.address) is ws:
            return self.refuse(leaving, "the scheduler could not remove it")
        self.forget(ws.server_id)
        remember(self.retired, ws.server_id, (end, bool(lost or actors)))


def remember(where, key, value):
    where[key] = value
    while len(where) > REMEMBERED:
        del where[next(iter(where))]


class BadRequest(Exception):
    pass


def parse(raw):
    """Return the fields of a body. Raises BadRequest, which names the field."""
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise BadRequest("body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("body is not an object")
    ids, wait = body.get("ids"), body.get("wait_s", 0)
    if not isinstance(ids, list) or not ids or not all(isinstance(i, str) for i in ids):
        raise BadRequest("ids is not a list of server ids")
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= 20:
        raise BadRequest("wait_s is not a number from 0 to 20")
    for flag in ("interrupt", "discard"):
        if not isinstance(body.get(flag, False), bool):
            raise BadRequest(flag + " is not true or false")
    return ids, wait, body.get("interrupt", False), body.get("discard", False)


@stream_request_body
class Handler(RequestHandler):
    """Streams the body: nobody makes us hold more than a megabyte, or anything without the token."""

    def initialize(self, control, token):
        self.control, self.token, self.body, self.left = control, token, b"", False
        self.known = False

    def prepare(self):
        self.request.connection.set_max_body_size(MAX_BODY)
        got = self.request.headers.get("Authorization", "").encode("utf-8", "replace")
        self.known = bool(self.token) and hmac.compare_digest(got, b"Bearer " + self.token)

    def data_received(self, chunk):
        if self.known:
            self.body += chunk

    def on_connection_close(self):
        self.left = True  # the drain goes on

    def answer(self, status, body):
        self.set_status(status)
        self.finish(body)

    def write_error(self, status_code, **kw):
        self.finish({"error": "answers {}".format(status_code)})

    def may(self, allowed):
        """Return whether to go on; else answer. Not earlier than with the whole body read: tornado
        hangs up on a caller who still sends, and the caller might never read the answer."""
        if not self.known:
            self.answer(401, {"error": "the token is not ours"})
        elif not allowed:
            self.answer(405, {"error": "state and demand are for GET, the others for POST"})
        return self.known and allowed

    async def get(self, what):
        if self.may(what in ("state", "demand")):
            self.answer(200, await getattr(self.control, what)())

    async def post(self, what):
        if not self.may(what in ("retire", "undrain")):
            return
        try:
            ids, wait, interrupt, discard = parse(self.body)
        except BadRequest as e:
            return self.answer(400, {"error": str(e)})
        control = self.control
        if what == "undrain":
            return self.answer(200, {"workers": control.undrain(ids)})
        end = time.time() + wait
        control.retire(ids, interrupt, discard)
        while time.time() < end and not self.left and any(i in control.leaving for i in ids):
            await asyncio.sleep(0.05)
        self.answer(200, {"workers": control.outcomes(ids)})


LOADER = (
    "import traceback\n"
    "from distributed.diagnostics.plugin import NannyPlugin, WorkerPlugin\n"
    "class Plugin(WorkerPlugin, NannyPlugin):\n"
    "  def setup(self, server=None, **named): pass\n"
    "  teardown = setup\n"
    "try: exec(source)\n"
    "except Exception: traceback.print_exc()\n"
)


class Shipped:
    """Pickles as text: a worker with another Python reads it, or at least starts without it."""

    def __reduce__(self):
        space = {"__name__": "handover", "source": HANDOVER}
        load = "exec(loader, space) or space['Plugin']()"
        return eval, (load, {"loader": LOADER, "space": space})


OWN = globals().get("OWN", [])  # the user's own preloads; dask runs this text twice


def load_own():
    """Import what dask would preload without us; nothing where ours is one of several."""
    ours, own = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD", "SCHEDULER_CONTROL_PRELOAD"
    if OWN or "CONTROL_SOURCE" not in os.environ.get(ours, ""):
        return
    env = {k.replace(own, ours): v for k, v in os.environ.items()
           if v.strip() and not k.startswith(ours)}  # fmt: skip
    config = dask.config.collect(env=env)
    key = "distributed.scheduler.preload"
    said = [dask.config.get(k, None, config=config) or [] for k in (key, key + "-argv")]
    # Dask has put the folder of this text, /tmp, before all others while it is loaded.
    tmp = sys.path[:1] == [os.path.dirname(__file__)] and sys.path.pop(0)
    OWN.extend(process_preloads(None, *said))
    if tmp:
        sys.path.insert(0, tmp)


async def each(some, what, scheduler):
    for p in some:
        p.dask_object = scheduler
        try:
            await getattr(p, what)()
        except Exception:
            log.exception("preload %s", p.name)


async def dask_setup(scheduler):
    """Called by dask with the Scheduler. Never raises: a scheduler without us is still one."""
    serve(scheduler)
    await each(OWN, "start", scheduler)


async def dask_teardown(scheduler):
    """Called by dask when the scheduler closes; only we can tell whether it was for being idle."""
    idle, limit = getattr(scheduler, "idle_since", 0), getattr(scheduler, "idle_timeout", 0)
    if idle and limit and time.time() >= idle + limit:
        try:
            with open("/dev/termination-log", "w") as end:
                end.write("idle-timeout")
        except OSError:
            pass
    await each(OWN[::-1], "teardown", scheduler)
    while SERVERS:
        SERVERS.pop().stop()


def serve(scheduler):
    """Serve the control API of a scheduler, and our probes whatever becomes of it."""
    routes = []
    try:
        token = os.environ.get("SCHEDULER_CONTROL_TOKEN", "").encode()
        args = {"control": Control(scheduler), "token": token}
        routes += [(r"/control/v1/(state|demand|retire|undrain)", Handler, args)]
        # Idle time is exact to a second, however seldom somebody asks.
        often = PeriodicCallback(args["control"].note_activity, 1000)
        scheduler.periodic_callbacks["control-activity"] = often
        often.start()
        if HANDOVER:
            scheduler.handlers["control_leave"] = args["control"].leave
            plugin = pickle.dumps(Shipped(), protocol=4)
            for plugins in (scheduler.worker_plugins, scheduler.nanny_plugins):
                plugins["dask-gitops-handover"] = plugin
    except Exception:
        log.exception("The control API is not available")
    listen(routes)
