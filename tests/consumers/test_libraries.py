"""The consumers that libraries document, each in an environment of its own, without which these tests are skipped.

What is asked here is that they do their work as written. What they lose is asked of `shopbench consumer check`.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.server.own import OwnServer
from tests.consumer_trials import PLAIN, Trial, made_in
from tests.consumers.test_examples import EXAMPLES

# Its packages take minutes to install.
pytestmark = pytest.mark.long


def environment_of(name: str, cache: Path) -> Path:
    """The programs of an environment with what an example needs; skips the test where it cannot be made."""
    requirements = EXAMPLES / name / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    script = f"{sys.executable} -m venv . && bin/python -m pip install --quiet -r requirements.txt"
    return made_in("pip cannot install", ["sh", "-c", script], cache / f"{name}-{key}", requirements) / "bin"


@pytest.mark.parametrize("kind", ["default", "from_0", "claiming", "taskiq"])
def test_it_has_the_effect_of_each_event(
    tmp_path: Path, request: pytest.FixtureRequest, server: OwnServer, kind: str
) -> None:
    """Nothing is broken: each event has its effect, and is acknowledged."""
    name = "taskiq_redis" if kind == "taskiq" else "faststream"
    programs = environment_of(name, request.config.cache.mkdir("consumers"))
    shape = PLAIN
    command: Sequence[str] = [str(programs / "python"), str(EXAMPLES / name / "consumer.py"), kind]
    if kind == "taskiq":
        shape = tomllib.loads((EXAMPLES / name / "shape.toml").read_text())["fields"]
        app = ("--app-dir", str(EXAMPLES / name), "consumer:broker")
        # Programs of an environment name the place where it was made.
        command = [str(programs / "python"), "-m", "taskiq", "worker", "--workers", "1", *app]
    with Trial(tmp_path, server, command, shape=shape) as trial:
        trial.begin()
        trial.publish(40)
        trial.wait_for_all()
