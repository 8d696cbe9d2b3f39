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

import lab  # noqa: E402
import lifecycle  # noqa: E402
from common import Problem, check_name, say  # noqa: E402
from instance import Instance, need  # noqa: E402
from places import Ports  # noqa: E402


def up(options: argparse.Namespace) -> None:
    """Start the lab; prints as JSON where everything is."""
    wanted = Instance(check_name(options.name), 0, False, options.kwok_nodes, options.kwok_cidr, "")
    instance = lab.up(replace(wanted, audit_log=str(wanted.folder / "audit.log")))
    ports = Ports(instance)
    told = {
        "kubeconfig": str(instance.kubeconfig),
        "git": f"{ports.web()}/git",
        "charts": f"{ports.web()}/charts",
        "argocd": f"http://127.0.0.1:{ports('argocd')}",
        "metrics": f"http://127.0.0.1:{ports('app-metrics')}/metrics",
        "folder": str(instance.folder),
    }
    print(json.dumps(told, indent=2))


def repository(options: argparse.Namespace) -> None:
    """Make an empty git repository in the lab; prints its address."""
    instance = need(options.name)
    lab.repository(instance, check_name(options.repository))
    print(f"{Ports(instance).web()}/git/{options.repository}.git")


def down(options: argparse.Namespace) -> None:
    """End the lab with everything in it."""
    lifecycle.down([check_name(options.name)])


def main() -> int:
    """Run a command; expected failures are told in words."""
    top = argparse.ArgumentParser(prog="ci/gitops", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for call in (up, repository, down):
        one = commands.add_parser(call.__name__, help=call.__doc__, description=call.__doc__)
        one.set_defaults(call=call)
        one.add_argument(
            "--name", default="lab", metavar="NAME", help="the instance (default: lab)"
        )
        if call is up:
            one.add_argument("--kwok-nodes", type=int, default=5, metavar="N", help="fake nodes")
            one.add_argument("--kwok-cidr", default="127.64.0.0/12", help="addresses of fake pods")
        if call is repository:
            one.add_argument("repository", metavar="REPOSITORY")
    options = top.parse_args()
    try:
        options.call(options)
    except Problem as problem:
        say(f"error: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
