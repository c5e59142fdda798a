"""The CRM as a consumer that writes down which events it has handled, so that shares of a group can be told.

Streams and groups do not keep who has handled an event, only who has it in hand. So each consumer appends the
`event_id` of each mail that it has had sent to a file of its own, one a line, after the mail service has answered;
a consumer that is started again goes on in the same file. One that is killed between the answer and the line has
handled events that nobody names; `consumers` counts them as such.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from ordershop.event_store import EventStore, connect
from ordershop.events import Keys
from ordershop.services.crm import SOURCES, Crm, MailClient
from ordershop.services.mail import Mail
from ordershop.services.store_option import add_store_option
from ordershop.subscription import FromNowSubscriber, Subscription
from ordershop.supervisor import end_with_parent


def handled_path(state: Path, consumer: str) -> Path:
    """The file in which a consumer names what it has handled."""
    return state / f"handled-{consumer}.txt"


class CountedMails(MailClient):
    """Has mails sent, and writes down which.

    Args:
        url: of the mail service.
        path: of the file.
    """

    def __init__(self, url: str, path: Path) -> None:
        super().__init__(url)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def send(self, mails: Sequence[Mail]) -> None:
        """Have mails sent in one request, and write down their events; raises as `MailClient` does."""
        super().send(mails)
        os.write(self._file, "".join(f"{mail.event_id}\n" for mail in mails).encode())

    def close(self) -> None:
        """Close the connection and the file."""
        super().close()
        os.close(self._file)


def main(arguments: list[str] | None = None) -> None:
    """Run a consumer until SIGTERM or SIGINT; it takes what `ordershop.services.crm` takes."""
    parser = argparse.ArgumentParser(prog="scenarios.shop.counting_crm")
    add_store_option(parser)
    for name in ("--mail", "--state", "--consumer"):
        parser.add_argument(name, required=True)
    parser.add_argument("--namespace", default="")
    parser.add_argument("--policy", choices=["at_least_once", "at_most_once", "from_now"], default="at_least_once")
    parser.add_argument("--page", type=int, default=500)
    parser.add_argument("--claim-after-ms", type=int, default=30_000)
    parser.add_argument("--supervised", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    if options.supervised:
        end_with_parent()
    logging.basicConfig(level=logging.INFO, format=f"crm {options.consumer}: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    state, keys = Path(options.state), Keys(options.namespace)
    mails = CountedMails(options.mail, handled_path(state, options.consumer))
    effect = Crm(EventStore(connect(options.server), options.namespace), mails)
    if options.policy == "from_now":
        FromNowSubscriber(options.server, keys, SOURCES).run(effect, stop)
        return
    Subscription(
        options.server,
        keys,
        SOURCES,
        group="crm",
        consumer=options.consumer,
        policy=options.policy,
        checkpoint=state / f"crm-{options.consumer}.json",
        page=options.page,
        claim_after_ms=options.claim_after_ms,
    ).run(effect, stop)


if __name__ == "__main__":
    main()
