"""What the sink does with a request that it has read whole: log it, then say what is answered."""

from __future__ import annotations

import itertools
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from harness.host.clock import Clock
from harness.system.sink.body import UnreadableError, ids_in
from harness.system.sink.log import ACCEPTED, POISON, REFUSED, REPEATED, AttemptLog
from harness.system.sink.messages import Counts, Modes

MAX_KEY = 256
ABOUT = (
    "This is the effects sink of ordershop-bench: a consumer under test posts the IDs of the events it has handled"
    " here, as a JSON array, or one a line.\n"
)


class Asked(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        method: as it came.
        path: with its query.
        body: whole.
        content_type, key: the headers Content-Type and Idempotency-Key; empty: there was none.
        keeps: whether the connection stays open afterwards.
        is_old: HTTP/1.0, in which that has to be said.
        error: what is wrong with it already: a status and a text. It ends the connection.
    """

    method: str
    path: str = "/"
    body: bytes = b""
    content_type: str = ""
    key: str = ""
    keeps: bool = True
    is_old: bool = False
    error: tuple[int, str] | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered.

    Attributes:
        status: of HTTP.
        text: the body, one line.
        headers: further lines, each with its end.
    """

    status: int
    text: str
    headers: str = ""


class Decisions:
    """Decides about requests, by the modes of the moment, and logs their attempts.

    Args:
        log: gets a line for each attempt, before its answer is known.
        clock: dates them.
    """

    def __init__(self, log: AttemptLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._poison: frozenset[str] = frozenset()
        self._attempts = self._rejected = 0
        self._last_rejection = ""
        self.modes = Modes()

    def set(self, modes: Modes) -> None:
        """Treat requests so from now on."""
        self.modes = modes
        self._poison = frozenset(modes.poison)

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(
            attempts=self._attempts,
            rejected=self._rejected,
            last_rejection=self._last_rejection,
            is_full=self._log.is_full,
        )

    def decide(self, asked: Asked) -> Answer:
        """Log a request's attempts, and say what it is answered."""
        if asked.error:
            return self._reject(*asked.error)
        if _place_of(asked.path) != "/":
            return self._reject(404, f"nothing is here: POST to / and not to {asked.path[:60]!a}")
        if asked.method in {"GET", "HEAD"}:
            return Answer(200, ABOUT)
        if asked.method != "POST":
            return self._reject(405, f"POST the IDs, not {asked.method}", "Allow: GET, HEAD, POST\r\n")
        try:
            ids = ids_in(asked.body, asked.content_type)
        except UnreadableError as error:
            return self._reject(400, str(error))
        if len(asked.key) > MAX_KEY:
            return self._reject(400, f"the Idempotency-Key is longer than {MAX_KEY} characters")
        return self._post(ids, asked.key)

    def _reject(self, status: int, why: str, headers: str = "") -> Answer:
        self._rejected += 1
        self._last_rejection = f"{status}: {why}"
        return Answer(status, why + "\n", headers)

    def _post(self, ids: list[str], key: str) -> Answer:
        if status := self.modes.refuse:
            return self._logged(
                [f"{REFUSED} {each}" for each in ids], Answer(status, "the sink is told to refuse\n")
            )
        if self._poison and (found := self._poison.intersection(ids)):
            # All of a request is accepted or nothing: what came with poison has no effect either.
            attempts = [f"{POISON if each in found else REFUSED} {each}" for each in ids]
            text = f"poison: {', '.join(sorted(found))}; nothing of this request was accepted\n"
            return self._logged(attempts, Answer(422, text))
        if not key:
            return self._logged([f"{ACCEPTED} {each}" for each in ids], Answer(200, f"accepted {len(ids)}\n"))
        return self._under_key(ids, key)

    def _under_key(self, ids: list[str], key: str) -> Answer:
        # A header is text of any kind, and the log has words.
        key = quote(key)
        are_new = self._log.known.add(key, ids)
        attempts = [
            f"{ACCEPTED} {each} {key}" if is_new else f"{REPEATED} {each}"
            for each, is_new in zip(ids, are_new, strict=True)
        ]
        count = sum(are_new)
        answer = self._logged(attempts, Answer(200, f"accepted {count}, repeated {len(ids) - count}\n"))
        if answer.status != 200:
            self._log.known.forget(key, itertools.compress(ids, are_new))
        return answer

    def _logged(self, attempts: list[str], answer: Answer) -> Answer:
        try:
            has_room = self._log.append(self._clock.wall_ns() // 1000, attempts)
        except OSError as error:
            return self._reject(507, f"the log cannot be written: {error}")
        if not has_room:
            return self._reject(507, "the log is full: nothing more is accepted in this run")
        self._attempts += len(attempts)
        return answer


def _place_of(path: str) -> str:
    """The path alone, also where the whole URL is given, as to a proxy."""
    place = path.partition("?")[0]
    return place if "://" not in place else "/" + place.partition("://")[2].partition("/")[2]


def phrase_of(status: int) -> str:
    """The words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
