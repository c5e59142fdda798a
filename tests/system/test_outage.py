"""Whether an outage took place, on histories by hand."""

from __future__ import annotations

from harness.system.outage import GRACE_NS, Outages

MS = 1_000_000


def looked(attempts: list[int], *, late_ms: int = 0, down_ms: tuple[int, int] = (100, 1_500)) -> Outages:
    """Looks each 50 ms, at a history of attempts, of which each entry is so many by the end of 100 ms."""
    now = [0]

    def so_far() -> int:
        return sum(attempts[: now[0] // (100 * MS)])

    outages = Outages(so_far, lambda: now[0], late_ns=late_ms * MS)
    for at_ms in range(0, 100 * len(attempts) + 50, 50):
        now[0] = at_ms * MS
        if at_ms == down_ms[1]:
            outages.end()
        outages.look(is_all_down=down_ms[0] <= at_ms < down_ms[1])
    return outages


def test_silence_is_an_outage() -> None:
    """Attempts before it, and after it, say nothing of it."""
    found = looked([5, 5, *[0] * 13, 5, 5])
    assert (found.count, found.attempts) == (1, 0)


def test_what_was_on_its_way_is_none_of_it() -> None:
    """It comes soon after, or all at once, when whatever held it lets it go."""
    assert looked([5, 5, 5, *[0] * 12]).attempts == 0
    assert looked([5, 0, 0, 0, 0, 0, 0, 40, 20, *[0] * 6]).attempts == 0
    assert looked([5, 0, 0, 0, 0, 3, 0, 0, 3, *[0] * 6], late_ms=700).attempts == 0


def test_who_goes_on_was_not_away() -> None:
    """Attempts at moments that are far from each other come from somebody who lives."""
    found = looked([5] * 17)
    assert found.count == 1
    assert found.attempts >= 5 * (1_400 - GRACE_NS // MS) // 100 - 10


def test_too_short_to_look() -> None:
    """Who is back before anybody could look is no outage that was seen."""
    found = looked([5] * 8, down_ms=(100, 300))
    assert (found.count, found.attempts) == (0, 0)
