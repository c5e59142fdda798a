"""Commands that are no good consumers, each in a way of its own: `odd.py WAY`."""

from __future__ import annotations

import contextlib
import http.client
import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

GOOD = str(Path(__file__).with_name("good.py"))
STREAMS = os.environ.get("SHOPBENCH_STREAMS", "").split()


def exits() -> None:
    """It ends at once, and has said why."""
    sys.stderr.write("connecting to redis://:secret@localhost/0\nno such\ttable\n")
    sys.exit(3)


def leaves() -> None:
    """It ends at once, as one that has gone into the background."""


def prints() -> None:
    """It says its version, does not flush that, and idles."""
    sys.stdout.write("7.1 of my library\n")
    idles()


def idles(streams: list[str] = STREAMS) -> None:
    """It makes its groups, and never reads."""
    import redis

    client = redis.Redis.from_url(os.environ["SHOPBENCH_REDIS_URL"])
    for stream in streams:
        with contextlib.suppress(redis.ResponseError):
            client.xgroup_create(stream, os.environ["SHOPBENCH_GROUP"], id="0", mkstream=True)
    while True:
        time.sleep(0.1)


def elsewhere() -> None:
    """It reads a stream that nobody has told it of."""
    idles(["elsewhere"])


def makes_up() -> None:
    """It posts IDs that nobody has sent."""
    made_up = (sys.argv[2:] or ["made-up"])[0].encode()
    threading.Thread(target=idles, daemon=True).start()
    while True:
        connection = http.client.HTTPConnection(urlsplit(os.environ["SHOPBENCH_EFFECTS"]).netloc, timeout=5)
        connection.request("POST", "/", made_up + b"\n", {"Content-Type": "text/plain"})
        connection.getresponse().read()
        connection.close()
        time.sleep(0.05)


def forks() -> None:
    """A daemon does its work: in a session of its own, which keeps its environment."""
    subprocess.Popen([sys.executable, GOOD], start_new_session=True).wait()


def hides() -> None:
    """A daemon does its work that has taken our mark out of its environment."""
    clean = {name: value for name, value in os.environ.items() if name != "SHOPBENCH_MARK"}
    child = subprocess.Popen([sys.executable, GOOD], start_new_session=True, env=clean)
    Path("hidden.pid").write_text(str(child.pid))
    child.wait()


def hides_here() -> None:
    """A child without our mark does its work, and its parent leaves it behind."""
    clean = {name: value for name, value in os.environ.items() if name != "SHOPBENCH_MARK"}
    child = subprocess.Popen([sys.executable, GOOD], env=clean)
    Path("hidden.pid").write_text(str(child.pid))
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(2.0)
    os._exit(5)


def wraps() -> None:
    """A child does its work; what it wraps it in does not pass on signals."""
    subprocess.Popen([sys.executable, GOOD]).wait()


def tires() -> None:
    """It works until there is a file `tired`, takes that away, and ends; as often as there is one."""
    threading.Thread(target=_until_tired, daemon=True).start()
    runpy.run_path(GOOD, run_name="__main__")


def _until_tired() -> None:
    tired = Path("tired")
    while not tired.exists():
        time.sleep(0.02)
    tired.unlink(missing_ok=True)
    os._exit(4)


def only_first() -> None:
    """It reads one of its two streams."""
    os.environ["SHOPBENCH_STREAMS"] = STREAMS[0]
    runpy.run_path(GOOD, run_name="__main__")


def from_now() -> None:
    """Its groups begin at the end of what is there, a second after it has begun."""
    import redis

    time.sleep(1.0)
    client = redis.Redis.from_url(os.environ["SHOPBENCH_REDIS_URL"])
    for stream in STREAMS:
        with contextlib.suppress(redis.ResponseError):
            client.xgroup_create(stream, os.environ["SHOPBENCH_GROUP"], id="$", mkstream=True)
    runpy.run_path(GOOD, run_name="__main__")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
