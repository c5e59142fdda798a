"""Failures by kind: how many, when, and in whose words."""

from __future__ import annotations

from harness.measure.failures import OTHER, Failure, Failures, in_words, together


def failure(kind: str, count: int, text: str, first_s: float = 0.0, last_s: float = 0.0) -> Failure:
    return Failure(kind=kind, count=count, text=text, first_s=first_s, last_s=last_s)


def test_a_kind_is_the_first_word_and_the_first_example_is_kept() -> None:
    """Two of one kind and one of another: counts, moments, and the words of the first of each."""
    failures = Failures()
    failures.note("OOM command not allowed", 1.0)
    failures.note("NOPERM this user has no permissions", 2.0)
    failures.note("OOM again", 3.0)
    assert failures.all() == [
        failure("OOM", 2, "OOM command not allowed", 1.0, 3.0),
        failure("NOPERM", 1, "NOPERM this user has no permissions", 2.0, 2.0),
    ]


def test_more_kinds_than_there_can_be_are_counted_under_one() -> None:
    """A server that says another word each time fills no memory, and no failure is left out."""
    failures = Failures()
    for number in range(1_000):
        failures.note(f"E{number} no", 0.0)
    found = failures.all()
    assert len(found) == 51
    assert (found[-1].kind, sum(each.count for each in found)) == (OTHER, 1_000)


def test_those_of_several_pumps_are_added_up_by_kind() -> None:
    """The first example stands for all, from the first moment to the last."""
    found = together([failure("OOM", 2, "OOM late", 5.0, 6.0), failure("OOM", 3, "OOM early", 1.0, 2.0)])
    assert found == [failure("OOM", 5, "OOM early", 1.0, 6.0)]


def test_the_commonest_come_first_in_a_sentence() -> None:
    """Three kinds are told with an example, the rest as a number; a moment is one, a span is two."""
    said = in_words(
        [
            failure("A", 1, "A one", 0.5, 0.5),
            failure("B", 9, "B nine", 0.4, 4.0),
            failure("C", 2, "C two", 1.0, 2.0),
            failure("D", 1, "D one", 3.0, 3.0),
        ]
    )
    assert (
        said == "9 × B nine (from 0.4 to 4.0 s); 2 × C two (from 1.0 to 2.0 s); 1 × A one (at 0.5 s); 1 more kind"
    )


def test_without_a_failure_nothing_is_said() -> None:
    """No failure is no sentence."""
    assert in_words([]) == ""
