"""Rounds: turns, ratios, sides that cannot be measured; the gate's loop."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.conduct.conduct import Findings, ScenarioError, Stage
from harness.gate.controls import CONTROLS, Controls
from harness.gate.decision import Spending
from harness.gate.loop import BACKGROUND, Gate, Gated, GateParameters, conduct_rounds, judged, size_of
from harness.gate.metrics import METRICS, background_share, compared, measured
from harness.gate.micro import MicroRounds, metric_of
from harness.gate.rounds import Measure, Round, Rounds, first_of, turns
from harness.gate.side import Side, SideError
from harness.host.clock import SystemClock, VirtualClock
from harness.host.cores import Cores, core_of
from harness.server.open import open_server
from harness.server.own import OwnServer
from harness.server.server import ServerError
from harness.system.contract import TargetContract
from harness.system.target import OpenTarget
from ordershop.events import Event
from scenarios.gate_target import OrderShop, ordershop

SEEDS = range(400)
DOCS = Path(__file__).parents[2] / "docs"


class TestOrderShopAsATarget(TargetContract):
    """What the gate measures keeps the contract of all targets."""

    @staticmethod
    def open_target() -> OpenTarget:
        """The shop's event store."""
        return ordershop


class Pretender(OrderShop):
    """A target that knows the right answers and does nothing for them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.numbers: set[int] = set()

    def event(self, number: int) -> Event:
        self.numbers.add(number)
        return super().event(number)

    def drain(self, group: str, count: int) -> int:
        return count

    def find_one(self, number: int) -> Any:
        return number if number in self.numbers else None


class PretendersContract(TargetContract):
    """The contract of what only pretends."""

    @staticmethod
    def open_target() -> OpenTarget:
        """The pretender."""
        return Pretender


@pytest.mark.parametrize(
    "promise",
    [
        PretendersContract.test_what_is_drained_comes_from_the_server,
        PretendersContract.test_what_was_appended_is_found,
    ],
)
def test_the_contract_finds_a_pretender(promise: Callable[..., None]) -> None:
    """A count that is right is no delivery, and what a target remembers is not in the store."""
    with (
        open_server("embedded", SystemClock()) as server,
        contextlib.closing(Pretender(server.url)) as target,
        pytest.raises(AssertionError),
    ):
        promise(PretendersContract(), target, server)


# Turns and ratios ------------------------------------------------------------------------------------------


def test_turns_begin_abba_baab() -> None:
    """Each four turns are mirrored, and so are each eight."""
    assert turns(8) == [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(("count", "degree"), [(2, 1), (4, 2), (8, 3), (16, 4)])
def test_turns_cancel_drift(count: int, degree: int) -> None:
    """A drift that is a polynomial of the turn falls on both sides alike, up to a degree that grows with them."""
    places = np.arange(2 * count, dtype=float)
    sign = np.array([1 if turn else -1 for turn in turns(count)])
    drift = [float((sign * places**power).sum()) for power in range(degree)]
    assert drift == pytest.approx([0.0] * degree, abs=1e-6)


def test_a_coin_says_who_is_first() -> None:
    """It comes from seed and round alone, and falls either way about as often."""
    firsts = [first_of(3, number) for number in SEEDS]
    assert firsts == [first_of(3, number) for number in SEEDS]
    assert firsts != [first_of(4, number) for number in SEEDS]
    assert 150 < firsts.count("baseline") < 250


TURNS = st.lists(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), min_size=4, max_size=4)


@given(TURNS, TURNS)
def test_ratios_are_those_of_neighbouring_turns(baseline: list[list[int]], candidate: list[list[int]]) -> None:
    """Of p50 the median over pairs of turns, of p99 the mean; values are quantiles over all operations."""
    taken: dict[Side, dict[str, list[Any]]] = {
        "baseline": {"append": [np.array(turn) for turn in baseline]},
        "candidate": {"append": [np.array(turn) for turn in candidate]},
    }
    ratios, values = measured(taken)
    pairs = list(zip(baseline, candidate, strict=True))
    p50 = median(math.log(median(c) / median(b)) for b, c in pairs)
    p99 = sum(math.log(np.quantile(c, 0.99) / np.quantile(b, 0.99)) for b, c in pairs) / 4
    assert {"append.p50": pytest.approx(p50), "append.p99": pytest.approx(p99)} == ratios
    assert values["append.p50"] == (median(itertools.chain(*baseline)), median(itertools.chain(*candidate)))


# Sides -----------------------------------------------------------------------------------------------------

STORE = """
    class Store:
        def __init__(self, url):
            self.events = []

        def event(self, number):
            return number

        def append(self, event):
            self.events.append(event)
            return len(self.events)

        def replay(self):
            return self.events

        def close(self):
            pass


    target = Store
