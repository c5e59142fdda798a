"""The mail service: each mail once, whatever is repeated, and however often it is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.clock import SystemClock
from ordershop.services.mail import Mail, Outbox
from ordershop.supervisor import Service, Supervisor, free_port
from tests.full_disk import room_for
from tests.shop import Client

ADA = {"to": "ada@example.org", "msg": "Welcome."}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """An outbox in a file."""
    with contextlib.closing(Outbox(tmp_path / "mails.jsonl")) as one:
        yield one


def test_a_key_is_sent_once(outbox: Outbox) -> None:
    """Of mails with one event_id the first is sent, in one request or several; mails without are all sent."""
    assert outbox.send([Mail("a", "1", "x"), Mail("a", "2", "x"), Mail("a", "3")]) == 2
    assert outbox.send([Mail("a", "4", "x"), Mail("a", "5")]) == 1
    assert outbox.after(1) == [b'{"to":"a","msg":"3"}', b'{"to":"a","msg":"5"}']


def test_an_outbox_knows_what_it_has_sent(tmp_path: Path) -> None:
    """Opened again, it repeats nothing; the torn end of a write that was killed is no mail."""
    path = tmp_path / "mails.jsonl"
    with contextlib.closing(Outbox(path)) as first:
        first.send([Mail("a", "1", "x")])
    with path.open("ab") as file:
        file.write(b'{"to":"a","msg":"2","event_')
    with contextlib.closing(Outbox(path)) as second:
        assert second.send([Mail("a", "1", "x"), Mail("a", "2", "y")]) == 1
        assert len(second) == 2
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("room", [0, 1, 30, 60])
def test_what_there_is_no_room_for_is_not_sent(tmp_path: Path, room: int) -> None:
    """An outbox that cannot take all of a request is as it was, and takes the request when there is room."""
    path = tmp_path / "mails.jsonl"
    with contextlib.closing(Outbox(path)) as first:
        first.send([Mail("a", "1", "x")])
        before = path.read_bytes()
        two = [Mail("a", "2" * 20, "y"), Mail("a", "3" * 20, "z")]
        with room_for(len(before) + room), pytest.raises(OSError, match=r"bytes were written|large"):
            first.send(two)
        assert (path.read_bytes(), len(first)) == (before, 1)
        assert first.send(two) == 2
    with contextlib.closing(Outbox(path)) as second:
        assert (len(second), second.send(two)) == (3, 0)


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    """The whole lines of an outbox are never written again: they cannot be lost when that is interrupted."""
    path = tmp_path / "mails.jsonl"
    path.write_bytes(b'{"to":"a","msg":"1"}\n{"to"')
    with room_for(0), contextlib.closing(Outbox(path)) as outbox:
        assert len(outbox) == 1
    assert path.read_bytes() == b'{"to":"a","msg":"1"}\n'


def test_a_full_disk(tmp_path: Path) -> None:
    """What the service has no room for it refuses with 503, whole; when there is room it is sent, once."""
    port = free_port()
    arguments = ("--port", str(port), "--outbox", str(tmp_path / "mails.jsonl"))
    with Supervisor(tmp_path / "log") as supervisor, contextlib.closing(Client(port)) as client:
        pid = supervisor.start(Service("mail", "ordershop.services.mail", arguments, port))
        both = [ADA | {"event_id": "x"}, {"to": "a", "msg": "x" * 90_000, "event_id": "y"}]
        with room_for(50_000, pid):
            refused = client.post("/email", both)
            assert (refused.status, refused.error.startswith("the outbox cannot be written")) == (503, True)
            assert client.post("/email", both[0]).ok() == {"accepted": 1, "repeated": 0}
        assert client.post("/email", both).ok() == {"accepted": 2, "repeated": 1}
        supervisor.kill("mail")
        supervisor.start_again("mail")
        client.close()
        assert client.post("/email", both).ok() == {"accepted": 2, "repeated": 2}


def test_without_idempotency_every_mail_is_sent() -> None:
    """A report that counts repeats sees them all."""
    outbox = Outbox(None, idempotent=False)
    assert outbox.send([Mail("a", "1", "x")] * 3) == 3


def test_the_service(tmp_path: Path) -> None:
    """It takes one mail or a list, says what was repeated, hands out what it sent, and refuses what is none."""
    port = free_port()
    arguments = ("--port", str(port), "--outbox", str(tmp_path / "mails.jsonl"))
    with (
        Supervisor(tmp_path / "log") as supervisor,
        contextlib.closing(Client(port)) as client,
    ):
        supervisor.start(Service("mail", "ordershop.services.mail", arguments, port))
        assert client.post("/email", ADA | {"event_id": "x"}).ok() == {"accepted": 1, "repeated": 0}
        supervisor.kill("mail")
        supervisor.start_again("mail")
        client.close()
        both = [ADA | {"event_id": "x"}, ADA | {"event_id": "y"}]
        assert client.post("/email", both).ok() == {"accepted": 2, "repeated": 1}
        assert client.get("/health").ok() == {"status": "ok", "accepted": 2}
        assert client.get("/emails?after=1").ok() == ADA | {"event_id": "y"}
        for path, body in [("/email", b"{}"), ("/email", b"nonsense"), ("/email", b'{"to": "", "msg": ""}')]:
            assert client.send("POST", path, body).status == 400
        assert client.get("/emails?after=-1").status == 400
        assert client.get("/email").status == 405


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Client]:
    """A mail service as a process, which refuses one address."""
    port = free_port()
    arguments = ("--port", str(port), "--refuse", "poison@example.org")
    with Supervisor(log=tmp_path / "services.log") as supervisor:
        supervisor.start(Service("mail", "ordershop.services.mail", arguments, port))
        with contextlib.closing(Client(port)) as client:
            yield client


def test_a_refused_address_fails_its_request(service: Client) -> None:
    """A request with a mail to that address is refused as a whole, each time; others are not."""
    poison = {**ADA, "to": "poison@example.org"}
    for body in (poison, [ADA, poison]):
        reply = service.post("/email", body)
        assert (reply.status, reply.error) == (422, "to: poison@example.org gets no mail")
    assert service.post("/email", ADA).ok() == {"accepted": 1, "repeated": 0}
    assert service.get("/health").ok()["accepted"] == 1


def test_the_delay_can_be_changed(service: Client) -> None:
    """`PUT /delay` is obeyed from the next request on, and refuses what is no time."""
    assert service.put("/delay", {"ms": 300}).ok() == {"ms": 300}
    clock = SystemClock()
    before_ns = clock.now_ns()
    service.post("/email", ADA).ok()
    assert clock.now_ns() - before_ns >= 300_000_000
    assert service.put("/delay", {"ms": 0}).ok() == {"ms": 0}
    for nonsense in ({"ms": -1}, [{"ms": 1}]):
        assert service.put("/delay", nonsense).status == 400
