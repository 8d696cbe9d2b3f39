"""Up, down and status of whole instances."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import building
import cleanup
import controlplane
import images
import node
import preflight
import processes
import programs
from common import Problem, cache, is_locked, lock, need_root, report, say, seconds, state
from instance import Instance, existing, free_slot, load
from parts import Part, Parts

COST_BEGIN, COST_START, COST_IMPORT = 2, 15, 8  # CPU seconds: only the bar rests on them


def up(wanted: Instance) -> Instance:
    """Bring an instance up: nothing to do, or a fresh start after cleaning what a crash left."""
    if wanted.node:
        need_root("a real node")
        end_dead(only_node=True)
    preflight.instance(wanted.node)
    building.build(*needs(wanted), tell_cached=False)
    with lock(wanted.folder, f"another up or down of {wanted.name}"):
        running = load(wanted.name)
        if running and healthy(running):
            return _stay(running, wanted)
        instance = _clean_ground(wanted)
        started = time.monotonic()
        _begin(instance)
        _go_on(instance)
        programs.links()
        report("up", seconds(started))
        return instance


@dataclass
class Delivered:
    """An instance that is up with images on its node; and what that took.

    :ivar rows: name, wall and CPU seconds of each part.
    """

    instance: Instance
    images: dict[str, str]
    rows: list[tuple[str, float, float]]


def up_with_images(wanted: Instance, names: Sequence[str], more: Sequence[str]) -> Delivered:
    """The same for a real node, together with images and further programs: everything that is
    missing is made side by side, and what can start does not wait for the rest."""
    need_root("a real node")
    end_dead(only_node=True)
    preflight.instance(node=True)
    builder = images.choose_builder()
    needed, packages = needs(wanted)
    with (
        images.building_images(),
        lock(cache(), "another build"),
        lock(wanted.folder, f"another up or down of {wanted.name}"),
    ):
        full = images.full_names(names, builder)
        making = builder.plan(full)
        if making:
            also, others = builder.needs()
            needed, packages = [*needed, *also], packages | others
        building.clear()
        work = Parts([*building.plan(dict.fromkeys([*needed, *more]), packages), *making])
        instance = _plan(work, wanted)
        bring = functools.partial(_bring, images.Node(instance), builder, full)
        made = [part.name for part in making]
        work.add(Part("images to the node", COST_IMPORT, bring, ("container runtime", *made)))
        work.run()
        programs.links()
        building.clear()
    return Delivered(instance, dict(zip(names, full, strict=True)), work.rows())


def _plan(work: Parts, wanted: Instance) -> Instance:
    """Add the parts that bring an instance up."""
    running = load(wanted.name)
    if running and healthy(running):
        return _stay(running, wanted)
    instance = _clean_ground(wanted)

    def begin(part: Part) -> str:
        _begin(instance)
        return ""

    def go_on(part: Part) -> str:
        _go_on(instance)
        return ""

    work.add(Part("container runtime", COST_BEGIN, begin, ("apt packages",)))
    before = dict.fromkeys(building.made_by(name) for name in needs(wanted)[0])
    work.add(Part("Kubernetes", COST_START, go_on, ("container runtime", *before)))
    return instance


def _bring(target: images.Node, builder: images.Builder, full: Sequence[str], part: Part) -> str:
    """Import what is not on the node."""
    there = node.images(target.instance)
    if lacking := [image for image in full if image not in there]:
        target.bring(builder, lacking)
    return f"{len(lacking)} of {len(full)}"


def _clean_ground(wanted: Instance) -> Instance:
    """Take away what a crash left, and settle."""
    if any(wanted.folder.iterdir()):
        say(f"{wanted.name}: cleaning what is left of an instance that is not well")
        _clean(wanted.folder)
    try:
        return _settle(wanted)
    except Problem:
        wanted.folder.rmdir()
        raise


def needs(wanted: Instance) -> tuple[list[str], dict[str, str]]:
    """Programs and Debian packages of an instance: those of pretended nodes only where there are
    some."""
    names = list(programs.CONTROL_PLANE)
    if wanted.kubernetes:
        names = [
            programs.older(n, wanted.kubernetes) if n in programs.VERSIONED else n for n in names
        ]
    names += ["kwok"] if wanted.kwok_nodes else []
    names += programs.NODE if wanted.node else ()
    packages = dict(programs.PACKAGES_CONTROL_PLANE)
    return names, packages | (programs.PACKAGES_NODE if wanted.node else {})


def _settle(wanted: Instance) -> Instance:
    """Find ports; from here on they, and the machine's real node, belong to this instance."""
    with lock(state(), "another up"):
        if wanted.node:
            _only_one_node()
        instance = replace(wanted, slot=free_slot())
        instance.save()
        return instance


