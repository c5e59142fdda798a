"""The IDs in the body of a request; pure.

    ["a", "b"]                                      a JSON array of IDs
    [{"event_id": "a", ...}, {"event_id": "b"}]     or of objects, whose other members are not read
    {"event_id": "a", ...}      "a"                 one object, or one ID
    a                                               all else, and what is called text/plain: one ID a line
    b

A client that forgets the content type sends `application/x-www-form-urlencoded` (curl) or none at all. So what is
not called text/plain, and begins like JSON, is read as JSON.

An ID is written into a line of the log as it is. So it has no whitespace and nothing that cannot be printed.
"""

from __future__ import annotations

import msgspec

MAX_ID_BYTES = 256
_JSON_BEGINS_WITH = (b"[", b"{", b'"')
_SHOWN = 60


class UnreadableError(Exception):
    """A body that has no IDs, or one that is no ID; its text says which, in one line."""


class _Told(msgspec.Struct):
    event_id: str


_ids = msgspec.json.Decoder(list[str])
_objects = msgspec.json.Decoder(list[_Told])
_anything = msgspec.json.Decoder()


def ids_in(body: bytes, content_type: str = "") -> list[str]:
    """The IDs in a body, in their order.

    Args:
        content_type: the header of that name, in any case; empty: there was none.

    Raises:
        UnreadableError: there is none, or one that cannot stand in the log.
    """
    kind = content_type.partition(";")[0].strip().lower()
    begins = body.lstrip()[:1]
    if kind == "text/plain" or not (begins in _JSON_BEGINS_WITH or kind.endswith("json")):
        ids = _lines(body)
    else:
        ids = _json(body)
    if not _are_plain(ids):
        for number, each in enumerate(ids, 1):
            _check(each, number, len(ids))
    return ids


def _are_plain(ids: list[str]) -> bool:
    """Whether nothing is wrong with any of them, without a look at each: as it nearly always is."""
    together = "".join(ids)
    return (
        bool(ids and min(ids))  # the empty text is the least
        and together.isascii()
        and together.isprintable()
        and " " not in together
        and len(max(ids, key=len)) <= MAX_ID_BYTES
    )


def _lines(body: bytes) -> list[str]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"the body is neither JSON nor text in UTF-8: {error}") from error
    ids = [line.removesuffix("\r") for line in text.split("\n")]
    found = [each for each in ids if each]
    if not found:
        raise UnreadableError("the body has no ID")
    return found


def _json(body: bytes) -> list[str]:
    whole = body if body.lstrip()[:1] == b"[" else b"[" + body + b"]"
    try:
        return _decoded(whole)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableError(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableError("the body is JSON that is nested too deeply") from error


def _decoded(array: bytes) -> list[str]:
    # By far the most are lists of one kind, and are read by what is written in C.
    try:
        return _ids.decode(array)
    except msgspec.ValidationError:
        pass
    try:
        return [told.event_id for told in _objects.decode(array)]
    except msgspec.ValidationError:
        return [_id_of(each, number) for number, each in enumerate(_anything.decode(array), 1)]


def _id_of(told: object, number: int) -> str:
    if isinstance(told, dict):
        if "event_id" not in told:
            raise UnreadableError(f"object {number} has no member event_id")
        found = told["event_id"]
        if not isinstance(found, str):
            raise UnreadableError(f"object {number}: its event_id is {_kind(found)}, not a text")
        return found
    if not isinstance(told, str):
        raise UnreadableError(f"item {number} is {_kind(told)}, neither an ID, which is a text, nor an object")
    return told


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"the number {value}"[:_SHOWN]
    return "an array" if isinstance(value, list) else "an object"


def _check(event_id: str, number: int, count: int) -> None:
    where = f"ID {number} of {count}"
    if not event_id:
        raise UnreadableError(f"{where} is empty")
    if len(event_id) > MAX_ID_BYTES or (not event_id.isascii() and len(event_id.encode()) > MAX_ID_BYTES):
        raise UnreadableError(f"{where} is longer than {MAX_ID_BYTES} bytes: {_shown(event_id)}")
    if not event_id.isprintable() or " " in event_id:
        what = "whitespace" if any(map(str.isspace, event_id)) else "a character that cannot be printed"
        raise UnreadableError(f"{where} has {what} in it: {_shown(event_id)}")


def _shown(event_id: str) -> str:
    return ascii(event_id if len(event_id) <= _SHOWN else event_id[:_SHOWN] + "...")