"""


def package(directory: Path, source: str) -> Path:
    """A directory with a package `toy` of that source."""
    (directory / "toy").mkdir(parents=True)
    (directory / "toy" / "__init__.py").write_text(textwrap.dedent(source))
    return directory


def toys(tmp_path: Path, baseline: str = STORE, candidate: str = STORE, target: str = "toy:target") -> Measure:
    """What measures two packages `toy` against each other."""
    return Measure(
        target=target,
        packages=("toy",),
        sources={
            "baseline": package(tmp_path / "baseline", baseline),
            "candidate": package(tmp_path / "candidate", candidate),
        },
        names={"baseline": "the baseline", "candidate": "the candidate"},
    )


def test_a_round_of_what_a_target_can_do(tmp_path: Path) -> None:
    """A target that only appends and replays has the metrics of these, and the controls."""
    with Rounds(toys(tmp_path), SystemClock()) as rounds:
        found = rounds.measure(0)
    assert set(found.ratios) == {"append.p50", "append.p99", "replay.per_event", *CONTROLS}
    assert set(found.values_ns) == set(found.ratios)
    assert all(value >= 0 for pair in found.values_ns.values() for value in pair)


def test_a_round_of_the_shop() -> None:
    """The shop's store has every metric."""
    root = Path(ordershop.__code__.co_filename).parents[1]
    measure = Measure(
        target="scenarios.gate_target:ordershop",
        packages=("ordershop",),
        sources={"baseline": root, "candidate": root},
        names={"baseline": "the baseline", "candidate": "the candidate"},
    )
    with Rounds(measure, SystemClock()) as rounds:
        found = rounds.measure(1)
    assert set(found.ratios) == {*METRICS, *CONTROLS}
    assert found.first == first_of(1, 1)


