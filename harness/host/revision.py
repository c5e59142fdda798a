"""Which code has run: the revision of these packages, and beside it that of the directory that somebody works in.

    a checkout, or an installation that points to one    what git says of it, `+` for changes
    installed from a wheel                               what the build has written into it (`hatch_build.py`)
    anything else                                        nobody knows: None

Whoever runs an installed shopbench in a repository of theirs has that one's revision in the working directory.
It belongs into the record, too, for it may be what is looked at; it says nothing of the code that has measured.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.host.git import git_environment
from harness.host.own_python import ROOT

# Written by the build, beside this file's package.
BUILT = "revision.txt"


def own_revision(root: Path = ROOT) -> str | None:
    """The revision of the code that runs, with `+` where it has changes; None where nobody knows."""
    # Not `git` alone: site-packages may lie within somebody's repository.
    if (root / ".git").exists():
        return revision_of(root)
    try:
        return (root / "harness" / BUILT).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def revision_of(directory: Path) -> str | None:
    """The commit of the checkout that a directory is in, with `+` where it has changes; None outside of one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607 - whichever git there is
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=git_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
