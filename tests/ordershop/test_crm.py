"""The CRM's effect on a real mail service: each delivery its mail, and one that is refused alone."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.server.own import OwnServer
from ordershop.entities import Customer, Entity, Order
from ordershop.event_store import EventStore
from ordershop.events import Event, EventId
from ordershop.services.crm import SHOP_ADDRESS, Crm, MailClient
from ordershop.subscription import AwayError, Delivery
from ordershop.supervisor import Service, Supervisor, free_port
from tests.hostile_server import HostileServer, Plan
from tests.stores import new_namespace, store_on


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a mail service."""
    port = free_port()
    with Supervisor(log=tmp_path / "log") as supervisor:
        arguments = ("--port", str(port), "--outbox", str(tmp_path / "mails.jsonl"))
        supervisor.start(Service("mail", "ordershop.services.mail", arguments, port))
        yield port


@pytest.fixture
def crm(port: int, store: EventStore) -> Iterator[Crm]:
    """A CRM that sends to that mail service."""
    with contextlib.closing(MailClient(f"http://127.0.0.1:{port}")) as mails:
        yield Crm(store, mails)


def delivery(number: int, entity: Entity) -> Delivery:
    """The delivery of an event that something was created."""
    topic = "order" if isinstance(entity, Order) else "customer"
    return Delivery(EventId(1, number), topic, "created", entity, f"event-{number}", "stream", b"1-%d" % number)


def customer(number: int, *, name: str = "Ada", email: str = "ada@example.org") -> Customer:
    """A customer; nothing checks the fields of one that is made here."""
    return Customer(f"c-{number}", name, email)


def asked(port: int, path: str) -> bytes:
    """What the mail service answers to a GET."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        content: bytes = response.read()
    return content


def accepted(port: int) -> int:
    """How many mails the service has accepted."""
    count: int = json.loads(asked(port, "/health"))["accepted"]
    return count


def test_a_mail_for_each(crm: Crm, port: int) -> None:
    """Each delivery has its mail, however many requests that takes, and a repeated delivery no second one."""
    deliveries = [delivery(number, customer(number)) for number in range(1_203)]
    assert (list(crm(deliveries)), list(crm(deliveries[:10]))) == ([], [])
    assert accepted(port) == 1_203


def test_mails_that_are_too_large_together(crm: Crm, port: int) -> None:
    """A request over the service's limit is halved until it fits: none of its mails is refused."""
    assert crm([delivery(number, customer(number, name="\N{SNOWMAN}" * 1_000)) for number in range(500)]) == []
    assert accepted(port) == 500


def test_a_refused_mail_stands_alone(crm: Crm, port: int) -> None:
    """Of many mails the one that is refused fails; all others are sent."""
    bad = delivery(37, customer(37, email="a@" + "b" * 400))
    others = [delivery(number, customer(number)) for number in range(100) if number != 37]
    assert crm([*others[:37], bad, *others[37:]]) == [bad]
    assert accepted(port) == 99


def test_an_order_goes_to_its_customer(crm: Crm, port: int, store: EventStore) -> None:
    """The mail for an order goes to who ordered; to the shop itself where he is gone, or is no customer."""
    store.append(Event.new("created", customer(1, email="grace@example.org")))
    store.client.hset(store.keys.entity("customer", "c-2"), mapping={"nonsense": "x"})
    assert crm([delivery(number, Order(f"o-{number}", ["p"], f"c-{number}")) for number in (1, 2, 3)]) == []
    mails = asked(port, "/emails").splitlines()
    assert [b"grace@example.org" in mails[0], *(SHOP_ADDRESS.encode() in mail for mail in mails[1:])] == [True] * 3


def test_a_damaged_customer_stops_nobody(
    crm: Crm, port: int, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is no Hash at a customer's key, his mail goes to the shop, those of others to them."""
    store.append(Event.new("created", customer(1, email="grace@example.org")))
    store.client.set(store.keys.entity("customer", "c-2"), "no Hash")
    assert crm([delivery(number, Order(f"o-{number}", ["p"], f"c-{number}")) for number in (2, 1)]) == []
    mails = asked(port, "/emails").splitlines()
    assert [SHOP_ADDRESS.encode() in mails[0], b"grace@example.org" in mails[1]] == [True, True]
    assert "customer 'c-2'" in caplog.text


def test_a_cache_that_cannot_serve_is_waited_for(own_server: OwnServer) -> None:
    """Where the server answers, but may not say who the customer is, no delivery is at fault."""
    with store_on(own_server) as store:
        store.client.execute_command("ACL", "SETUSER", "default", "-hgetall")
        crm = Crm(store, MailClient("http://127.0.0.1:1"))
        with pytest.raises(AwayError, match="the entity cache cannot serve now"):
            crm([delivery(1, Order("o-1", ["p"], "c-1"))])


def test_a_service_that_is_away_is_waited_for(store: EventStore) -> None:
    """Where nobody listens, no delivery is at fault."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    crm = Crm(store, MailClient(f"http://127.0.0.1:{port}"))
    with pytest.raises(AwayError):
        crm([delivery(1, customer(1))])


@pytest.mark.parametrize("policy", ["at_least_once", "from_now"])
def test_a_refusal_that_does_not_pass_is_one_line(server: OwnServer, port: int, policy: str) -> None:
    """What no waiting helps against ends the service, and its log says why in a line, without a traceback."""
    refusal = b"WRONGTYPE Operation against a key holding the wrong kind of value"
    asked = frozenset((b"XREADGROUP", b"XREAD"))
    with HostileServer(server.port, Plan(0, ("error",), 1.0, commands=asked, errors=(refusal,))) as hostile:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "ordershop.services.crm", "--server", hostile.url),
                *("--mail", f"http://127.0.0.1:{port}", "--namespace", new_namespace(), "--policy", policy),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == f"crm: the event store refused a command: {refusal.decode()}"