# Notes with each append which cores it may use, and its server, and who measures it.
WATCHFUL_STORE = """
    import os
    import redis

    class Store:
        def __init__(self, url):
            self.server = redis.Redis.from_url(url).info("server")["process_id"]

        def event(self, number):
            return number

        def append(self, event):
            seen = [sorted(os.sched_getaffinity(process)) for process in (0, self.server, os.getppid())]
            with open({file!r}, "a") as file:
                print(seen, file=file)
            return event

        def close(self):
            pass


    target = Store
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system lets nobody choose")
@pytest.mark.parametrize("cores", ["one", "all"])
def test_a_round_takes_turns_on_one_core(tmp_path: Path, cores: Cores) -> None:
    """Sides, their servers and who measures them are on the core that the round has drawn, if it draws one."""
    ours = os.sched_getaffinity(0)
    file = tmp_path / "seen"
    measure = toys(tmp_path, baseline=WATCHFUL_STORE.format(file=str(file)))
    measure = msgspec.structs.replace(measure, cores=cores, metrics=("append.p50",))
    with Rounds(measure, SystemClock()) as rounds:
        rounds.measure(3)
    drawn = core_of(cores, measure.seed, 3)
    expected = sorted(ours) if drawn is None else [drawn]
    assert set(file.read_text().splitlines()) == {repr([expected] * 3)}
    assert os.sched_getaffinity(0) == ours


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (
            "import nowhere_to_be_found",
            "toy:target",
            "does not build: ModuleNotFoundError: No module named 'nowhere",
        ),
        ("raise SystemExit('no\\nmore')", "toy:target", "does not build: SystemExit: no more"),
        ("x = (", "toy:target", "does not build: SyntaxError"),
        (STORE, "toy:other", "does not build: ImportError: toy has no other"),
        (STORE, "toy.deeper:target", "does not build: ModuleNotFoundError"),
        ("def target(url): raise OSError('no server')", "toy:target", "cannot be opened: OSError: no server"),
        (STORE.replace("return self.events", "return []"), "toy:target", "failed in replay: ValueError: a replay"),
        (STORE.replace("self.events.append", "self.nothing.append"), "toy:target", "failed in append: Attribute"),
        (STORE.replace("def append", "def insert"), "toy:target", "has no append, which no target may leave out"),
        (
            STORE.replace("return len(self.events)", "return event if event % 3 else None"),
            "toy:target",
            "failed in append: ValueError: append answered no ID for 100 of 300",
        ),
        (
            STORE.replace("def replay(self):", "def find_one(self, number):\n            return None"),
            "toy:target",
            "failed in find_one: ValueError: find_one found nothing for 125 of 125",
        ),
        ("import os; os._exit(3)", "toy:target", "does not build: its process ended"),
    ],
)
def test_a_side_that_cannot_be_measured_says_why(tmp_path: Path, source: str, target: str, words: str) -> None:
    """The error names the side, what it was doing and what its code has raised, in one line."""
    measure = toys(tmp_path, baseline=source, candidate=source, target=target)
    with Rounds(measure, SystemClock()) as rounds, pytest.raises(SideError) as caught:
        rounds.measure(0)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert text.startswith("the baseline") or target != "toy:target"


def test_a_package_that_hides_the_one_under_test(tmp_path: Path) -> None:
    """A module that was loaded from elsewhere is not measured in its place."""
    measure = toys(tmp_path, baseline="import sys; sys.modules['toy'].__file__ = '/elsewhere/toy.py'")
    with (
        Rounds(measure, SystemClock()) as rounds,
        pytest.raises(SideError, match="not from the revision under test"),
    ):
        rounds.measure(0)


def test_a_package_without_an_init_file(tmp_path: Path) -> None:
    """It gives way to any other of its name, so it is told apart from one that is hidden."""
    measure = toys(tmp_path)
    (tmp_path / "candidate" / "toy" / "__init__.py").rename(tmp_path / "candidate" / "toy" / "code.py")
    with (
        Rounds(measure, SystemClock()) as rounds,
        pytest.raises(SideError, match=r"the candidate does not build: ImportError: toy has no __init__\.py$"),
    ):
        rounds.measure(0)


def test_a_source_without_the_package(tmp_path: Path) -> None:
    """It is said before a server is started."""
    measure = toys(tmp_path)
    (tmp_path / "baseline" / "toy").rename(tmp_path / "baseline" / "renamed")
    with pytest.raises(SideError, match="the baseline has another layout: it has no package toy"):
        Rounds(measure, SystemClock())


@pytest.mark.parametrize(("wanted", "both"), [(["a"], ["a"]), (["a", "c"], ["a"])])
def test_what_was_lost_and_does_not_count(wanted: list[str], both: list[str]) -> None:
    """Where only other things are asked for, it is not missed."""
    assert both == compared(
        ["b", "a"], ["a", "c"], {"baseline": "the baseline", "candidate": "the candidate"}, wanted
    )


WITHOUT_REPLAY = STORE.replace("def replay", "def read")


def test_what_only_the_baseline_can_do(tmp_path: Path) -> None:
    """A candidate that has lost an operation does not pass for want of a metric, unless only others count."""
    measure = toys(tmp_path, candidate=WITHOUT_REPLAY)
    words = (
        "the candidate has no replay, which the baseline has; "
        "if you removed it on purpose, name the metrics that count"
    )
    with Rounds(measure, SystemClock()) as rounds, pytest.raises(SideError, match=words):
        rounds.measure(0)
    with Rounds(msgspec.structs.replace(measure, metrics=("append.p50",)), SystemClock()) as rounds:
        assert "append.p50" in rounds.measure(0).ratios


def test_what_only_the_candidate_can_do(tmp_path: Path) -> None:
    """It is new: not compared with anything, and said."""
    with Rounds(toys(tmp_path, baseline=WITHOUT_REPLAY), SystemClock()) as rounds:
        found = rounds.measure(0)
    assert (("replay",), {"append.p50", "append.p99", *CONTROLS}) == (found.new, set(found.ratios))


def test_the_server_of_a_record_is_a_sides(tmp_path: Path) -> None:
    """Before the first round there is none; then it has the durability that was asked for."""
    measure = msgspec.structs.replace(toys(tmp_path), durability="everysec", metrics=("append.p50",))
    with Rounds(measure, SystemClock()) as rounds:
        before = rounds.server
        rounds.measure(0)
        assert (before, rounds.server["appendonly"]) == ({}, "yes")


def test_a_controls_server_that_ends() -> None:
    """Whether it hangs up or is gone, one line says whose server it was."""
    with (
        open_server("embedded", SystemClock()) as server,
        contextlib.closing(Controls(server.url, SystemClock())) as controls,
    ):
        assert set(CONTROLS) == set(controls.measure())
        with server.client() as client:
            client.client_kill_filter(skipme=True)
        with pytest.raises(ServerError, match="the control's server has ended"):
            controls.measure()
    with (
        open_server("embedded", SystemClock()) as server,
        contextlib.closing(Controls(server.url, SystemClock())) as controls,
    ):
        assert isinstance(server, OwnServer)
        server.freeze()
        controls._socket.settimeout(0.05)
        with pytest.raises(ServerError, match="the control's server does not answer any more"):
            controls.measure()
        server.kill()
        for _ in range(3):
            with pytest.raises(ServerError, match=r"the control's server (has ended|does not answer any more)"):
                controls.measure()
        with pytest.raises(ServerError, match="the control's server does not answer"):
            Controls(server.url, SystemClock())


# Work in the background --------------------------------------------------------------------------------------

SPANS = st.integers(0, 10**9)


@given(SPANS, SPANS, SPANS, SPANS, SPANS, st.integers(1, 10**9))
def test_background_is_a_lower_bound(
    process: int, server: int, idle: int, process_between: int, server_between: int, others: int
) -> None:
    """It is never more than there was, and never less than what the process itself has used between its turns."""
    own = process + server + idle
    share = background_share(
        cpu_ns=process + server + process_between + server_between,
        between_ns=process_between,
        own_ns=own,
        whole_ns=own + others,
    )
    assert process_between * (1 - 1e-9) <= share * others <= (process_between + server_between) * (1 + 1e-9)


def test_background_of_processes_that_cannot_be_asked() -> None:
    """What the side's own process says is left."""
    assert background_share(cpu_ns=math.nan, between_ns=10, own_ns=100, whole_ns=200) == 0.1


