"""How fast, how big, how quiet: the controller measured beside the plainest way to do the same."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Measured is this tree, whatever is installed; but whoever says where the controller is, as `make mutants`, is heard.
_said = os.environ.get("PYTHONPATH", "").split(os.pathsep)
if not any(path and Path(path, "dask_gitops").is_dir() for path in _said):
    sys.path.insert(0, str(ROOT / "controller"))
