"""Runs a notebook from its first cell to its last, in the environment of tests/notebooks-requirements.txt: ``run_notebook.py FROM TO``.

An error in a cell ends it; what the cells put out is in TO either way.
"""

from __future__ import annotations

import sys

import nbclient
import nbformat

PATIENCE_S = 300  # of each cell

if __name__ == "__main__":
    notebook = nbformat.read(sys.argv[1], as_version=4)
    nbformat.validate(notebook)
    try:
        nbclient.NotebookClient(notebook, timeout=PATIENCE_S, kernel_name="python3").execute()
    finally:
        nbformat.write(notebook, sys.argv[2])
