"""A consumer's command that is started again when it ends by itself, and what a fault does to it.

    runs --exit--> gone for 0.5 s --> runs           restart=always; each exit is noted: when, and with what
    runs --exit--> gone                              restart=never
    runs --kill, stop--> down --start--> runs        a fault: what is down is nobody's to start but the fault's
    runs --freeze--> down --thaw--> runs

Somebody has to look for exits, ten times a second or so: `look`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.system.command import CommandProcess
from harness.system.logs import last_lines
from harness.system.port import Exit, NotStartedError

RESTART_AFTER_NS = 500_000_000
# So much of a log is told where a consumer does not do what it should.
_LAST_LINES = 3


class KeptCommand:
    """A command that is started again, and that faults can be done to; its command is entered by whoever makes it.

    Args:
        command: it.
        restarts: whether it is started again when it ends by itself.
        now_ns: the time.
        before_back: called before it comes back from a fault.

    Attributes:
        exits: that nobody had asked for, in their order.
        is_down: whether a fault has it: it was stopped, killed or frozen, and is not back.
        lives_on: whether that was meant for its first process alone, so that the others may be at work.
    """

    def __init__(
        self,
        command: CommandProcess,
        *,
        restarts: bool,
        now_ns: Callable[[], int],
        before_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = command.name
        self._command = command
        self._restarts = restarts
        self._now_ns = now_ns
        self._before_back = before_back
        # Faults come from several threads, and `look` from another.
        self._lock = threading.RLock()
        self._gone_ns: int | None = None
        self._why_not = ""
        self.exits: list[Exit] = []
        self.is_down = self.lives_on = False

    @property
    def is_running(self) -> bool:
        """Whether it runs, or is about to be started again."""
        if self.is_down:
            return self._command.is_running
        return self._command.is_running or (self._restarts and not self._why_not)

    @property
    def strays(self) -> int:
        """How many processes that it had started had left its process group when they were ended."""
        return self._command.strays

    @property
    def others(self) -> int:
        """How many processes of it there are besides the one that was started."""
        return self._command.others

    def look(self) -> None:
        """Note its end, and start it again when it has been gone for long enough."""
        if not self._lock.acquire(blocking=False):
            return  # a fault is at work on it
        try:
            if self.is_down or self._command.is_running or self._why_not:
                return
            if self._gone_ns is None:
                self._gone_ns = self._now_ns()
                status = self._command.exit_status
                self.exits.append(Exit(consumer=self.name, at_ns=self._gone_ns, status=status or 0))
            elif self._restarts and self._now_ns() - self._gone_ns >= RESTART_AFTER_NS:
                self._start()
        finally:
            self._lock.release()

    def _start(self) -> None:
        # What its last process has left behind would work on beside the new one.
        self._command.kill()
        try:
            self._command.start()
        except NotStartedError as error:
            self._why_not = str(error)
        self._gone_ns = None

    def stop(self) -> None:
        """SIGTERM, and wait for its end; what is left of it then is killed."""
        with self._lock:
            self.is_down = True
            self._command.stop()

    def kill(self) -> None:
        """SIGKILL to all of it, and wait for its end."""
        with self._lock:
            self.is_down = True
            self._command.kill()

    def kill_leader(self) -> None:
        """SIGKILL to the process that was started; what that has started goes on."""
        with self._lock:
            self.is_down = self.lives_on = True
            self._command.kill_first()

    def freeze(self) -> None:
        """SIGSTOP to all of it."""
        with self._lock:
            self.is_down = True
            self._command.freeze()

    def thaw(self) -> None:
        """SIGCONT to all of it."""
        with self._lock:
            self._before_back()
            self._command.thaw()
            self.is_down = self.lives_on = False

    def start(self) -> None:
        """Start it again.

        Raises:
            NotStartedError: there is no such program any more.
        """
        with self._lock:
            self._before_back()
            self._gone_ns = None
            self._command.start()
            self.is_down = self.lives_on = False

    def last_lines(self) -> str:
        """How its log ends, in one line, without secrets; empty where it has written nothing."""
        told = (" ".join(line.split()) for line in last_lines(self._command.log, _LAST_LINES))
        return " | ".join("".join(c if c.isprintable() else "?" for c in line) for line in told)
