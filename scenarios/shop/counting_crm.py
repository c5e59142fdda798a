"""The CRM as a consumer that writes down which events it has handled, so that shares of a group can be told.

Streams and groups do not keep who has handled an event, only who has it in hand. So each consumer appends the
`event_id` of each mail that it has had sent to a file of its own, one a line, after the mail service has answered;
a consumer that is started again goes on in the same file. One that is killed between the answer and the line has
handled events that nobody names; `consumers` counts them as such.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ordershop.services.crm import MailClient, parser, run
from ordershop.services.mail import Mail


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
    options = parser().parse_args(arguments)
    mails = CountedMails(options.mail, handled_path(options.state, options.consumer))
    run(options, mails, f"crm {options.consumer}")


if __name__ == "__main__":
    main()
