"""The CRM: listens to customers that come and go and to their orders, and has mails sent.

It may be stopped, killed and started while everything runs. The others feel nothing, and what was published
while it was away is handled when it is back: a mail for each event, each once.

The CRM knows no addresses: events of customers carry them; for an order it asks the entity cache. An order
whose customer is gone by now gets no mail to nobody: the mail goes to the shop itself, so that every event has
an effect and none is silently skipped.

A batch of deliveries becomes one question to the entity cache and one request for each `MAILS_A_REQUEST` mails to
the mail service, one after the other in the order of events, so that a backlog is worked off fast. Each mail
carries its event's `event_id`: a redelivered event sends no second mail. A request that is refused is halved until
the mail that is at fault stands alone; its event is tried some more times, then parked, and the rest goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import logging
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import redis

from ordershop.entities import Customer, Order, Topic
from ordershop.entity_cache import CacheError, entity_from_hash
from ordershop.event_store import EventStore, connect
from ordershop.events import Action, Keys
from ordershop.own_name import OwnNameError, own_name, own_number
from ordershop.services.mail import Mail
from ordershop.services.store_option import add_store_option
from ordershop.subscription import AwayError, Delivery, FromNowSubscriber, Settings, Stop, Subscription
from ordershop.supervisor import end_with_parent
from ordershop.wire import is_elsewhere, is_unable

log = logging.getLogger(__name__)

SOURCES: list[tuple[Topic, Action]] = [
    ("customer", "created"),
    ("customer", "deleted"),
    ("order", "created"),
]
MAILS_A_REQUEST = 500
SHOP_ADDRESS = "office@ordershop.example"


def mail_for(delivery: Delivery, customer: Customer | None) -> Mail:
    """The mail that answers an event.

    Args:
        customer: for an order, the one who ordered; None where that customer is gone.
    """
    entity = delivery.entity
    if isinstance(entity, Order):
        if customer is None:
            message = f"Order {entity.id} was placed by a customer who is gone."
            return Mail(SHOP_ADDRESS, message, delivery.event_id)
        message = f"Dear {customer.name}, thank you for order {entity.id}: {len(entity.product_ids)} pieces."
        return Mail(customer.email, message, delivery.event_id)
    if not isinstance(entity, Customer):
        raise TypeError(f"the CRM does not listen to {delivery.topic}")
    word = "Welcome" if delivery.action == "created" else "Good-bye"
    return Mail(entity.email, f"{word}, {entity.name}.", delivery.event_id)


class RefusedMailError(Exception):
    """The mail service will not take a request, however often it is repeated."""


class MailClient:
    """Sends mails to the mail service, over one connection that is kept.

    Args:
        url: of the mail service.
        timeout_s: how long it may take to answer.
    """

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)

    def send(self, mails: Sequence[Mail]) -> None:
        """Have mails sent in one request, all or none.

        Raises:
            AwayError: the mail service does not answer, or cannot do it now.
            RefusedMailError: it will not take them, now or later: one of them, or all of them in one request.
        """
        body = msgspec.json.encode(mails)
        try:
            self._connection.request("POST", "/email", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise AwayError(f"the mail service does not answer ({error})") from error
        if response.status != 200:
            answered = f"the mail service answered {response.status}: {content[:200]!r}"
            raise RefusedMailError(answered) if 400 <= response.status < 500 else AwayError(answered)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Crm:
    """What the CRM does with deliveries.

    Args:
        store: for the customers that orders name.
        mails: sends.
    """

    def __init__(self, store: EventStore, mails: MailClient) -> None:
        self._store = store
        self._mails = mails

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have a mail sent for each delivery, and answer those whose mail is refused."""
        customers = self._customers({d.entity.customer_id for d in deliveries if isinstance(d.entity, Order)})
        mails = [
            mail_for(d, customers.get(d.entity.customer_id) if isinstance(d.entity, Order) else None)
            for d in deliveries
        ]
        refused: list[Delivery] = []
        for first in range(0, len(mails), MAILS_A_REQUEST):
            last = min(first + MAILS_A_REQUEST, len(mails))
            refused += [deliveries[at] for at in self._send(mails, first, last)]
        return refused

    def _send(self, mails: Sequence[Mail], first: int, last: int) -> list[int]:
        """Send a stretch of mails; where it is refused, its halves: one bad mail does not stop the rest."""
        try:
            self._mails.send(mails[first:last])
        except RefusedMailError as error:
            if last - first == 1:
                log.warning("mail for event %s: %s", mails[first].event_id, error)
                return [first]
            middle = (first + last) // 2
            return self._send(mails, first, middle) + self._send(mails, middle, last)
        return []

    def _customers(self, ids: Collection[str]) -> dict[str, Customer]:
        """The customers of these ids that there are, asked for in one round trip."""
        if not ids:
            return {}
        try:
            with self._store.client.pipeline(transaction=False) as questions:
                for each in ids:
                    questions.hgetall(self._store.keys.entity("customer", each))
                hashes = questions.execute(raise_on_error=False)
        except redis.RedisError as error:
            raise AwayError(f"the entity cache does not answer ({error})") from error
        customers: dict[str, Customer] = {}
        for each, answer in zip(ids, hashes, strict=True):
            if isinstance(answer, redis.RedisError) and is_unable(answer):
                if is_elsewhere(answer):
                    self._store.client.connection_pool.disconnect()
                raise AwayError(f"the entity cache cannot serve now ({answer})") from answer
            try:
                found = _customer(answer)
            except CacheError as error:
                log.warning("customer %r: %s; its mail goes to the shop", each, error)
                continue
            if found is not None:
                customers[each] = found
        return customers


