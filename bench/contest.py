"""The runs: who is measured after whom, each on a control plane started anew, as both serve the same definitions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench import clients, contestants
from bench.clients import Clients
from bench.clock import Clock, fixed_piece
from bench.contestants import Contestant
from bench.first import Node, asker
from bench.lab import DASK_IMAGE, Failure, Lab, control_plane, kubernetes, say
from bench.measures import Bench
from bench.process import Controller, running
from bench.raw import connect
from bench.report import TITLES
from bench.turns import OURS, PEER, PLAIN, Sizes, Turn, compare, order

BESIDE = "bcdg"  # the letters of the run beside the peer
Step = Callable[[Controller], Awaitable[None]]


@dataclass
class Contest:
    """One run; ``found`` keeps what was measured before a failure."""

    sizes: Sizes
    letters: str
    turns: int
    found: list[Turn] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    kubernetes: str = ""
    peer_versions: dict[str, str] = field(default_factory=dict)

    # ---- beside the existing operator

    def beside(self) -> None:
        with self.clock.part("preparing"):
            who = self._contestants()
            node = "g" in self.letters and self._has_node()
        if set(self.letters) & set("bcd"):
            by_key = {one.key: one for one in who}
            for number, key in order(list(by_key), self.turns):
                say(f"turn {number} of {self.turns}: {TITLES[key]}")
                with self.clock.part(f"b, c, d: {TITLES[key]}"):
                    self._pretended(by_key[key], number)
        for one in who if node else ():
            say(f"first results on the real node: {TITLES[one.key]} and bare Pods")
            with self.clock.part(f"g: {TITLES[one.key]}, bare Pods"):
                self._real(one)

    def _contestants(self) -> list[Contestant]:
        who = [contestants.ours()]
        try:
            peer = contestants.peer()
            who.append(peer)
            self.peer_versions = peer.versions
        except Failure as failure:
            self._not_done(PEER, str(failure))
        return who

    def _has_node(self) -> bool:
        """Is there a real node for us? Its image is built here, which takes long the first time."""
        if os.geteuid() != 0:
            self._not_done(OURS, "needs root, for the real node", "g")
        elif '"kubelet"' in kubernetes("status", "--json"):
            self._not_done(OURS, "another instance has this machine's real node: take it down", "g")
        else:
            kubernetes("images", "--build-only", DASK_IMAGE)
            return True
        return False

    def _not_done(self, who: str, words: str, letters: str = "") -> None:
        say(f"{TITLES[who]}: {words}")
        self.found.append(Turn(who, words=dict.fromkeys(letters or self.letters, words)))

    def _pretended(self, who: Contestant, number: int) -> None:
        """b, d, c on fake nodes, and the loop before them."""
        plain, own = Turn(PLAIN, number), Turn(who.key, number)
        self.found += [plain, own]
        plain.values["fixed"] = round(fixed_piece(), 3)
        with control_plane(self.clock, who.crds) as lab:
            self.kubernetes = lab.version()
            asyncio.run(self._pretended_turn(lab, who, plain, own))
        compare(own, plain)

    async def _pretended_turn(self, lab: Lab, who: Contestant, plain: Turn, own: Turn) -> None:
        async with connect(lab) as raw, raw.eye() as eye:
            bench = Bench(lab, raw, eye, self.sizes, own)
            await bench.warm_up()
            await bench.plain(plain)
            big: list[tuple[str, Step]] = [("b", bench.scale_up), ("d", bench.delete_cluster)]
            rounds = [big if "d" in self.letters else big[:1] if "b" in self.letters else []]
            rounds.append([("c", bench.many_clusters)] if "c" in self.letters else [])
            try:
                async with running(who, lab) as controller:
                    for steps in filter(None, rounds):
                        await bench.clear()
                        await walk(who, controller, own, steps)
            except Failure as failure:
                if who.is_ours:
                    raise
                for letter in set(self.letters) & set("bcd") - own.values.keys():
                    own.words.setdefault(letter, str(failure))

    def _real(self, who: Contestant) -> None:
        """g, and the same with bare Pods."""
        with control_plane(self.clock, who.crds, node=True) as lab:
            self.kubernetes = lab.version()
            asyncio.run(self._real_turns(lab, who, lab.dask_image()))

    async def _real_turns(self, lab: Lab, who: Contestant, image: str) -> None:
        async with connect(lab) as raw, asker() as client:
            node = Node(lab, raw, client, image)
            say("  warming up")
            await node.first_result(PLAIN)
            async with running(who, lab) as controller:
                pairs: dict[int, dict[str, Turn]] = {}
                for number, key in order((PLAIN, who.key), self.turns):
                    turn = Turn(key, number)
                    pairs.setdefault(number, {})[key] = turn
                    self.found.append(turn)
                    try:
                        turn.values["g"] = await node.first_result(key, controller.check)
                    except Failure as failure:
                        if key == OURS:
                            raise
                        turn.words["g"] = str(failure)
                        return  # what it left behind would be in the way of the next
                    if len(pairs[number]) == 2:
                        compare(pairs[number][who.key], pairs[number][PLAIN])

    # ---- the Python clients

    def python(self) -> None:
        """k"""
        with self.clock.part("preparing"):
            who = self._contestants()
            if not self._has_node():
                return
        with (
            self.clock.part("k: both clients"),
            control_plane(self.clock, who[0].crds, node=True) as lab,
        ):
            self.kubernetes = lab.version()
            asyncio.run(self._clients(lab, who, lab.dask_image()))

    async def _clients(self, lab: Lab, who: list[Contestant], image: str) -> None:
        python = contestants.upstream_python()
        async with connect(lab) as raw:
            one = Clients(lab, raw, image, python)
            await one.prepare()
            pairs: dict[int, dict[str, Turn]] = {}
            by_key = {each.key: each for each in who}
            for number, key in order(list(by_key), self.turns):
                say(f"turn {number} of {self.turns}: {TITLES[key]}")
                turn = Turn(key, number)
                pairs.setdefault(number, {})[key] = turn
                self.found.append(turn)
                await one.turn(by_key[key], turn)
                if len(pairs[number]) == 2:
                    clients.compared(pairs[number][OURS], pairs[number][PEER])

    # ---- ours alone

    def idle(self) -> None:
        """e and f."""
        who = contestants.ours()
        own = Turn(who.key)
        self.found.append(own)
        with self.clock.part("e, f"), control_plane(self.clock, who.crds) as lab:
            self.kubernetes = lab.version()
            asyncio.run(self._idle(lab, who, own))

    async def _idle(self, lab: Lab, who: Contestant, own: Turn) -> None:
        async with connect(lab) as raw, raw.eye() as eye, running(who, lab) as controller:
            bench = Bench(lab, raw, eye, self.sizes, own)
            await bench.many_clusters(controller)
            say(f"  e: idle for {self.sizes.idle_s:.0f} s")
            await bench.idle(controller)
            say(f"  f: with autoscalers, idle for {self.sizes.scaled_idle_s:.0f} s")
            await bench.autoscaled(controller)


async def walk(
    who: Contestant, controller: Controller, turn: Turn, steps: Sequence[tuple[str, Step]]
) -> None:
    """One step after the other; what the peer cannot do is told, and what would build on it is left out."""
    failed = ""
    for letter, step in steps:
        if failed:
            turn.words[letter] = f"not measured, as {failed} failed"
            continue
        try:
            await step(controller)
        except Failure as failure:
            if who.is_ours:
                raise
            turn.words[letter] = str(failure)
            say(f"    {letter}: {failure}")
            failed = letter
