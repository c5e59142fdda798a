"""What the broken consumers in Python have in common: a loop that is done well, each part a method of its own.

A broken one is a subclass with a method or two replaced; `healthy.py` replaces none. A page of effects goes out in
several requests, so that a kill hits in between: what has been sent is done, also if the sender is dead by then.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

STREAMS = os.environ["SHOPBENCH_STREAMS"].split()
GROUP, CONSUMER = os.environ["SHOPBENCH_GROUP"], os.environ["SHOPBENCH_CONSUMER"]
CLAIM_MS, PAGE = int(os.environ["SHOPBENCH_CLAIM_MS"]), int(os.environ["SHOPBENCH_PAGE"])
REQUESTS_A_PAGE, TIMEOUT_S, BLOCK_MS, LONGEST_PAUSE_S = 4, 5, 200, 1.0

# What an entry is here: its ID, and its fields.
Entry = tuple[str, dict[str, str]]
ERRORS = (redis.RedisError, OSError, http.client.HTTPException)


class RefusedError(OSError):
    """The sink answers with anything but 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the sink answers {status}")
        self.status = status


class Consumer:
    """A consumer that loses nothing, in parts that others replace."""

    begins_at = "0"

    def __init__(self) -> None:
        self.stopping = False
        self.client: Any = redis.Redis.from_url(
            os.environ["SHOPBENCH_REDIS_URL"],
            protocol=2,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        sink = urlsplit(os.environ["SHOPBENCH_EFFECTS"])
        self._path = sink.path or "/"
        self._sink = http.client.HTTPConnection(sink.netloc, timeout=TIMEOUT_S)

    def run(self) -> None:
        """Consume until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        pause_s = 0.05
        while not self.stopping:
            try:
                self.make_groups()
                for stream, entries in self.pages():
                    if entries:
                        self.handle(stream, entries)
                    pause_s = 0.05
            except ERRORS as error:
                logging.warning("again in %g s: %s", pause_s, error)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                self.after(error)
        self.end()

    def stop(self) -> None:
        """On SIGTERM: end when what is in hand is done."""
        self.stopping = True

    def end(self) -> None:
        """What comes last, after SIGTERM."""

    def after(self, error: Exception) -> None:
        """What comes after an error, before all begins anew."""

    def make_groups(self) -> None:
        """Have a group on each stream."""
        for stream in STREAMS:
            try:
                self.client.xgroup_create(stream, GROUP, id=self.begins_at, mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def pages(self) -> Iterator[tuple[str, list[Entry]]]:
        """What is to be done: own pending entries, then what others left and what is new."""
        yield from self.own()
        claim_at = 0.0
        while not self.stopping:
            if time.monotonic() >= claim_at:
                yield from self.left()
                claim_at = time.monotonic() + CLAIM_MS / 2000
            yield from self.new()

    def own(self) -> Iterator[tuple[str, list[Entry]]]:
        """What it had in hand when it ended."""
        for stream in STREAMS:
            while not self.stopping and (entries := self.read({stream: "0"})[0][1]):
                yield stream, entries

    def left(self) -> Iterator[tuple[str, list[Entry]]]:
        """What others had in hand and did not come back for."""
        for stream in STREAMS:
            cursor = ""
            while cursor != "0-0" and not self.stopping:
                cursor, entries, *_ = self.client.xautoclaim(
                    stream, GROUP, CONSUMER, CLAIM_MS, cursor or "0-0", PAGE
                )
                yield stream, entries

    def new(self) -> Iterator[tuple[str, list[Entry]]]:
        """What nobody had so far."""
        yield from self.read(dict.fromkeys(STREAMS, ">"))

    def read(self, streams: dict[str, str]) -> list[Any]:
        """Read a page of each of some streams."""
        return self.client.xreadgroup(GROUP, CONSUMER, streams, PAGE, BLOCK_MS) or []

    def handle(self, stream: str, entries: list[Entry]) -> None:
        """Have the effects of a page, and then acknowledge it."""
        self.have_effects(stream, entries)
        self.acknowledge(stream, entries)

    def have_effects(self, stream: str, entries: list[Entry]) -> None:
        """Have the effects of a page, in several requests; park what is refused for good."""
        size = math.ceil(len(entries) / REQUESTS_A_PAGE) or 1
        for first in range(0, len(entries), size):
            self.send(stream, entries[first : first + size])

    def send(self, stream: str, entries: list[Entry]) -> None:
        """Have the effects of some entries by one request; one by one where one of them is refused for good."""
        try:
            self.post([fields["event_id"] for _, fields in entries])
        except RefusedError as error:
            if error.status != 422:
                raise
            if len(entries) > 1:
                for entry in entries:
                    self.send(stream, [entry])
            else:
                self.park(stream, entries[0])

    def park(self, stream: str, entry: Entry) -> None:
        """Leave aside what is refused for good."""
        self.client.xadd(f"{stream}:parked", entry[1])

    def post(self, ids: list[str]) -> None:
        """One request.

        Raises:
            RefusedError: the sink does not accept it.
        """
        try:
            self._sink.request("POST", self._path, json.dumps(ids), {"Content-Type": "application/json"})
            answer = self._sink.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._sink.close()
            raise
        if answer.status != 200:
            raise RefusedError(answer.status)

    def acknowledge(self, stream: str, entries: list[Entry]) -> None:
        """Say that entries are done."""
        self.client.xack(stream, GROUP, *(entry_id for entry_id, _ in entries))