def _customer(answer: dict[bytes, bytes] | redis.RedisError) -> Customer | None:
    """The customer of an answer to HGETALL.

    Raises:
        CacheError: there is something else at that key.
    """
    if isinstance(answer, redis.RedisError):
        # What is there is no Hash, and will not be one however long it is waited for.
        raise CacheError(f"the cache holds a customer that is none: {answer}")
    found = entity_from_hash("customer", list(chain.from_iterable(answer.items())), [])
    return found if isinstance(found, Customer) else None


def listen(options: argparse.Namespace, mails: MailClient, stop: Stop) -> None:
    """Have mails sent for what happens in the shop, until told to stop.

    Args:
        options: of `parser`.
        mails: sends them.

    Raises:
        OwnNameError: no name was given, and none can be found.
        redis.RedisError: the server refuses a command, and not only for now.
    """
    keys, state, name = Keys(options.namespace), options.state, options.consumer
    effect = Crm(EventStore(connect(options.server), options.namespace), mails)
    if options.policy == "from_now":
        FromNowSubscriber(options.server, keys, SOURCES).run(effect, stop)
        return
    with contextlib.ExitStack() as stack:
        position = name
        if not name:
            number = stack.enter_context(own_number(state, "crm"))
            # A container that is made anew has another name, and finds the position of the one before it.
            name, position = own_name(number), str(number)
        Subscription(
            options.server,
            keys,
            SOURCES,
            group="crm",
            consumer=name,
            settings=Settings(policy=options.policy, page=options.page, claim_after_ms=options.claim_after_ms),
            checkpoint=state / f"crm-{position}.json" if state else None,
        ).run(effect, stop)


def parser() -> argparse.ArgumentParser:
    """The service's command line."""
    found = argparse.ArgumentParser(prog="ordershop.services.crm")
    add_store_option(found)
    found.add_argument("--namespace", default="")
    found.add_argument("--mail", required=True)
    found.add_argument("--state", type=Path)
    found.add_argument("--consumer", default="", help="a name that no other process has; else one is found")
    found.add_argument("--policy", choices=["at_least_once", "at_most_once", "from_now"], default="at_least_once")
    found.add_argument("--page", type=int, default=500)
    found.add_argument("--claim-after-ms", type=int, default=30_000)
    found.add_argument("--supervised", action="store_true", help="end when standard input does")
    return found


def run(options: argparse.Namespace, mails: MailClient, name: str) -> None:
    """Run the service until SIGTERM or SIGINT.

    Args:
        options: of `parser`.
        mails: sends mails.
        name: that begins each line of the log.
    """
    if options.supervised:
        end_with_parent()
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        listen(options, mails, stop)
    except OwnNameError as error:
        sys.exit(f"{name}: {error}")
    except redis.RedisError as error:
        # What passes was waited for; this does not.
        sys.exit(f"{name}: the event store refused a command: {error}")


def main(arguments: list[str] | None = None) -> None:
    """Run the service by its command line."""
    options = parser().parse_args(arguments)
    run(options, MailClient(options.mail), "crm")


if __name__ == "__main__":
    main()
