"""Writes the revision that a wheel is built from into it, where a record finds it (`harness/host/revision.py`)."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "harness/revision.txt"


class RevisionHook(BuildHookInterface):
    """Asks git while there is one; a wheel that is made from an sdist has the sdist's."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file; not to an installation that points to a checkout, which git can be asked about."""
        root = Path(self.root)
        if version == "editable" or not (root / ".git").exists():
            return
        try:
            described = subprocess.run(
                ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607 - whichever git there is
                cwd=root,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return  # without git nobody knows, and a record says so
        self._directory = tempfile.TemporaryDirectory()
        file = Path(self._directory.name) / "revision.txt"
        file.write_text(described)
        build_data["force_include"][str(file)] = BUILT
