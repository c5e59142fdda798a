"""The command lines of a check: that of each trial, which repeats it, and its own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from harness.consumer_check.result import Settings
from harness.consumer_check.trials import CLAIM_MS, Trial
from harness.server.url import without_secrets

# In the place of a command: the CRM of the shop of this repository, which needs none.
ORDERSHOP = "ordershop"
# By what a consumer is judged whose user says nothing, and by what that CRM is.
PROMISE, ORDERSHOP_PROMISE = "at_least_once", "effectively_once"


def words_of(settings: Settings, trial: Trial, side: int) -> list[str]:
    """What follows `shopbench` on the command line that plays a trial.

    Args:
        settings: of the check.
        trial: that is played.
        side: of which consumer.
    """
    consumer = settings.sides[side].consumer
    words = ["run", *trial.arguments()]
    if consumer != ORDERSHOP:
        words += ["--consumer", consumer, *_about_the_consumer(settings)]
    return [*words, *_about_the_server(settings)]


def check_words(settings: Settings, only: Sequence[str] = ()) -> list[str]:
    """What follows `shopbench` on the command line of a check.

    Args:
        settings: of the check.
        only: the names of its trials, where somebody has left some out.
    """
    first, *against = settings.sides
    words = ["consumer", "check", "--consumer", first.consumer]
    for other in against:
        words += ["--against", other.consumer]
    if first.consumer != ORDERSHOP:
        words += _about_the_consumer(settings)
    words += _about_the_server(settings)
    if settings.claim_ms != CLAIM_MS:
        words += ["--claim-ms", str(settings.claim_ms)]
    if only:
        words += ["--only", ",".join(only)]
    return [*words, "--repeat", str(settings.repeat)] if settings.repeat > 1 else words


def text_of(words: Sequence[str], *, hash_seed: int | None = None) -> str:
    """A command as it is typed, without passwords.

    Args:
        words: that follow `shopbench`.
        hash_seed: of Python, in front of it; None: none.
    """
    text = shlex.join(["shopbench", *(without_secrets(word) for word in words)])
    return text if hash_seed is None else f"PYTHONHASHSEED={hash_seed} {text}"


def _about_the_consumer(settings: Settings) -> list[str]:
    given = {
        "--promise": settings.promise,
        "--shape": settings.shape,
        "--probe": settings.probe,
        "--restart": settings.restart,
    }
    return [word for option, value in given.items() if value for word in (option, value)]


def _about_the_server(settings: Settings) -> list[str]:
    given = {"--server": settings.server, "--server-file": settings.server_file}
    return [word for option, value in given.items() if value for word in (option, value)]
