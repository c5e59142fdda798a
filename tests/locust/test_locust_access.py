"""Who may ask the web UI: hosts, origins, what browsers say; and what of a form is taken."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.conduct.scenario import ParameterError
from harness.locust import form
from harness.locust.access import AccessError, Asked, Guarded, access_of, is_loopback, refusal
from harness.locust.form import GIVEN, Named, fields_of, named_by, prefilled, taken
from harness.server.url import ServerUrl
from scenarios.catalog import SCENARIOS
from scenarios.replay import ReplayByUsers

OURS = access_of("127.0.0.1")
PROXIED = access_of(
    "127.0.0.1", ["bench.lan", "[fd00::7]:80", "fd00::8"], ["http://Bench.lan", "https://bench.lan:8443"]
)
DRIVEN = [scenario for scenario in SCENARIOS.values() if hasattr(scenario, "lasting")] + [ReplayByUsers()]


def asked(host: str | None, **said: str) -> Asked:
    return Asked(**{"method": "GET", "host": host, **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8089", "127.0.0.1", "localhost:8089", "LOCALHOST", "localhost.:1", "[::1]:8089", "[::1]"],
)
def test_the_names_of_this_machine(host: str) -> None:
    """Loopback is known by its three names, whatever the port."""
    assert refusal(OURS, asked(host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8089",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example,127.0.0.1",
        "127.0.0.1 evil.example",
        "127.0.0.1:8089:1",
        "[::1",
        "0.0.0.0",  # noqa: S104 - not bound to
        "",
        None,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_any_other_name_is_refused(host: str | None, method: str) -> None:
    """Whoever has bound a name to this address does not get in by it, by no method."""
    assert refusal(OURS, Asked(method=method, host=host)) is not None


def test_a_refusal_says_what_to_set() -> None:
    """Behind a proxy both messages name the option, with the value that it would have."""
    said = refusal(OURS, asked("bench.lan:80")) or ""
    assert said.endswith("start it with --allowed-host bench.lan")
    said = refusal(OURS, Asked(method="POST", host="127.0.0.1:8089", origin="http://bench.lan")) or ""
    assert said.endswith("start it with --allowed-origin http://bench.lan")


@pytest.mark.parametrize("host", ["bench.lan", "bench.lan:8080", "[fd00::7]:8089", "[fd00::8]", "127.0.0.1:8089"])
def test_a_host_that_is_allowed(host: str) -> None:
    """Also for what a proxy calls us, with or without a port, and for addresses in brackets."""
    assert refusal(PROXIED, asked(host)) is None


@pytest.mark.parametrize(
    ("said", "is_refused"),
    [
        ({}, False),  # no browser
        ({"fetch_site": "same-origin", "origin": "http://127.0.0.1:8089"}, False),
        ({"origin": "http://127.0.0.1:8089"}, False),
        ({"fetch_site": "none"}, False),
        ({"fetch_site": "cross-site", "origin": "https://evil.example"}, True),
        ({"fetch_site": "same-site", "origin": "http://127.0.0.1:3000"}, True),  # another port is not us
        ({"fetch_site": "same-origin", "origin": "http://evil.example"}, True),  # a proxy that changes Host
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"fetch_site": "cross-site"}, True),
        ({"fetch_site": "cross-site", "fetch_mode": "no-cors", "fetch_dest": "script"}, True),
        ({"fetch_site": "cross-site", "fetch_mode": "navigate", "fetch_dest": "iframe"}, True),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites(said: dict[str, str], is_refused: bool, method: str) -> None:
    """Only a page of this very server, or no page at all, gets an answer."""
    request = Asked(method=method, host="127.0.0.1:8089", **said)
    assert (refusal(OURS, request) is not None) == is_refused


def test_a_link_from_elsewhere_may_be_followed() -> None:
    """A wiki may link to the UI; a form there may not post to it."""
    said = {"fetch_site": "cross-site", "fetch_mode": "navigate", "fetch_dest": "document"}
    assert refusal(OURS, asked("127.0.0.1:8089", **said)) is None
    assert refusal(OURS, Asked(method="POST", host="127.0.0.1:8089", **said)) is not None


@pytest.mark.parametrize(
    ("origin", "is_refused"),
    [
        ("http://bench.lan", False),
        ("https://bench.lan:8443", False),
        ("https://bench.lan", True),
        ("http://bench.lan.evil.example", True),
        ("http://bench.lan@evil.example", True),
    ],
)
def test_an_origin_that_is_allowed(origin: str, is_refused: bool) -> None:
    """Behind a proxy that changes Host its own pages are known by their origin, and only they."""
    request = Asked(method="POST", host="127.0.0.1:8089", origin=origin)
    assert (refusal(PROXIED, request) is not None) == is_refused


@given(st.text(max_size=40))
def test_no_host_gets_in_by_chance(host: str) -> None:
    """Whatever stands in Host, only a name that is known is let in."""
    if refusal(OURS, asked(host)) is None:
        assert re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\]|::1)\.*(:\d*)?", host.lower())


@pytest.mark.parametrize("web_host", ["0.0.0.0", "*", "", "::", "10.0.0.7", "bench.lan"])  # noqa: S104 - not bound to
def test_what_others_reach(web_host: str) -> None:
    """These addresses are not this machine's alone."""
    assert not is_loopback(web_host)


