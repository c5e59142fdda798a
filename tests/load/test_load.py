"""What `append` sends: each choice of a load does on a real server what it says, and a run can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hiredis
import msgspec
import pytest

from harness.account.event_ids import event_id
from harness.conduct.conduct import conduct
from harness.conduct.scenario import ParameterError, Stage, parameters_of
from harness.host.clock import SystemClock
from harness.load.workload import StampedCommand, entity_id
from harness.record.run import Record
from harness.server.own import OwnServer
from ordershop.event_store import EventStore
from ordershop.events import entity_json
from scenarios import append
from scenarios.load import Load
from tests.lines import ASLEEP

PRODUCER = 77


def sent(load: Load, server: OwnServer, count: int, seed: int = 1) -> list[list[bytes]]:
    """The first commands of a load."""
    reader = hiredis.Reader()
    reader.feed(load.source(server, "append", PRODUCER, seed).pack(0, count))
    return [reader.gets() for _ in range(count)]


def carry_out(load: Load, server: OwnServer, count: int) -> list[Any]:
    """Create the entities, send the first commands of a load, and answer the replies."""
    load.create_entities(server, PRODUCER)
    client = server.client()
    replies = [client.execute_command(*command) for command in sent(load, server, count)]
    client.close()
    return replies


def test_new_customers(own_server: OwnServer) -> None:
    """By default each event creates a customer, who is named like the event."""
    carry_out(Load(), own_server, 10)
    store = EventStore(own_server.client())
    assert sorted(store.replay("customer")) == [event_id(PRODUCER, n) for n in range(10)]


def test_simple_load_is_stamped(own_server: OwnServer) -> None:
    """Where nothing but the ID differs, commands are stamped, which is the fastest."""
    assert isinstance(Load(payload_bytes=200).source(own_server, "append", PRODUCER, 1), StampedCommand)


def test_updates_of_known_entities(own_server: OwnServer) -> None:
    """With entities, they are created first, and then each event updates one of them."""
    carry_out(Load(entities=5, skew=1), own_server, 100)
    store = EventStore(own_server.client())
    created = [stored.entity.id for stored in store.read("customer", "created")]
    updated = {stored.entity.id for stored in store.read("customer", "updated")}
    assert created == [entity_id(PRODUCER, n) for n in range(5)]
    assert updated == set(created)
    assert store.replay("customer") == {entity.id: entity for entity in store.find_all("customer")}


def test_hot_entities(own_server: OwnServer) -> None:
    """With a skew, the first entity is updated more often than the second, and far more than the last."""
    carry_out(Load(entities=20, skew=1.5), own_server, 500)
    updates = own_server.client().hgetall("{customer}_updates")
    counts = [int(updates.get(entity_id(PRODUCER, n).encode(), 0)) for n in (0, 1, 19)]
    assert counts[0] > 1.5 * counts[1] > 2 * counts[2]


def test_two_streams_of_the_store(own_server: OwnServer) -> None:
    """With two streams, every other entity is a product, and both replay to what the cache holds."""
    carry_out(Load(entities=10, streams=2, payload="uniform", payload_bytes=300), own_server, 200)
    store = EventStore(own_server.client())
    assert [len(store.replay(topic)) for topic in ("customer", "product")] == [5, 5]
    for topic in ("customer", "product"):
        assert store.replay(topic) == {entity.id: entity for entity in store.find_all(topic)}  # type: ignore[arg-type]


def test_bare_xadd(own_server: OwnServer) -> None:
    """The path `xadd` spreads bare entries over its streams."""
    carry_out(Load(path="xadd", streams=4), own_server, 100)
    client = own_server.client()
    assert [client.xlen(f"xadd:{n}") for n in range(4)] == [25] * 4


@pytest.mark.parametrize("path", ["store", "xadd"])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("size", [82, 150, 1_000])
def test_payload_is_of_its_size(own_server: OwnServer, path: Any, streams: int, size: int) -> None:
    """The JSON of an entity has as many bytes as were asked for, in every stream."""
    load = Load(path=path, streams=streams, payload_bytes=size)
    bodies = [next(part for part in command if part.startswith(b"{")) for command in sent(load, own_server, 4)]
    assert [len(body) for body in bodies] == [size] * 4


def test_payload_stays_valid(own_server: OwnServer) -> None:
    """The largest payload that the store's path allows is an entity that the shop takes."""
    carry_out(Load(payload_bytes=1_081), own_server, 1)
    [customer] = EventStore(own_server.client()).replay("customer").values()
    assert len(entity_json(customer)) == 1_081


