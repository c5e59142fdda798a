"""freeze: SIGSTOP, with which a process keeps its connections, silently. It is healed by SIGCONT.

What it has in hand others may claim; then it comes back as a zombie, which believes to have it still.
"""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="freeze",
    place=40,
    needs=("freeze", "thaw"),
    inject=lambda can, _: can["freeze"](),
    heal=lambda can: can["thaw"](),
    comes_back=True,
    in_hand="kept",
    is_drawn=True,
    headline="{target} was frozen",
    participle="frozen",
    open_words="is frozen",
    button="Freeze {target}",
    meaning="SIGSTOP: it keeps its connections, silently",
)
