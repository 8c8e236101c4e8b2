"""How a Python of our own is started beside this one: with this one's modules, and none of the folder it stands in.

``python -m module`` puts the current folder before everything else, so that a stranger's ``numpy.py`` beside the images
would run. Every child is started by ``python_child``; a test looks for others.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[2]  # what eyespot itself is imported from
# sys.argv is then as after `python -m`; the paths come first, since without them nothing can be found.
_START = """\
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def python_child(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m`` does, but finds modules where this process does.

    Entries of ``sys.path`` that stand for the current folder are left out, unless eyespot itself lies there.
    """
    return [sys.executable, "-I", "-c", _START, json.dumps(_paths()), module, *arguments]


def _paths() -> list[str]:
    here = Path.cwd().resolve()
    paths = [Path(entry).resolve() for entry in sys.path if entry]
    return [os.fspath(path) for path in paths if path != here or path == _PACKAGES]