def test_lognormal_payloads_vary(own_server: OwnServer) -> None:
    """Sizes of a distribution lie around their middle."""
    load = Load(path="xadd", payload="lognormal", payload_bytes=1_000, payload_spread=0.5)
    sizes = sorted(len(command[6]) for command in sent(load, own_server, 1_000))
    assert 800 < sizes[500] < 1_250
    assert 250 < sizes[0] < 400
    assert 2_500 < sizes[-1] < 3_500


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"skew": "1"}, "wants `entities`"),
        ({"streams": "3"}, "has 1 or 2 streams"),
        ({"payload": "uniform"}, "wants `payload_bytes`"),
        ({"payload_bytes": "20"}, "can have 82 to 1081"),
        ({"payload_bytes": "1082"}, "can have 82 to 1081"),
        ({"payload": "lognormal", "payload_bytes": "600"}, "can have 82 to 1081"),
        ({"payload": "uniform", "payload_bytes": "300", "payload_spread": "2"}, "up to 1"),
        ({"payload": "gamma"}, "gamma"),
        ({"arrivals": "random"}, "random"),
        ({"entities": "-1"}, "entities"),
        ({"producer": str(1 << 48)}, "producer"),
    ],
)
def test_choices_that_cannot_be(given: dict[str, str], words: str) -> None:
    """What cannot be had is refused before the run, in one line."""
    with pytest.raises(ParameterError, match=words) as refused:
        parameters_of(append.scenario, "smoke", given)
    assert "\n" not in str(refused.value)


def run_append(directory: Path, **given: str) -> Record:
    """A second of appends."""
    chosen = {"duration_s": "1", "rate_per_s": "200", "durability": "none", **given}
    stage = Stage(
        server="embedded", port=None, profile="smoke", seed=5, directory=directory, clock=SystemClock(),
        progress=lambda *_: None, driver=ASLEEP, spin_share=0.0,
    )  # fmt: skip
    directory.mkdir()
    record, ended = conduct(append.scenario, parameters_of(append.scenario, "smoke", chosen), stage, command=["x"])
    assert ended is None
    return record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of a mixed load."""
    mixed = {"entities": "50", "skew": "1", "payload": "uniform", "payload_bytes": "200", "streams": "2"}
    return run_append(tmp_path_factory.mktemp("runs") / "one", **mixed, arrivals="poisson", connections="2")


def test_record_repeats_the_load(record: Record, own_server: OwnServer) -> None:
    """What a record keeps is enough to send the same commands again, byte for byte."""
    known = {field.name for field in msgspec.structs.fields(append.AppendParameters)}
    kept = {name: str(value) for name, value in record.run.parameters.items() if name in known}
    producer = record.run.environment["load"]["producer"]
    packed = []
    for _ in range(2):
        again = parameters_of(append.scenario, "smoke", kept | {"producer": str(producer)})
        assert isinstance(again, append.AppendParameters)
        packed.append(again.source(own_server, "append", again.producer, record.run.seed).pack(0, 500))
    assert packed[0] == packed[1]
    assert f"{producer:012x}"[:8].encode() in packed[0]


def test_given_producer_is_taken(tmp_path: Path) -> None:
    """A producer that is given names the events, and so a run can be repeated."""
    run = run_append(tmp_path / "one", producer="4711").run
    assert run.environment["load"] == {
        "loop": "open", "connections": 1, "arrivals": "constant", "producer": 4711,
    }  # fmt: skip


def test_every_arrival_is_answered(record: Record) -> None:
    """A mixed load is answered as a plain one is."""
    assert [v.status for v in record.run.verdicts if v.name == "append.none.answered"] == ["PASS"]


def test_report_names_loop_and_connections(record: Record) -> None:
    """Headline, page, Markdown and terminal say that the loop was open, and over how many connections."""
    from reports.render import render
    from reports.summaries import markdown, terminal

    sentence = "Open loop: 2 connections, arrivals poisson; each latency counts from when its operation was due."
    assert "(open loop, 2 connections)" in record.run.headline
    for text in (render(record), markdown(record), " ".join(str(terminal(record)).split())):
        assert sentence in text


def test_distributions_stand_beside_the_log(record: Record) -> None:
    """For each kind of latency there is an .hgrm, whose count is that of the log."""
    names = sorted(path.name for path in record.directory.glob("*.hgrm"))
    assert names == [f"append_none.{kind}.hgrm" for kind in ("reading_lag", "response", "send_lag", "service")]
    total = record.latency.total("append_none.response").total
    assert f"Total count    = {total:12d}]" in (record.directory / names[1]).read_text()


def test_disturbances_are_figures(record: Record) -> None:
    """The pump's GC pauses, of which there are none, and the CPU time stolen from the host stand in the record."""
    figures = {figure.name: figure.value for figure in record.run.figures}
    assert (figures["append.none.gc_pauses"], figures["append.none.gc_pause_max"]) == (0, 0.0)
    assert 0 <= (figures["append.none.host_steal_share"] or 0.0) <= 1
    assert figures["append.none.host_steal_share"] is not None
