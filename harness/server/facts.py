"""What the record says of a server: what it is, how it is set up, where it is, and what cannot be known of it.

    name, version, mode, role, run_id       INFO, or HELLO where a user may not run INFO
    appendonly, maxmemory-policy ...        CONFIG GET; what INFO says of them where that is forbidden
    where, encrypted, ping_us               loopback, unix or network; TLS or not; the quickest of some PINGs
    data_directory                          its file system and device, of a server whose directory can be seen
    limits, cores_allowed                   of its own process: a container's quota, or that it is pinned
    not_allowed                             the commands that this user may not run, and the record so lacks

Nobody is asked for more than the user may have: a server that forbids a command is described without it.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import redis

from harness.host import cgroup
from harness.host.clock import Clock
from harness.host.filesystem import data_directory_of, describe_directory
from harness.server.lock import is_refused
from harness.server.namespace import MARKER
from harness.server.url import ServerUrl

OPTIONS = (
    *("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "io-threads", "timeout"),
    *("no-appendfsync-on-rewrite", "auto-aof-rewrite-percentage", "activedefrag", "hz"),
)
PINGS = 20


def describe_server(client: redis.Redis, url: ServerUrl, clock: Clock, *, pid: int | None) -> dict[str, Any]:
    """What is known of a server; nothing of its address but what kind it is.

    Args:
        client: of it.
        url: where it answers.
        clock: for the round trip.
        pid: of its process, where that is ours.

    Raises:
        redis.RedisError: it does not answer.
    """
    missing: list[str] = []
    info = asked(lambda: _info(client), "INFO", missing)
    facts = _identity(info) if info else _identity_by(greeting(client))
    facts |= _options(client, info, missing)
    facts |= {
        "where": where(url),
        "encrypted": url.has_tls,
        "ping_us": round_trip_us(client, clock),
    }
    facts |= _process(info, str(facts.pop("dir", "")), pid, is_here=facts["where"] != "network")
    if missing:
        facts["not_allowed"] = missing
    return facts


def asked(ask: Callable[[], dict[str, Any]], command: str, missing: list[str]) -> dict[str, Any]:
    """An answer, or nothing where this user may not ask; the command is then one that is missing.

    Raises:
        redis.RedisError: the server does not answer.
    """
    try:
        return ask()
    except redis.ResponseError as error:
        if not is_refused(error):
            raise
        if command not in missing:
            missing.append(command)
        return {}


def greeting(client: redis.Redis) -> dict[str, Any]:
    """What a server says of itself to everybody, by HELLO: `server`, `version`, `mode`, `role`; else nothing."""
    try:
        answer: Any = client.execute_command("HELLO")
    except redis.ResponseError:
        return {}
    words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in answer]
    return dict(zip(words[::2], words[1::2], strict=False))


def where(url: ServerUrl) -> str:
    """`unix`, `loopback` or `network`."""
    if url.path:
        return "unix"
    try:
        is_loopback = ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        is_loopback = url.host == "localhost"
    return "loopback" if is_loopback else "network"


def round_trip_us(client: redis.Redis, clock: Clock) -> float:
    """The quickest of some PINGs, in microseconds: what the way to the server and back costs at least."""
    ask: Callable[[], object] = client.ping
    try:
        ask()  # connects
    except redis.ResponseError as error:
        if not is_refused(error):
            raise
        ask = functools.partial(client.exists, MARKER)  # what every run at a URL may do
    quickest_ns = 1 << 62
    for _ in range(PINGS):
        before_ns = clock.now_ns()
        ask()
        quickest_ns = min(quickest_ns, clock.now_ns() - before_ns)
    return quickest_ns / 1000


def _info(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in ("server", "memory", "stats", "replication"):
        found |= client.info(section)
    return found


def _identity(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "Valkey" if "valkey_version" in info else "Redis",
        "version": info.get("valkey_version", info.get("redis_version")),
        "mode": info.get("redis_mode", info.get("server_mode")),
        "role": info.get("role"),
        "run_id": info.get("run_id"),
        "os": info.get("os"),
        "allocator": info.get("mem_allocator"),
    }


def _identity_by(said: Mapping[str, Any]) -> dict[str, Any]:
    name = "Valkey" if "valkey" in str(said.get("server", "")) else "Redis"
    return {"name": name, "version": said.get("version"), "mode": said.get("mode"), "role": said.get("role")}


def _options(client: redis.Redis, info: Mapping[str, Any], missing: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # What INFO knows as well, for a server that hides its configuration.
    for name, key in (("maxmemory", "maxmemory"), ("maxmemory-policy", "maxmemory_policy")):
        if key in info:
            found[name] = str(info[key])
    for option in (*OPTIONS, "dir"):
        found |= asked(functools.partial(_option, client, option), "CONFIG GET", missing)
        if "CONFIG GET" in missing:
            break
    return found


def _option(client: redis.Redis, name: str) -> dict[str, Any]:
    answer: Any = client.config_get(name)
    return dict(answer)


def _process(info: Mapping[str, Any], said: str, pid: int | None, *, is_here: bool) -> dict[str, Any]:
    """What is to be seen of a server's process on this host; nothing where it may be another's."""
    if pid is None and is_here and said:
        # In a container of its own a server has ids, and paths, that mean something else out here.
        candidate = int(info.get("process_id", 0))
        pid = candidate if candidate and data_directory_of(candidate) == Path(said) else None
    if pid is None:
        return {}
    found: dict[str, Any] = {}
    directory = data_directory_of(pid)
    if directory is not None:
        found["data_directory"] = describe_directory(directory)
    process = psutil.Process(pid)
    if hasattr(process, "cpu_affinity"):
        found["cores_allowed"] = process.cpu_affinity()
    limits = cgroup.limits(pid)
    if limits:
        found["limits"] = limits
    return found