@pytest.mark.parametrize(("hosts", "origins"), [(["http://a"], []), ([""], []), ([], ["a"]), ([], ["ftp://a"])])
def test_what_can_be_no_host_or_origin(hosts: list[str], origins: list[str]) -> None:
    """Said when the UI is started, and not when somebody is refused."""
    with pytest.raises(AccessError):
        access_of("127.0.0.1", hosts, origins)


def test_no_answer_may_be_read_by_other_sites() -> None:
    """Of the headers of an application those that open it to others are taken away, and frames are forbidden."""

    def app(_: object, start: typing.Any) -> list[bytes]:
        start("200 OK", [("Access-Control-Allow-Origin", "*"), ("X-Frame-Options", "SAMEORIGIN")])
        return [b"measured"]

    seen: dict[str, str] = {}
    environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost"}
    answer = Guarded(app, OURS)(environ, lambda _, headers: seen.update(headers))
    assert list(answer) == [b"measured"]
    assert not [name for name in seen if name.startswith("Access-Control")]
    assert seen["X-Frame-Options"] == "SAMEORIGIN"
    assert seen["Content-Security-Policy"] == "frame-ancestors 'none'"


# What the form offers


NAMED = Named(
    servers={GIVEN: "redis://:s3cret@10.0.0.5/3", "local": "embedded"},
    gateway="http://shop.lan",
    runs=Path("runs"),
)


@pytest.mark.parametrize("scenario", DRIVEN, ids=lambda scenario: scenario.name)
def test_no_field_is_free_text(scenario: typing.Any) -> None:
    """A scenario's fields are numbers or choices: no text of a form can become a program, a path or an address."""
    hints = typing.get_type_hints(scenario.parameters)
    for field in fields_of(scenario, NAMED):
        if field.label.startswith("Run: "):
            continue
        assert field.choices or hints[field.option] in {int, float}, field


@pytest.mark.parametrize("scenario", DRIVEN, ids=lambda scenario: scenario.name)
def test_labels_survive_locusts_page(scenario: typing.Any) -> None:
    """What the page does to names leaves ours as they are; each is there once; none is a host or gateway."""
    labels = [field.label for field in fields_of(scenario, NAMED)]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert label[0].isupper()
        assert re.search(r"[a-z0-9][A-Z0-9]|_", label) is None, label
    options = {field.option for field in fields_of(scenario, NAMED)}
    assert options.isdisjoint({"gateway", "host", "runs", "connections", "users"})


@pytest.mark.parametrize("scenario", DRIVEN, ids=lambda scenario: scenario.name)
def test_the_form_is_filled(scenario: typing.Any) -> None:
    """With each profile's own values, and with what the command line gave in their place; no secret among them."""
    options = msgspec.defstruct("Options", [("seed", str, "7")])()
    fields = fields_of(scenario, NAMED)
    filled = prefilled(scenario, fields, options, NAMED)
    assert list(filled) == list(scenario.profiles)
    for profile, values in filled.items():
        assert (values[form.PROFILE], values[form.SERVER], values[form.SEED]) == (profile, GIVEN, "7")
        assert all(values[field.label] in field.choices for field in fields if field.choices)
    assert "s3cret" not in str(filled)


def test_what_is_taken() -> None:
    """Fields by label or by the parameter's name; what Locust's page sends besides is left out."""
    lag = SCENARIOS["lag"]
    fields = fields_of(lag, NAMED)  # type: ignore[arg-type]
    sent = {
        "user_count": "2",
        "host": "",
        "profile": "",
        "Run: profile": "smoke",
        "Load: base (per second)": "300",
    }
    assert taken(fields, {**sent, "user_classes": "X", "Run: server": "local"}, "") == {
        "user_count": "2",
        "profile": "smoke",
        "base_per_s": "300",
        "server": "local",
    }
    assert taken(fields, {"base_per_s": "300", "profile": "full"}, "") == {"base_per_s": "300", "profile": "full"}
    assert taken(fields, {"host": "http://shop.lan"}, "http://shop.lan") == {}


@pytest.mark.parametrize(
    "name", ["runs", "html_file", "web_host", "gateway", "also_server", "logfile", "master_host"]
)
def test_what_is_not_offered_is_refused(name: str) -> None:
    """Each of these is an option of Locust's or of ours that a form would otherwise set."""
    with pytest.raises(ParameterError, match="cannot be chosen here"):
        taken(fields_of(SCENARIOS["lag"], NAMED), {name: "x"}, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["server", form.SERVER])
@pytest.mark.parametrize("value", ["./x.sh", "redis://:s3cret@10.0.0.5/3", "embedded", "/bin/sh", "LOCAL"])
def test_a_server_is_chosen_by_name(name: str, value: str) -> None:
    """Neither a program nor a URL, also not those that the names stand for."""
    with pytest.raises(
        ParameterError, match=r"by a name that the command line has given: given by --server, local$"
    ):
        taken(fields_of(SCENARIOS["lag"], NAMED), {name: value}, "")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="there is no server of that name"):
        NAMED.server(value)


def test_servers_have_names() -> None:
    """A program is called by its file's name; a URL is not told; more of them are named by their starter."""
    assert list(named_by("/usr/bin/redis-server", ["b=redis://b"], None, "r").servers) == ["redis-server", "b"]
    assert named_by("redis://:s3cret@h", [], "http://g", "r") == Named(
        servers={GIVEN: ServerUrl("redis://:s3cret@h")}, gateway="http://g", runs=Path("r")
    )
    for also in (["x"], ["=x"], ["a="], ["a=1", "a=2"], ["embedded=x"]):
        with pytest.raises(ParameterError):
            named_by("embedded", also, None, "r")