BUSY_STORE = (
    """
    import threading

    def busy():
        while True:
            pass

    threading.Thread(target=busy, daemon=True).start()
"""
    + STORE
)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system lets nobody choose")
def test_a_side_that_works_in_the_background_is_seen(tmp_path: Path) -> None:
    """A thread that goes on while the other side has its turn is told apart from none."""
    measure = msgspec.structs.replace(toys(tmp_path, candidate=BUSY_STORE), metrics=("append.p50",))
    with Rounds(measure, SystemClock()) as rounds:
        found = rounds.measure(0)
    assert found.background["baseline"] < BACKGROUND < found.background["candidate"]
    with Rounds(msgspec.structs.replace(measure, cores="all"), SystemClock()) as rounds:
        assert rounds.measure(0).background == {}


# Micro-benchmarks ------------------------------------------------------------------------------------------

BENCHMARKS = """
import pytest
import toy

@pytest.mark.parametrize("number", toy.NUMBERS)
def bench_sum(benchmark, number):
    {}
    benchmark.pedantic(sum, args=(range(3),), rounds=3)
"""


@pytest.fixture
def one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the one plugin that benchmarks need: all others of this environment take a second each time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_benchmark.plugin")


def micro(tmp_path: Path, baseline: str, candidate: str, *, line: str = "pass", **how: Any) -> MicroRounds:
    """What measures a benchmark for each of a package's numbers."""
    file = tmp_path / "bench_toy.py"
    file.write_text(BENCHMARKS.format(line))
    return MicroRounds(toys(tmp_path, baseline, candidate), file, tmp_path, SystemClock(), **how)


