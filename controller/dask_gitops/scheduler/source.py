"""How `health.py` and `control.py` get into a scheduler whose image knows nothing of us, and `handover.py` with them.

Dask runs the literal text in `PRELOAD_ENV` before the scheduler starts. That text only fetches the
real source from another variable, because dask logs the text and expands dollar signs in it.
"""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from pathlib import Path

PRELOAD_ENV = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
"""Read by dask. A `--preload` of the user's on the command line makes dask ignore it: then append
`--preload PRELOAD` to the command line as well. (Read by `dask scheduler` only: harmless elsewhere.)
"""

SOURCE_ENV = "SCHEDULER_CONTROL_SOURCE"
"""Holds `control_source()`. Must not begin with `DASK_`: dask would take it for configuration."""

TOKEN_ENV = "SCHEDULER_CONTROL_TOKEN"
"""Holds the bearer token. Not `DASK_...` either: workers and clients can read dask's config."""

PORT_ENV = "SCHEDULER_CONTROL_PORT"
"""Holds the port on which the control API and our probes are answered."""

USERS_PRELOAD_ENV = "SCHEDULER_CONTROL_PRELOAD"
USERS_ARGV_ENV = "SCHEDULER_CONTROL_PRELOAD_ARGV"
"""Hold what the user says in `PRELOAD_ENV` and in `..._ARGV`. Ours stands there alone and loads the
user's, from these or from configuration files, as dask would: with their arguments.
"""

BESIDE = f"""\
import os, traceback
try:
    exec(os.environ[{SOURCE_ENV!r}])
except Exception:
    traceback.print_exc()
"""
"""The preload text beside others on the command line, which Dask loads itself."""

PRELOAD = f"""\
{BESIDE}else:
    load_own()
"""
"""The preload text. Whatever is wrong with the source, the scheduler starts, only without the API; what `health.py`
says before that holds, so it answers our probes all the same.
Whatever is wrong with a preload of the user's ends it, as it would without us.
Dask takes a preload for literal text when it contains a space."""


@functools.cache
def control_source() -> str:
    """Return the text for `SOURCE_ENV`: `health.py` and `control.py`, which holds `handover.py`, without comments,
    docstrings and what they import of us.

    Code lines stay as written (no `ast.unparse`: a newer Python may write what an older scheduler
    cannot read). Holds no dollar sign, which Kubernetes would expand in an env value.
    """
    parts = _stripped("health.py") + _stripped("control.py")
    return f"{parts}HANDOVER = {handover_source()!r}\n"


def handover_source() -> str:
    """Return what the scheduler gives to workers and nannies: `handover.py`, in the same way."""
    return _stripped("handover.py")


def _stripped(name: str) -> str:
    return _strip((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _strip(text: str) -> str:
    """Return Python source `text` without comments, docstrings, imports of ours, blank lines and wide indentation."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dask_gitops"):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[row - 1] = ""
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is None:
                continue
            doc = node.body[0]
            for row in range(doc.lineno, (doc.end_lineno or doc.lineno) + 1):
                lines[row - 1] = ""
    return "".join(_dedent(line) for line in lines if line.strip())


def _dedent(line: str) -> str:
    """Return `line` indented by one space per level: a quarter of the bytes is indentation.

    Fits the source only while it holds no strings over several lines (tested).
    """
    code = line.lstrip()
    return " " * ((len(line) - len(code)) // 4) + code + "\n"
