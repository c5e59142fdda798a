"""A Ctrl-C while the command line is still being imported."""

from __future__ import annotations

import subprocess
import sys

from harness.check.checkers import EXIT_INVALID
from harness.host.own_python import own_environment

# Stands for somebody who is quick: what is imported first of the command line is interrupted.
QUICK = """
import sys

class Quick:
    def find_spec(self, name, *_):
        if name == "harness.cli.shopbench":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Quick())
from harness.__main__ import main
main()
"""


def test_it_ends_as_any_other() -> None:
    """Without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK],
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INVALID, "", "")
