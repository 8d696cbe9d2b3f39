"""Files of Go modules, such as the definitions of Argo CD's and Flux' kinds: read from what the module proxy serves, never copied."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.support.network import first_network

KUBERNETES = Path(__file__).parents[2] / "ci/kubernetes"
ARGO_CD = "github.com/argoproj/argo-cd/v3@v3.6.1"
FLUX = (
    "github.com/fluxcd/source-controller@v1.9.4",
    "github.com/fluxcd/kustomize-controller@v1.9.4",
    "github.com/fluxcd/helm-controller@v1.6.3",
)


def _go() -> list[str]:
    """The Go that builds the programs: the machine's own, or one out of a Python wheel."""
    ask = "import json, programs; print(json.dumps(programs.go()))"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=KUBERNETES, stdout=subprocess.PIPE, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


@functools.cache
def files(module: str, folder: str) -> dict[str, str]:
    """Names and texts of the files directly in a folder of a module, `path@version`."""
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    with first_network():
        command = [*_go(), "mod", "download", "-json", module]
        done = subprocess.run(
            command, cwd=tempfile.gettempdir(), env=env, capture_output=True, text=True
        )
    archive = json.loads(done.stdout or "{}").get(
        "Zip"
    )  # also there when the module needs a newer Go
    if not archive:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    with zipfile.ZipFile(archive) as opened:
        names = [
            name for name in opened.namelist() if name.rpartition("/")[0] == f"{module}/{folder}"
        ]
        return {name.rpartition("/")[2]: opened.read(name).decode() for name in names}
