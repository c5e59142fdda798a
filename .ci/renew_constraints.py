"""Writes constraints.txt: what a fresh environment gets today, as plain `name==version` lines.

Run by `tox -e constraints`. It makes an empty environment, installs the project with everything that its checks
need, and keeps the list. Versions only: no file, no address of an index.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ["ruff", "mypy", "import-linter", "codespell", "types-psutil", "build", "hatchling"]


def main() -> None:
    """Install into an empty environment and write down what came."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = str(Path(directory) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", f"{ROOT}[test]", *TOOLS], check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--exclude", "ordershop-bench"], check=True, stdout=subprocess.PIPE, text=True
        )
    lines = frozen.stdout.splitlines()
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)]
    if odd:
        sys.exit(f"not a plain version: {odd}")
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
