"""Interrupts: Ctrl-C, SIGTERM and SIGHUP become an `Interrupted`, and wait while a record is written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to end: Ctrl-C, SIGTERM, or SIGHUP."""


def heed_ctrl_c() -> None:
    """Have SIGINT raise KeyboardInterrupt also where this process was started with it ignored.

    A shell that starts a program in the background of a script has it ignored there, and Python then leaves it so.
    Who sends the signal to a program of ours wants it to end. A handler that somebody has set stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into an `Interrupted`, and ignore more while that is handled.

    A SIGHUP comes when the terminal is closed. Who has it ignored, as `nohup` does, wants to go on without one.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def interrupt(number: int, _: object) -> None:
        for name in numbers:
            # Not SIG_IGN: a service that is started to heal a fault would inherit it, and could not be stopped.
            signal.signal(name, lambda *_: None)
        raise Interrupted(signal.Signals(number).name)

    before = {name: signal.signal(name, interrupt) for name in numbers}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP, and deliver them when all is done.

    Only in the main thread, where Python runs its handlers. Under Locust signals are gevent's, and whoever writes
    a file is interrupted by nobody.
    """
    held: list[int] = []
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # None is a handler that is not Python's, which could not be put back; what is ignored stays ignored.
            if signal.getsignal(number) not in {None, signal.SIG_IGN}:
                before[number] = signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def written(write: Callable[[], None]) -> Interrupted | None:
    """Write a record as a whole; what interrupts that is answered when it is done."""
    try:
        with undisturbed():
            write()
    except Interrupted as error:
        return error
    return None
