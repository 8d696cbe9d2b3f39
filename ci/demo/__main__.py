"""Dask computes on workers that a values file declares: `make demo`.

In a kind cluster of its own where Docker answers and kind is there, in a context that you name, and else in a real
local Kubernetes on this machine. Everything is taken away at the end, unless told to keep it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ci.kubernetes import python_version

python_version.demand()  # before what an older one cannot read

# ruff: noqa: E402
from ci.demo import report
from ci.demo.places import Place, choose
from ci.demo.shell import Problem
from ci.demo.steps import Steps, parts_table, say
from ci.demo.story import RELEASE, SCHEDULER, Story


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/demo", description=__doc__)
    parser.add_argument("--context", default="", help="a context of your kubeconfig")
    about = "a registry that you push to and that context's cluster pulls from"
    parser.add_argument("--registry", default="", help=about)
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    return parser.parse_args()


def main() -> int:
    """Tell the story; the exit code says whether it came to a good end."""
    wishes, steps = options(), Steps()
    try:
        place = choose(wishes.context, wishes.registry)
    except Problem as problem:
        tell("the demo", problem)
        return 1
    story = Story(place, steps)
    code = 0
    try:
        story.tell(wishes.keep)
    except Problem as problem:
        tell(steps.current.title if steps.current else "the demo", problem)
        if story.installed:
            report.show(place.kube)
        code = 1
    except KeyboardInterrupt:
        say("\ninterrupted")
        code = 130
    if wishes.keep:
        say("\nEverything is left as it is (KEEP=1)." if code else "")
    else:
        code = put_back(story, place, steps, failed=bool(code)) or code
    if code == 0:
        made = f"\n{parts_table(place.parts)}\n" if place.parts else ""
        say(f"\n{steps.table()}\n{made}\n{hints(place, wishes.keep)}")
    return code


def put_back(story: Story, place: Place, steps: Steps, failed: bool) -> int:
    """Uninstall what a failure left, and stop what the demo started."""
    try:
        if failed:
            story.clean_up()
        with steps.step("put back") as step:
            step.shown = f"Kubernetes {place.stop()}"
    except Problem as problem:
        tell("put back", problem)
        return 1
    return 0


def tell(what: str, problem: Problem) -> None:
    """A failure, in words."""
    say(f"\nFAILED: {what}")
    for line in str(problem).splitlines():
        say(f"    {line}")
    say(f"    try: {problem.hint or 'make demo KEEP=1 leaves all of it for you to look at'}")


def hints(place: Place, kept: bool) -> str:
    """How to reach the dashboard, and how to end it."""
    kube = place.kube
    where = ["-n", kube.namespace, *(["--context", kube.context] if kube.context else [])]
    forward = ["kubectl", "port-forward", *where, f"svc/{SCHEDULER}", "8787"]
    lines = ["The dashboard, http://localhost:8787, while it runs:"]
    if not kept:
        lines = [
            "To look around, run `make demo KEEP=1`; then the dashboard, http://localhost:8787:"
        ]
    lines += [f"  {line}" for line in (*kube.shell_lines(), " ".join(forward))]
    if kept:
        context = ["--kube-context", kube.context] if kube.context else []
        end = ["helm", "uninstall", RELEASE, "-n", kube.namespace, *context]
        lines += ["To end it:", f"  {' '.join(end)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