@pytest.mark.usefixtures("one_plugin")
@pytest.mark.slow
def test_a_round_of_micro_benchmarks(tmp_path: Path) -> None:
    """Each benchmark of both sides is a metric, as are the controls; what is new is said; no server is claimed."""
    with micro(tmp_path, "NUMBERS = [1, -1]", "NUMBERS = [1, -1, 2]") as rounds:
        found = rounds.measure(0)
        assert rounds.server == {}
    assert ({"sum_1", "sum_minus_1", *CONTROLS}, ("sum_2",)) == (set(found.ratios), found.new)
    assert set(found.ratios) == set(found.values_ns)


@pytest.mark.usefixtures("one_plugin")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("baseline", "candidate", "words"),
    [
        (
            "NUMBERS = [1]",
            "NUMBERS = [2]",
            r"no benchmark of bench_toy\.py in common: the baseline has sum_1, and the candidate sum_2",
        ),
        ("NUMBERS = [1, 2]", "NUMBERS = [1]", "the candidate has no sum_2, which the baseline has"),
        (
            "NUMBERS = ['a b', 'a_b']",
            "NUMBERS = [1]",
            r"the baseline: bench_toy\.py::bench_sum\[a b\] and bench_toy\.py::bench_sum\[a_b\] would both be the "
            "metric sum_a_b",
        ),
        (
            "import nowhere_to_be_found",
            "NUMBERS = [1]",
            r"the baseline failed in bench_toy\.py: ModuleNotFoundError: No module named 'nowhere_to_be_found' "
            r"\(more in micro\.log\)",
        ),
        ("import sys; sys.modules[__name__].__file__ = '/x'", "NUMBERS = [1]", "not from the revision under test"),
        ("import os; os._exit(3)", "NUMBERS = [1]", r"failed in bench_toy\.py: pytest ended with 3"),
        ("import os; os.kill(os.getpid(), 9)", "NUMBERS = [1]", r"bench_toy\.py: pytest was ended by signal 9"),
    ],
)
def test_micro_benchmarks_that_cannot_be_compared(
    tmp_path: Path, baseline: str, candidate: str, words: str
) -> None:
    """Nothing in common, something lost, two of one name, code that fails: one line says which and why."""
    with micro(tmp_path, baseline, candidate) as rounds, pytest.raises(SideError, match=words):
        rounds.measure(0)


@pytest.mark.usefixtures("one_plugin")
@pytest.mark.slow
def test_a_micro_benchmark_of_a_package_without_an_init_file(tmp_path: Path) -> None:
    """That is what is said of it, and not where it was not loaded from."""
    with micro(tmp_path, "NUMBERS = [1]", "NUMBERS = [1]") as rounds:
        (tmp_path / "baseline" / "toy" / "__init__.py").unlink()
        with pytest.raises(SideError, match=r"the baseline failed in bench_toy\.py: toy has no __init__\.py"):
            rounds.measure(0)


