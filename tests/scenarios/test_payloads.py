"""Payloads from a file: sent as they are and in their order, and nowhere else to be read; bad lines by number."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import hiredis
import numpy as np
import pytest
from msgspec.structs import replace

from harness.conduct.conduct import conduct
from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, ScenarioError, parameters_of
from harness.load.account import PumpAccount
from harness.load.lane import Batch
from harness.load.workload import StampedCommand, placeholder
from harness.record import run
from harness.server.dial import ReplyError
from harness.server.namespace import NAMESPACE
from harness.server.own import OwnServer
from reports.findings import load as load_said
from scenarios.append import AppendParameters, scenario
from scenarios.load import Load
from scenarios.payloads import PayloadError, payloads_of
from tests import forks
from tests.lines import stage_in
from tests.locusts import Locust
from tests.verdicts import settled

SECRET = "d41d8cd9-a-secret-of-somebody"
LINES = [f'{{"order": {number}, "note": "100% {SECRET}"}}' for number in range(3)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three lines."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(LINES) + "\n")
    return path


# The file ---------------------------------------------------------------------------------------------------


def test_a_file_of_lines(file: Path) -> None:
    """Its lines, without their ends; and what may be told of it, which is nothing that stands in it."""
    found = payloads_of(file)
    assert found.lines == [line.encode() for line in LINES]
    length = len(LINES[0])
    assert found.told() == {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "lines": 3,
        "bytes": {"least": length, "middle": length, "most": length, "sum": 3 * length},
    }
    file.write_bytes(b'{"a":1}\r\n[2]\r\n"\xc3\xa9"')
    assert payloads_of(file).lines == [b'{"a":1}', b"[2]", '"é"'.encode()]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1}\n{"a": SECRET}\n', "line 2 of FILE is no JSON"),
        (b'{"a": 1}\n\n{"a": 2}\n', "line 2 of FILE is empty"),
        (b'{"a": 1}\n{"b": "\xff"}\n', "line 2 of FILE is no JSON"),
        (b'{"a": 1} {"a": 2}\n', "line 1 of FILE is no JSON"),
        ('{"a": 1}\n'.encode("utf-16"), "line 1 of FILE is no JSON"),
        (b"[" * 100_000, "line 1 of FILE is nested too deeply"),
        (b'"' + b"x" * (1 << 20) + b'"', "line 1 of FILE has more than 1 MiB"),
        (b"1\n" * 100_001, "FILE has more than 100,000 lines"),
        (b"", "FILE is empty"),
    ],
)
def test_a_line_that_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    """Is told by its number, and by nothing that stands in it."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(PayloadError) as refused:
        payloads_of(path)
    assert str(refused.value) == f"payload_file: {says.replace('FILE', str(path))}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Neither is a directory a file."""
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(PayloadError, match="there is no file"):
            payloads_of(path)


# What is sent -------------------------------------------------------------------------------------------------


class Anywhere:
    """A server of which only the names of keys are asked."""

    namespace = "n:"


def sent(packed: bytes) -> list[list[bytes]]:
    reader = hiredis.Reader()
    reader.feed(packed)
    return list(iter(reader.gets, False))


@pytest.mark.parametrize("streams", [1, 2])
def test_lines_are_sent_in_their_order(file: Path, streams: int) -> None:
    """As they are, each as an event of its own; after the last comes the first; over streams in turn."""
    chosen = Load(path="xadd", payload_file=str(file), streams=streams)
    source = chosen.source(Anywhere(), "append", 7, 1, chosen.payloads())  # type: ignore[arg-type]
    file.unlink()
    # Also in another process, on a host that has no such file.
    source = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    commands = sent(source.pack(0, 2_000))
    assert [command[-1] for command in commands] == [LINES[number % 3].encode() for number in range(2_000)]
    assert [command[1] for command in commands[:4]] == [b"n:xadd:%d" % (number % streams) for number in range(4)]
    assert len({command[4] for command in commands}) == 2_000
    assert sent(b"".join(source.pack(number, 1) for number in range(2_000))) == commands


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"path": "store"}, "they want `path=xadd`"),
        ({"entities": "5"}, "`entities` and `payload_bytes` have no meaning"),
        ({"payload_bytes": "500"}, "`entities` and `payload_bytes` have no meaning"),
    ],
)
def test_what_cannot_be_had_with_it(file: Path, more: dict[str, str], says: str) -> None:
    """Lines are no entities of the shop, and have the sizes that they have."""
    with pytest.raises(ParameterError, match=says):
        parameters_of(scenario, "smoke", {"path": "xadd", "payload_file": str(file), **more})


