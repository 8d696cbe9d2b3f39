"""Runs the existing operator's own tests of its client against ours. Nothing of them is in this repository: the wheel has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests.support.kubernetes import Kubectl
from tests.support.network import first_network

ROOT = Path(__file__).parents[2]
REQUIREMENTS = "tests/upstream-requirements.txt"
FILES = ("test_kubecluster.py", "test_discovery.py")
WHERE = "dask_kubernetes/operator/kubecluster/tests"
#: How many tests those files have, each value of a parameter as one.
COUNT = 17
#: The one for which no controller may run.
WITHOUT_CONTROLLER = "test_cluster_without_operator"


@dataclass(frozen=True)
class Ended:
    """:ivar code: pytest's exit code.
    :ivar outcomes: test -> ``passed``, ``failure``, ``error`` or ``skipped``.
    :ivar seconds: test -> how long it took.
    """

    code: int
    outcomes: dict[str, str]
    seconds: dict[str, float]
    output: str


def environment() -> Path:
    """The Python that has the existing operator's client."""
    with first_network():
        words = [sys.executable, "ci/venv.py", REQUIREMENTS]
        made = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


def run(
    kubectl: Kubectl, folder: Path, which: str, image: str = "dask:latest", one_pod: str = ""
) -> Ended:
    """In kubectl's namespace, which is also their kubeconfig's.

    :param folder: for their files; it is made.
    :param which: names of tests, as ``-k`` has them.
    :param one_pod: another namespace, with room for one Pod.
    """
    folder.mkdir()
    python = environment()
    (site,) = (python.parent.parent / "lib").glob("python3.*/site-packages")
    for name in FILES:
        shutil.copy(site / WHERE / name, folder)
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = kubectl.namespace
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    env = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(folder),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "PYTHONPATH": f"{ROOT / 'controller'}:{ROOT}",
        "DASK_IMAGE": image,
        "NAMESPACE": kubectl.namespace,
        "NAMESPACE_OF_ONE_POD": one_pod,
    }
    command: list[str | Path] = [
        *(python, "-B", "-m", "pytest", "-p", "tests.support.upstream_stand_ins", "-rA"),
        *("-c", os.devnull, "--rootdir", folder, "--confcutdir", folder, "-p", "no:cacheprovider"),
        *("--junitxml", folder / "result.xml", *FILES, "-k", which),
    ]
    done = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    outcomes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    if (folder / "result.xml").exists():
        for case in ElementTree.parse(folder / "result.xml").iter("testcase"):
            bad = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
            outcomes[case.attrib["name"]] = bad[0] if bad else "passed"
            seconds[case.attrib["name"]] = float(case.attrib["time"])
    return Ended(done.returncode, outcomes, seconds, done.stdout)
