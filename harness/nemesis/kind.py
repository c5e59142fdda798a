"""A kind of fault: what is done to a target, how it heals, what the target must be able to do, and its words.

A target says what it can, by names, and each is something to call:

    {"kill": consumer.kill, "start": consumer.start, ...}          a process
    {"cut": proxy.cut, "pass_through": proxy.pass_through, ...}    a line

A kind asks for what it needs. So neither knows the other: a target that can be killed and started has the fault
`kill`, whatever it is, and a kind that another package adds finds its targets by itself:

    fault = FaultKind(
        name="kill",
        needs=("kill", "start"),
        inject=lambda can, _: can["kill"](),
        heal=lambda can: can["start"](),
        comes_back=True,
        headline="{target} was killed and away",
        participle="killed",
    )

Rejected: targets that bring their own injections. Whether a target has a fault, how it is called and what it means
for a scenario then stood in as many lists as there are targets and scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import msgspec

Option = str | float | None
# What a target can, by name.
Abilities = Mapping[str, Callable[..., object]]


class NoOptions(msgspec.Struct, frozen=True):
    """Of a fault that is done in one way only."""


class FaultKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault.

    Args:
        name: that it is chosen by.
        needs: what its target must be able to do.
        inject: does it to what has these abilities, with all of its options by name. Numbers that it answers by
            name are kept beside the fault's window: what was seen as it was done.
        heal: undoes it; may be called after an injection that has failed half-way, and more than once. It may
            answer numbers, too.
        options: how it can be done, as a struct with bounds and defaults; a name ends in its unit.
        preset: options that it always has.
        ms_option: the option that a scenario's one number of milliseconds sets; empty: none.
        variant_of: the fault as which it is done and stands on the timeline, where it is another one under other
            circumstances; empty: itself.
        place: where it stands among the others in lists; what has none comes after those that have.
        comes_back: whether healing means that its target comes back; then the timeline gets a mark.
        is_healed: whether there is anything to heal, so that it lasts for a time that can be told.
        ends_by_itself: whether `inject` must be told, as `for_ns`, for how long, and `heal` waits for its end.
        in_hand: what its target has in hand is `hit` by it, so there has to be something; or `kept` by it, so
            others should claim it; or `finished` before.
        loses_data: whether its target comes back without its data.
        load: what the load does: `goes_on`; `ends` as the fault begins, and nothing comes any more; `by_stream`:
            while the fault lasts only the first stream gets events, and afterwards only the others; or `is_over`,
            and everything has drained, before the fault is done.
        is_drawn: whether it comes up among faults at random; what a seed draws depends on all that do.
        headline: what happened to a `{target}`, before "for 3 s"; `{ms:g}` is `ms_option`'s value.
        participle: what a target was, such as "killed".
        open_words: what a target is while the fault is open, such as "was killed"; empty: its name.
        button: the words of a button for it; empty: there is none.
        meaning: of that button, in a few words.
    """

    name: str
    needs: tuple[str, ...]
    inject: Callable[[Abilities, dict[str, Any]], object]
    heal: Callable[[Abilities], object]
    headline: str
    participle: str
    options: type[msgspec.Struct] = NoOptions
    preset: Mapping[str, Option] = {}
    ms_option: str = ""
    variant_of: str = ""
    place: float = float("inf")
    comes_back: bool = False
    is_healed: bool = True
    ends_by_itself: bool = False
    in_hand: Literal["", "hit", "kept", "finished"] = ""
    loses_data: bool = False
    load: Literal["goes_on", "ends", "by_stream", "is_over"] = "goes_on"
    is_drawn: bool = False
    open_words: str = ""
    button: str = ""
    meaning: str = ""

    @property
    def done_as(self) -> str:
        """The fault as which it is done, and stands in a plan and on the timeline."""
        return self.variant_of or self.name

    def is_possible(self, can: Collection[str]) -> bool:
        """Whether what can do this can suffer it."""
        return all(need in can for need in self.needs)

    def arguments(self, options: Mapping[str, Option]) -> dict[str, Any]:
        """All of its options by name: as given, else as they are by default.

        Raises:
            ValueError: an option that there is not, or a value that it cannot have.
        """
        known = msgspec.structs.fields(self.options)
        for name in options:
            if name not in {field.encode_name for field in known}:
                raise ValueError(f"got an unexpected keyword argument {name!r}")
        # Where all numbers are told as floats, a whole one is meant where a whole one is wanted.
        given = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in options.items()}
        try:
            chosen = msgspec.convert(given, self.options)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error
        return {field.name: getattr(chosen, field.name) for field in known}

    def given_ms(self, ms: float) -> dict[str, Option]:
        """Its options where a scenario has one number of milliseconds for all faults."""
        return {**self.preset, **({self.ms_option: ms} if self.ms_option else {})}
