#!/usr/bin/env python3
"""Build the two packages of the chart, `python3 ci/packages.py FOLDER`.

dask-gitops is the whole chart. dask-clusters has the same templates, and neither definitions nor controller nor rights:
what a team installs, so that the version that it chooses never moves what all teams share.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("controller", "crds")  # keys of values that only the whole chart has
COPIED = ("CHANGELOG.md", "LICENSE", "templates")
DESCRIPTION = "Dask clusters, declared in git. Custom resources only, their definitions and controller come with dask-gitops."
REFUSAL = """\
{{- range $key := list "controller" "crds" }}
{{- if hasKey $.Values $key }}
{{- fail (printf "%s: this package declares clusters and jobs only; controller and definitions belong to the release of dask-gitops, take the key away here" $key) }}
{{- end }}
{{- end }}
"""


def helm() -> str:
    """The Helm on PATH, or else the project's own."""
    found = shutil.which("helm")
    if found:
        return found
    command = [sys.executable, ROOT / "ci/kubernetes", "build", "--no-packages", "--only", "helm"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("error: there is no helm on PATH, and building one failed, see above")
    return str(Path(done.stdout.strip()) / "helm")


def chart_yaml(text: str) -> str:
    """Chart.yaml under the other name, without subcharts, which stand at its end."""
    text, subcharts, _ = text.partition("# Both are folders below charts/.")
    assert subcharts
    text = text.replace("name: dask-gitops", "name: dask-clusters")
    return re.sub(r"(?m)^description: .*$", f"description: {DESCRIPTION}", text)


def values_yaml(text: str) -> str:
    """values.yaml without the keys that are at its end, each below its comment."""
    start = re.search(r"(?m)^(#.*\n)*controller:$", text)
    assert start
    return text[: start.start()].rstrip().replace("dask-gitops", "dask-clusters") + "\n"


def values_schema(text: str) -> str:
    """The schema, which lets what only the whole chart has through to a better message."""
    schema = json.loads(text)
    schema["title"] = "dask-clusters"
    for key in SHARED:
        schema["properties"][key] = {
            "type": ["object", "null"],
            "description": "Not in this package.",
        }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_clusters(folder: Path) -> None:
    """The source of dask-clusters."""
    for name, change in (
        ("Chart.yaml", chart_yaml),
        ("values.yaml", values_yaml),
        ("values.schema.json", values_schema),
    ):
        (folder / name).write_text(change((ROOT / name).read_text(encoding="utf-8")), "utf-8")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "templates/refusal.yaml").write_text(REFUSAL, encoding="utf-8")


def main(target: Path) -> int:
    """Write both packages into a folder; Helm tells their names."""
    program = helm()
    with tempfile.TemporaryDirectory() as scratch:
        clusters = Path(scratch) / "dask-clusters"
        clusters.mkdir()
        write_clusters(clusters)
        for chart in (ROOT, clusters):
            command = [program, "package", chart, "--destination", target]
            if subprocess.run(command).returncode:
                return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python3 ci/packages.py FOLDER")
    sys.exit(main(Path(sys.argv[1])))
