"""What our keys in somebody else's database are called: all begin alike, and two of them say whose they are."""

from __future__ import annotations

NAMESPACE = "ordershop-bench:"
# That the other keys of this name are ours; and whose run they are of by now.
MARKER = NAMESPACE + "marker"
LOCK = NAMESPACE + "lock"