@pytest.mark.slow
def test_plugins_are_up_to_the_environment(
    tmp_path: Path, one_plugin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no plugin is loaded by itself and none is named, there is no pytest-benchmark."""
    monkeypatch.delenv("PYTEST_PLUGINS")
    with (
        micro(tmp_path, "NUMBERS = [1]", "NUMBERS = [1]") as rounds,
        pytest.raises(SideError, match=r"the baseline failed in bench_toy\.py"),
    ):
        rounds.measure(0)
    assert "unrecognized arguments: --benchmark-json" in (tmp_path / "micro.log").read_text()


@pytest.mark.usefixtures("one_plugin")
@pytest.mark.slow
def test_micro_benchmarks_that_take_too_long(tmp_path: Path) -> None:
    """They are ended, and it is said after how long."""
    how = {"line": "import time; time.sleep(60)", "timeout_s": 0.5}
    with (
        micro(tmp_path, "NUMBERS = [1]", "NUMBERS = [1]", **how) as rounds,
        pytest.raises(SideError, match=r"the baseline failed in bench_toy\.py: it took longer than 0\.5 s"),
    ):
        rounds.measure(0)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("bench_append", "append"),
        ("test_append[1000]", "test_append_1000"),
        ("bench_sum[1]", "sum_1"),
        ("bench_sum[-1]", "sum_minus_1"),
        ("bench_sum[a--.5]", "sum_a_minus_5"),
        ("bench_sum[a-b]", "sum_a_b"),
    ],
)
def test_the_metric_of_a_micro_benchmark(name: str, metric: str) -> None:
    """Its name without `bench_`; a minus is told from the hyphen that joins parameters."""
    assert metric == metric_of(name) == metric_of(name, f"benchmarks/bench_toy.py::{name}")


def test_a_micro_benchmark_in_a_class() -> None:
    """The class is a part of the metric: two classes may have a benchmark of one name each."""
    assert metric_of("test_get[a::b]", "bench_toy.py::TestA::Inner::test_get[a::b]") == "TestA.Inner.test_get_a_b"


@pytest.mark.usefixtures("one_plugin")
@pytest.mark.slow
def test_micro_benchmarks_of_one_name_in_two_classes(tmp_path: Path) -> None:
    """Both are measured, each as a metric of its own."""
    with micro(tmp_path, "NUMBERS = [1]", "NUMBERS = [1]") as rounds:
        get = "    def test_get(self, benchmark):\n        benchmark.pedantic(sum, args=([1],), rounds=5)\n"
        with (tmp_path / "bench_toy.py").open("a") as file:
            file.write(f"\n\nclass TestA:\n{get}\n\nclass TestB:\n{get}")
        found = rounds.measure(0)
    assert {"TestA.test_get", "TestB.test_get"} <= set(found.ratios)


# The loop --------------------------------------------------------------------------------------------------


# About as many above what is relevant as below, and far from it.
NOISE = np.random.default_rng(5).permutation(np.linspace(-2.0, 2.1, 150)).tolist()


class Scripted:
    """Rounds as they are given, each of some seconds on a virtual clock."""

    server: Mapping[str, Any] = {}

    def __init__(self, clock: VirtualClock, ratios: Sequence[float], took_s: Sequence[float] = (2.0,)) -> None:
        self.clock = clock
        self.ratios = ratios
        self.took_s = took_s

    def measure(self, number: int) -> Round:
        took_s = self.took_s[number % len(self.took_s)]
        self.clock.sleep_ns(int(took_s * 1e9))
        return Round(
            number=number,
            at_s=0.0,
            took_s=took_s,
            first="baseline",
            ratios={**self.metrics(number), "control.ping": 0.001 * (-1) ** number},
            values_ns={},
        )

    def metrics(self, number: int) -> dict[str, float]:
        return {"append.p50": self.ratios[number % len(self.ratios)]}


class Changing(Scripted):
    """Rounds that measure, one after the other, these metrics."""

    def __init__(self, clock: VirtualClock, *metrics: str) -> None:
        super().__init__(clock, [])
        self.names = metrics

    def metrics(self, number: int) -> dict[str, float]:
        return dict.fromkeys(self.names[min(number, len(self.names) - 1)].split(), 0.0)


def gated(ratios: Sequence[float], *, limit_s: float = 300.0, **how: Any) -> Gated:
    """A gate of scripted rounds of two seconds."""
    clock = VirtualClock()
    return conduct_rounds(
        Scripted(clock, ratios, **how),
        clock=clock,
        limit_s=limit_s,
        relevant={},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("ratios", "outcome", "looks"),
    [
        ([0.30, 0.31, 0.29], "fail", [23]),
        ([0.00, 0.01, -0.01], "pass", [23]),
        (NOISE, "inconclusive", [23, 45, 75, 113, 150]),
    ],
)
def test_a_gate_stops_as_soon_as_a_look_decides(ratios: list[float], outcome: str, looks: list[int]) -> None:
    """Looks come at the planned shares of the time, and the first that can tell is the last."""
    found = gated(ratios)
    assert (outcome, looks) == (found.decision.outcome, found.looks)


@given(st.lists(st.floats(0.1, 40.0), min_size=1, max_size=9), st.sampled_from([(0.4, -0.4), (0.3,), (0.0,)]))
def test_what_is_spent_adds_up_to_alpha(took_s: list[float], ratios: tuple[float, ...]) -> None:
    """However long rounds take, a gate that goes on to its end has spent all of it, and none spends more."""
    found = gated(ratios, limit_s=120.0, took_s=took_s)
    assert len(found.looks) == len(found.spent)
    assert all(share > 0 for share in found.spent)
    assert sum(found.spent) <= 1 + 1e-9
    last = Spending(share=found.spent[-1])
    assert found.decision == judged(found.rounds, ["append.p50"], {}, last)
    if found.decision.outcome == "inconclusive":
        assert sum(found.spent) == pytest.approx(1.0)


def test_a_gate_keeps_to_its_time() -> None:
    """It begins no round that would end too late, and looks at what it has with all that is left to spend."""
    found = gated([0.3, 0.31], limit_s=47.0)
    assert (len(gated([0.4, -0.4], limit_s=47.0).rounds), found.looks) == (23, [9])


def test_a_gate_with_three_rounds_knows_little() -> None:
    """Of three rounds it says that they are too few; it does not wait for more."""
    found = gated([0.3, 0.31], limit_s=7.0)
    assert (len(found.rounds), found.decision.outcome) == (3, "inconclusive")


def test_a_metric_that_was_not_measured() -> None:
    """It is said which ones there are."""
    clock = VirtualClock()
    with pytest.raises(SideError, match=r"there is no metric 'append\.p50000'; there are append\.p50"):
        conduct_rounds(
            Scripted(clock, [0.0]),
            clock=clock,
            limit_s=60,
            relevant={},
            metrics=["append.p50000"],  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("names", "named", "words"),
    [
        (["a b", "a b", "a"], {}, "round 3 has not measured what those before it have: b in one of them only"),
        (["a", "a b"], {}, "round 2 has not measured what those before it have: b in one of them only"),
        (["a b", "a"], {"metrics": ["b"]}, "there is no metric 'b'; there are a"),
        ([""], {}, "the two sides have no metric in common"),
        (["a b"], {"relevant": {"c": 0.1}}, "there is no metric 'c'; there are a, b"),
    ],
)
def test_rounds_without_what_counts(names: list[str], named: dict[str, Any], words: str) -> None:
    """No metric drops out of a gate, or comes in later; a size is given for one that there is."""
    clock = VirtualClock()
    with pytest.raises(SideError, match=words):
        conduct_rounds(Changing(clock, *names), clock=clock, limit_s=60, **{"relevant": {}, **named})


def test_what_does_not_count_may_come_and_go() -> None:
    """Where metrics were named, no other is missed; one that is named twice counts once."""
    clock = VirtualClock()
    bench = Changing(clock, "a b", "a", "a c")
    found, again = (
        conduct_rounds(bench, clock=clock, limit_s=60, relevant={}, metrics=metrics)
        for metrics in (["a"], ["a", "a"])
    )
    assert [each.metric for each in found.decision.findings] == ["a"]
    assert found.looks == again.looks


class Breaking(Scripted):
    """Rounds that know their server from the first on, and break off at the third."""

    def metrics(self, number: int) -> dict[str, float]:
        if number == 2:
            raise SideError("the candidate failed")
        self.server = {"name": "Valkey"}
        return super().metrics(number)


def test_a_gate_that_breaks_off_knows_its_server(tmp_path: Path) -> None:
    """The rounds start their servers; what they say of them is in the record however the gate ended."""
    clock = VirtualClock()
    stage = Stage(
        server="embedded",
        port=None,
        profile="standard",
        seed=1,
        directory=tmp_path,
        clock=clock,
        progress=lambda *_: None,
    )
    findings = Findings("gate")
    chosen = GateParameters(
        baseline="b", candidate="c", target="a:b", packages=["a"], minutes=5, durability="none"
    )
    with pytest.raises(ScenarioError, match="the candidate failed"):
        Gate(lambda _: contextlib.nullcontext(Breaking(clock, [0.0]))).run(stage, chosen, findings)
    assert findings.server == {"name": "Valkey"}
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("metric", "given", "relevant", "margin"),
    [
        ("append.p50", {}, 0.05, 0.01),
        ("append.p99", {}, 0.10, 0.02),
        ("append.p99", {"append.p50": 0.3}, 0.10, 0.02),
        ("append.p50", {"append.p50": 0.30}, 0.30, 0.01),
        ("append.p50", {"append.p50": 0.02}, 0.02, 0.004),
    ],
)
def test_sizes(metric: str, given: dict[str, float], relevant: float, margin: float) -> None:
    """A size that was set replaces its kind's default; the margin stays well below it."""
    size = size_of(metric, given)
    assert (pytest.approx(relevant), pytest.approx(margin)) == (size.relevant, size.margin)