def test_a_record_is_read_without_the_file(file: Path) -> None:
    """What was chosen is read back from a record, wherever the file is by then; who chooses it needs it."""
    chosen = parameters_of(scenario, "smoke", {"path": "xadd", "payload_file": str(file)})
    file.unlink()
    assert AppendParameters(path="xadd", payload_file=str(file)).payload_file == chosen.payload_file
    with pytest.raises(ParameterError, match="there is no file"):
        parameters_of(scenario, "smoke", {"path": "xadd", "payload_file": str(file)})


# What is told of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quotes", [True, False])
def test_errors_are_not_quoted(quotes: bool) -> None:
    """A server quotes the command that it refuses; of private payloads only the kind of an error is kept."""
    command = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(7)], 7, reply=bytes)
    account = PumpAccount(command, 2, 0, keep_outcomes=False, quotes=quotes)
    batch = Batch(0, np.array([1_000, 2_000], np.int64), b"")
    account.answered(batch, [ReplyError(f"ERR unknown command, args: '{SECRET}'"), [SECRET]], 3_000, None)
    found = account._failures.all()
    assert [each.kind for each in found] == ["ERR", "a reply of another kind"]
    assert [SECRET in each.text for each in found] == [quotes, quotes]


@pytest.mark.slow
def test_a_broken_line_before_anything_starts(file: Path, tmp_path: Path) -> None:
    """One clear line with its number, exit code 2, and no directory of a run."""
    file.write_text(f'{LINES[0]}\n{{"note": {SECRET}}}\n')
    ended = forks.shopbench(
        *("run", "append", "--profile", "smoke", "-p", "path=xadd", "-p", f"payload_file={file}"), cwd=tmp_path
    )
    assert (ended.code, ended.err) == (2, f"shopbench: append: payload_file: line 2 of {file} is no JSON\n")
    assert not (tmp_path / "runs").exists()


def contents(directory: Path) -> bytes:
    """All that a run has left, archives unpacked."""
    whole = b""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            whole += path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    whole += b"".join(map(archive.read, archive.namelist()))
    return whole


@pytest.mark.slow
def test_nothing_of_it_is_in_the_record(own_server: OwnServer, file: Path, tmp_path: Path) -> None:
    """The stream has the lines, again and again; the record has digest and sizes, and none of their text."""
    seen: list[bytes] = []

    def progress(share: float, doing: str) -> None:
        with own_server.client() as client:
            seen[:] = [fields[b"entity"] for _, fields in client.xrange(f"{NAMESPACE}xadd:0")]

    given = {"path": "xadd", "payload_file": str(file), "duration_s": "1", "connections": "1"}
    chosen = parameters_of(scenario, "smoke", given)
    directory = tmp_path / "run"
    directory.mkdir()
    stage = replace(stage_in(directory), server=own_server.url, progress=progress)
    record, ended = conduct(scenario, chosen, stage, command=[])
    assert ended is None
    assert {verdict.status for verdict in settled(record.run.verdicts)} == {"PASS"}
    assert len(seen) > 100
    assert seen == [LINES[number % 3].encode() for number in range(len(seen))]
    told = payloads_of(file).told()
    assert record.run.environment["load"]["payloads"] == told
    assert SECRET.encode() not in contents(directory)
    assert b"100%" not in contents(directory)
    assert f"3 lines of a file, {len(LINES[0])} to {len(LINES[0])} bytes each" in load_said(record.run)
    assert told["sha256"][:16] in load_said(record.run)
    # Judged again, it needs no file.
    file.unlink()
    assert run.load(directory).run.verdicts == record.run.verdicts


def test_a_file_that_is_changed_before_the_load(file: Path, tmp_path: Path) -> None:
    """It was right when it was looked at; the run then says what is wrong with it, and starts no server."""
    chosen = parameters_of(scenario, "smoke", {"path": "xadd", "payload_file": str(file)})
    file.write_text("{")
    with pytest.raises(ScenarioError, match=r"line 1 of .* is no JSON"):
        scenario.run(stage_in(tmp_path), chosen, Findings("append"))


@pytest.mark.slow
def test_workers_need_no_file(file: Path, tmp_path: Path) -> None:
    """Locust's master reads the file, and its workers are sent what they send."""
    arguments = ("--headless", "--loglevel", "WARNING", "--only-summary", "--users", "2", "--spawn-rate", "2")
    chosen = (
        "--profile",
        "smoke",
        "--path",
        "xadd",
        "--payload-file",
        str(file),
        "--durability",
        "none",
        "-t",
        "1s",
    )
    with Locust(tmp_path, "append", *arguments, *chosen, "--processes", "2") as locust:
        assert locust.wait() in {0, 3}, locust.output
    record = locust.record()
    assert {verdict.status for verdict in settled(record.run.verdicts)} == {"PASS"}
    assert record.run.environment["load"]["payloads"]["lines"] == 3
    assert SECRET.encode() not in contents(tmp_path / "runs")