def _begin(instance: Instance) -> None:
    """Start what needs none of the programs that are built."""
    say(f"{instance.name}: starting in {instance.folder}")
    if instance.node:
        node.prepare(instance)
        node.runtime(instance)


def _go_on(instance: Instance) -> None:
    """Start the rest."""
    controlplane.up(instance)
    if instance.node:
        node.up(instance)


def _stay(running: Instance, wanted: Instance) -> Instance:
    """It is up already: at most more fake nodes are asked for."""
    if running.node != wanted.node:
        have = "with" if running.node else "without"
        raise Problem(f"{running.name} is up {have} a real node: take it down first")
    say(f"{running.name}: already up")
    if wanted.kwok_nodes > running.kwok_nodes:
        more = replace(running, kwok_nodes=wanted.kwok_nodes)
        controlplane.add_fake_nodes(more, first=running.kwok_nodes)
        more.save()
        return more
    return running


def _only_one_node() -> None:
    """Two kubelets and two kube-proxies would fight over one machine's network."""
    for folder in _folders(only_node=True):
        is_here = folder.parent == state().resolve()
        elsewhere = "" if is_here else f"with DASK_GITOPS_STATE={folder.parent}, "
        raise Problem(
            f"instance {folder.name!r} has this machine's real node already, and there can be one "
            f"only. Use it, take it down ({elsewhere}down --name {folder.name}), or start with "
            "--no-node"
        )


def healthy(instance: Instance) -> bool:
    """Everything that was started is there and says that it is well."""
    names = {"etcd", "apiserver", "controller-manager", "scheduler"}
    names |= {"kwok"} if instance.kwok_nodes else set()
    names |= set(node.COMPONENTS) if instance.node else set()
    found = processes.records(instance.folder)
    return {record.name for record in found} >= names and all(r.healthy() for r in found)


def down(names: list[str]) -> None:
    """Take instances down; those that are not there are no error."""
    if not names:
        say("nothing is up")
    for name in names:
        folder = state() / name
        if not folder.is_dir():
            say(f"{name}: not up")
            continue
        _take_down(folder)


def end_dead(only_node: bool = False) -> int:
    """Take down what nobody can use any more: instances whose processes have all ended, as after
    a kill or a new start of the machine. The node's too if it lies in another state folder.

    :param only_node: instances without the machine's real node may stay.
    :returns: how many there were.
    """
    dead = [folder for folder in _folders(only_node) if not _lives(folder)]
    for folder in dead:
        say(f"{folder.name}: its processes have all ended; taking away what is left of it")
        _take_down(folder)
    return len(dead)


def _folders(only_node: bool) -> list[Path]:
    """Those of all instances that are known: here, and elsewhere that which has the node."""
    names = [name for name in existing() if not only_node or ((i := load(name)) and i.node)]
    found = [(state() / name).resolve() for name in names]
    last = node.owner() if os.geteuid() == 0 else None
    return [*found, last] if last and last not in found else found


def _lives(folder: Path) -> bool:
    """Does any of its processes run, or does somebody bring it up or down at this moment?"""
    return is_locked(folder) or any(record.alive() for record in processes.records(folder))


def _take_down(folder: Path) -> None:
    """End an instance, and remove its folder."""
    with lock(folder, f"another up or down of {folder.name}"):
        started = time.monotonic()
        if any(folder.iterdir()):
            _clean(folder)
            report(f"{folder.name} down", seconds(started))
        else:  # of one that was killed before it began, or at its end
            say(f"{folder.name}: not up")
        folder.rmdir()
    with contextlib.suppress(OSError):  # other instances live there still
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


def _clean(folder: Path) -> None:
    """End the processes (nothing in them is worth keeping), clean the machine and the folder."""
    processes.stop(processes.records(folder), grace=0)
    processes.end_unrecorded(folder)
    cleanup.clean(folder)
    (folder / "instance.json").unlink(missing_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "before.json"):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def status(names: list[str]) -> list[dict[str, object]]:
    """One row per component of the instances."""
    rows: list[dict[str, object]] = []
    for name in names:
        for record in processes.records(state() / name):
            is_up = record.healthy()
            rows.append(
                {
                    "instance": name,
                    "component": record.name,
                    "pid": record.pid,
                    "state": "up" if is_up else "not well" if record.alive() else "down",
                    "port": record.port or "",
                    "MiB": record.memory() if record.alive() else "",
                    "log": record.log,
                }
            )
    return rows
