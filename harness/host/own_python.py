"""How a process of ours is started: with our packages, whatever lies in the working directory.

`python -m harness.host.guard` looks in the working directory first, and so does `python -c`. Somebody who works
in a repository with a package called `harness`, `reports` or `scenarios` would have a guard that is theirs, and
dies at once. So each interpreter that we start gets

    -P            neither the working directory nor a script's goes on its path
    PYTHONPATH    the directory that these packages were loaded from, where a fresh interpreter would not find it;
                  then what the user has there, without the entries that mean the working directory ('' and '.')

A file that Locust loads puts the working directory last in its own first lines: Locust has put it in front of all,
whatever `-P` says, and nothing of ours can be imported before that is undone. `ordershop.supervisor` does the same
for services. It may not import this file, nor this file that.

Rejected: `-I`. It leaves out PYTHONPATH and the user's site-packages, in which our libraries may be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# What Python looks through by itself. Before it, libraries there would hide modules of Python's own.
_BY_ITSELF = ("site-packages", "dist-packages")


class Elsewhere(NamedTuple):
    """Another interpreter than ours, with the libraries of its own environment in the place of ours.

    Attributes:
        python: its program.
        path: directories that it looks through before its own.
    """

    python: str
    path: tuple[str, ...] = ()

    @staticmethod
    def environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment variables for it: those that would bring it libraries of somebody else are left out."""
        return {name: value for name, value in environment.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def own_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours as a program."""
    return [sys.executable, "-P", "-m", module, *arguments]


def own_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a process of ours: as it is, with a path on which the working directory is not."""
    theirs = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if Path(each).is_absolute()]
    ours = [] if ROOT.name in _BY_ITSELF else [str(ROOT)]
    found = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    if path := os.pathsep.join([*ours, *(each for each in theirs if each not in ours)]):
        found["PYTHONPATH"] = path
    return found


def own_path(path: Sequence[str], directory: str) -> list[str]:
    """A parent's `sys.path` for its child: ours goes before the working directory, which comes last.

    Args:
        path: the parent's; Locust puts the working directory in front of it.
        directory: the working directory.
    """
    here = [each for each in path if not each or os.path.realpath(each) == os.path.realpath(directory)]
    elsewhere = [each for each in path if each not in here]
    # Whoever works in a clone without an installation has us in the working directory, and nowhere else.
    is_ours = os.path.realpath(directory) == str(ROOT)
    return [*([str(ROOT)] if is_ours else []), *elsewhere, *([] if is_ours else [directory] * bool(here))]
