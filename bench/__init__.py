"""How fast, how big, how quiet: the controller measured beside the plainest way to do the same."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "controller"))  # measured is this tree, whatever is installed
