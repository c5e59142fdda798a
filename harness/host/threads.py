"""Work in a thread of its own, for as long as something else lasts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def at_work(work: Callable[[], None], stop: threading.Event, name: str) -> Iterator[None]:
    """Work while it is entered; afterwards the work is told to stop, and waited for.

    Args:
        work: ends by itself, or soon after it was told to stop.
        stop: by which it is told.
        name: of the thread.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
