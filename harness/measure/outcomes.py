"""What became of an operation that was due.

OK        answered
FAILED    answered with an error
UNKNOWN   sent, and never answered: it may have happened
DROPPED   due, and never sent
NOT_DUE   the run ended before it was due
"""

from __future__ import annotations

OK, FAILED, UNKNOWN, DROPPED, NOT_DUE = range(5)
