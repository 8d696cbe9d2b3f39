"""A lab for GitOps: Argo CD and Flux on the local Kubernetes: python3 ci/gitops --help."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

KUBERNETES = Path(__file__).resolve().parent.parent / "kubernetes"
sys.path[:0] = [str(KUBERNETES)]

import python_version  # noqa: E402

python_version.demand()  # before what an older one cannot read

import example as repo  # noqa: E402
import lab  # noqa: E402
import lifecycle  # noqa: E402
import tour as visit  # noqa: E402
from common import check_name, told  # noqa: E402
from instance import Instance, load, need  # noqa: E402
from places import Ports  # noqa: E402


def started(options: argparse.Namespace, node: bool) -> Instance:
    """The lab's instance, with a real node or with pretended ones."""
    fakes = 0 if node else options.kwok_nodes
    wanted = Instance(check_name(options.name), 0, node, fakes, options.kwok_cidr, "")
    return lab.up(replace(wanted, audit_log=str(wanted.folder / "audit.log")))


def tour(options: argparse.Namespace) -> None:
    """Start the lab with the example in it, kept by both tools; prints what to do with it. As root on a real node."""
    visit.spare(check_name(options.name))
    print(visit.begin(started(options, options.node)))


def up(options: argparse.Namespace) -> None:
    """Start an empty lab with pretended nodes, or add one to an instance that is up; prints as JSON where everything is."""
    there = load(check_name(options.name))
    instance = started(options, node=there is not None and there.node)
    ports = Ports(instance)
    places = {
        "kubeconfig": str(instance.kubeconfig),
        "git": f"{ports.web()}/git",
        "charts": f"{ports.web()}/charts",
        "argocd": f"http://127.0.0.1:{ports('argocd')}",
        "metrics": f"http://127.0.0.1:{ports('app-metrics')}/metrics",
        "folder": str(instance.folder),
    }
    print(json.dumps(places, indent=2))


def repository(options: argparse.Namespace) -> None:
    """Make an empty git repository in the lab; prints its address."""
    instance = need(options.name)
    lab.repository(instance, check_name(options.repository))
    print(f"{Ports(instance).web()}/git/{options.repository}.git")


def example(options: argparse.Namespace) -> None:
    """Push gitops/ to a new repository of the lab, with the lab's addresses in it; prints its address."""
    print(repo.make(need(options.name), {}))


def leave(options: argparse.Namespace) -> None:
    """Take Argo CD and Flux off an instance, which stays up."""
    lab.leave(need(options.name))


def down(options: argparse.Namespace) -> None:
    """End the lab with everything in it."""
    lifecycle.down([check_name(options.name)])


def main() -> int:
    """Run a command."""
    top = argparse.ArgumentParser(prog="ci/gitops", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for call in (tour, up, repository, example, leave, down):
        one = commands.add_parser(call.__name__, help=call.__doc__, description=call.__doc__)
        one.set_defaults(call=call)
        one.add_argument(
            "--name", default="lab", metavar="NAME", help="the instance (default: lab)"
        )
        if call is tour:
            kind = argparse.BooleanOptionalAction
            one.add_argument("--node", action=kind, default=os.geteuid() == 0, help="a real node")
        if call in (tour, up):
            one.add_argument("--kwok-nodes", type=int, default=5, metavar="N", help="fake nodes")
            one.add_argument("--kwok-cidr", default="127.64.0.0/12", help="addresses of fake pods")
        if call is repository:
            one.add_argument("repository", metavar="REPOSITORY")
    options = top.parse_args()
    return told(lambda: options.call(options))


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
