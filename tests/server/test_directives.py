"""What a server of ours is configured with besides: told in its own words where it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.host.clock import SystemClock
from harness.server.directives import OURS, DirectiveError, arguments_of, directives_of
from harness.server.open import open_server
from harness.server.own import program_of
from harness.server.server import ServerError
from harness.server.wheels import PROGRAMS, program_in_wheel

REDIS = shutil.which("redis-server")
SERVERS = ["embedded", *([REDIS] if REDIS else [])]


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_is_started_with_a_directive(server: str) -> None:
    """It holds, also against what its durability would set."""
    config = directives_of(["hz 20", 'save "60 1000"', "auto-aof-rewrite-percentage 70"])
    with (
        open_server(server, SystemClock(), durability="everysec", config=config) as opened,
        opened.client() as client,
    ):
        assert client.config_get("hz") == {"hz": "20"}
        assert client.config_get("save") == {"save": "60 1000"}
        assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "70"}


@pytest.mark.parametrize("server", SERVERS)
def test_a_directive_that_a_server_does_not_know(server: str) -> None:
    """Its own words say so, in one line, with the directive."""
    with pytest.raises(ServerError) as caught:
        open_server(server, SystemClock(), config=("no-such-directive 7",))
    text = str(caught.value)
    assert "\n" not in text
    assert "no-such-directive" in text
    assert "Bad directive or wrong number of arguments" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("io-threads", "a directive is a name and its values"),
        ("", "a directive is a name and its values"),
        ("io-threads '4", "a directive is a name and its values"),
        ("--io-threads 4", "a directive is a name and its values"),
        ("io-threads 4 --port 7", "a directive is a name and its values"),
        ("hz 'a\nb'", "holds a character that cannot be printed"),
        *((f"{name} x", "itself decides about this") for name in sorted(OURS)),
    ],
)
def test_what_is_no_directive(text: str, words: str) -> None:
    """Not a name and its values, or what the instrument itself decides about."""
    with pytest.raises(DirectiveError, match=words):
        directives_of([text])


def test_the_last_of_a_name_holds() -> None:
    """And each is written in one way, so that two that say the same are the same."""
    assert directives_of(["HZ 10", "io-threads   4", "hz  '20'"]) == ("hz 20", "io-threads 4")
    assert arguments_of(("hz 20", "save '60 1'")) == ["--hz", "20", "--save", "60 1"]


def test_only_a_server_of_ours_can_be_configured() -> None:
    """One at a URL is somebody else's."""
    with pytest.raises(ServerError, match="only a server that we start can be configured"):
        open_server("redis://127.0.0.1:1", SystemClock(), config=("hz 20",))


def test_a_wheels_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed wheel is named, and its program is taken."""
    program = tmp_path / "some_wheel" / "bin" / PROGRAMS[0]
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    about = tmp_path / "some_wheel-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-wheel\nVersion: 1.0\n")
    (about / "RECORD").write_text(f"some_wheel/bin/{PROGRAMS[0]},,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert program_of("some-wheel") == program
    assert program_in_wheel("pytest") is None
    assert program_in_wheel("no-such-wheel-at-all") is None
