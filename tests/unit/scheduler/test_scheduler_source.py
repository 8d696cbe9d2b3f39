"""The text that goes into the scheduler's env."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from dask_gitops.resources import controlport
from dask_gitops.scheduler import (
    PORT_ENV,
    PRELOAD,
    PRELOAD_ENV,
    SOURCE_ENV,
    TOKEN_ENV,
    control_source,
)
from dask_gitops.scheduler import source as module
from dask_gitops.scheduler.source import handover_source

CONTROL = Path(module.__file__).parent / "control.py"
HANDOVER = CONTROL.with_name("handover.py")
HEALTH = CONTROL.with_name("health.py")
OURS = (
    "from dask_gitops.scheduler.health import SERVERS, listen  # not shipped: it stands before us\n"
)


def without_docstrings(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return [ast.dump(statement) for statement in tree.body]


def test_stripping_changes_no_code():
    assert without_docstrings(HANDOVER.read_text()) == without_docstrings(handover_source())
    control = CONTROL.read_text()
    assert OURS in control
    files = HEALTH.read_text(), control.replace(OURS, ""), f"HANDOVER = {handover_source()!r}\n"
    whole = [statement for text in files for statement in without_docstrings(text)]
    assert whole == without_docstrings(control_source())
    assert "dask_gitops." not in control_source()


def test_the_workers_part_is_in_the_schedulers():
    assert "class Plugin(" in handover_source()
    assert control_source().endswith(f"HANDOVER = {handover_source()!r}\n")


def test_nothing_in_it_is_expanded_by_kubernetes_or_dask():
    assert "$" not in CONTROL.read_text() + HANDOVER.read_text() + HEALTH.read_text() + PRELOAD
    assert '"""' not in control_source()
    assert control_source().isascii()


def test_it_is_small():
    assert len(control_source()) < 23_000
    assert len(handover_source()) < 3_000  # each worker gets it when it registers
    assert len(PRELOAD) < 200  # dask logs it


def test_any_python_that_runs_an_old_distributed_can_read_it():
    for text in (control_source(), handover_source()):
        ast.parse(text, feature_version=(3, 8))
        assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.JoinedStr)]


def test_only_the_preload_text_is_dask_configuration():
    assert PRELOAD_ENV == "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
    assert not SOURCE_ENV.startswith("DASK_")
    assert not TOKEN_ENV.startswith("DASK_")
    assert PORT_ENV == controlport.PORT_ENV  # of those who put it into the Pod
    assert " " in PRELOAD  # else dask takes it for a module's name


def test_a_broken_source_does_not_end_the_scheduler():
    for broken in ("def (", "raise ValueError('no')", None):
        env = {k: v for k, v in os.environ.items() if k != SOURCE_ENV}
        if broken is not None:
            env[SOURCE_ENV] = broken
        done = subprocess.run(
            [sys.executable, "-c", PRELOAD], env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0
        assert "Error" in done.stderr


def test_the_importing_side_needs_no_distributed():
    code = "import sys; sys.modules['distributed'] = None; import dask_gitops.scheduler"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=30,
        env=dict(os.environ, PYTHONPATH=str(CONTROL.parents[2])),
    )
