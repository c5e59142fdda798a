"""Consumers by command, for tests: programs that know nothing but what their environment tells them.

system("good")                                     one that does all as it should
system("good", promise="effectively_once")
command("exits")                                   its command line
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from harness.system.consumer import ConsumerSystem, consumer_command

HERE = Path(__file__).parent


def command(name: str, *arguments: str) -> str:
    """The command line of a program of this directory."""
    return shlex.join([sys.executable, str(HERE / f"{name}.py"), *arguments])


def system(name: str, *arguments: str, ready_s: float = 20.0, **options: str) -> ConsumerSystem:
    """A program of this directory as a system under test."""
    return ConsumerSystem(consumer_command(command(name, *arguments), **options), ready_s=ready_s)
