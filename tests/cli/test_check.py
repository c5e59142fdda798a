"""`shopbench check`: stored runs of every kind of breach are judged again, and what differs is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.check.judge import Checker
from harness.conduct import judging
from harness.host import plugins
from harness.record import evidence
from harness.record.run import Record, Verdict, load, save, sealed
from harness.record.salvage import salvaged
from harness.record.sections import Sections
from tests.forks import Ended, shopbench
from tests.stored import BREACHES, HERE, Breach


def check(directory: Path, *more: str) -> Ended:
    return shopbench("check", str(directory), *more, cwd=directory.parent)


def copied(name: str, directory: Path) -> Path:
    """A stored run that a test may break."""
    return shutil.copytree(HERE / name, directory / name)


@pytest.mark.parametrize(("name", "breach"), BREACHES.items())
def test_a_stored_breach_is_found_again(name: str, breach: Breach) -> None:
    """Each is the verdict that it is called by, and no other fails but those beside it; nothing differs."""
    done = check(HERE / name)
    failed = [line for line in done.out.splitlines() if line.startswith("FAIL")]
    assert done.out.splitlines()[-1].endswith("each as it was stored"), done.out
    if not breach.verdict:
        assert (done.code, failed) == (0, [])
        return
    *others, line = failed
    assert line.split()[1] == f"{breach.scenario}.{breach.verdict}"
    assert breach.detail in line
    assert [other.split()[1] for other in others] == [f"{breach.scenario}.{name}" for name in breach.beside]
    assert done.code == 1


def test_one_checker(tmp_path: Path) -> None:
    """What is asked for is judged, by a whole name or its end; the exit code is of that."""
    for name in ("nothing_lost", "lag.nothing_lost"):
        done = check(HERE / "drops", "--checker", name)
        assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert check(HERE / "drops", "--checker", "in_order", "--checker", "answered").code == 0


def test_a_checker_that_there_is_not(tmp_path: Path) -> None:
    """A slip of the pen is told in one line, with what was meant."""
    done = check(HERE / "drops", "--checker", "nothing_lots")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("shopbench: this run has no checker 'nothing_lots'; did you mean nothing_lost?")


def test_what_differs_is_said(tmp_path: Path) -> None:
    """A verdict that was stored otherwise, one that was not stored, and one that no checker finds."""
    where = copied("drops", tmp_path)
    run = load(where).run
    changed = [
        replace(verdict, status="PASS", detail="all is well") if verdict.name.endswith("nothing_lost") else verdict
        for verdict in run.verdicts
        if not verdict.name.endswith("in_order")
    ]
    gone = Verdict(name="lag.guessed", status="PASS", detail="by an older shopbench")
    save(where, replace(run, verdicts=[*changed, gone]))
    done = check(where)
    assert done.out.splitlines()[-3:] == [
        "different: lag.nothing_lost was PASS (all is well), and is FAIL",
        "new: lag.in_order",
        "gone: lag.guessed was PASS (by an older shopbench)",
    ]
    assert done.code == 1


@pytest.mark.parametrize("broken", ["gone", "cut"])
def test_what_rests_on_missing_evidence_is_unknown(tmp_path: Path, broken: str) -> None:
    """Without the evidence nobody knows, and what rests on other files stands; the report says so, too."""
    where = copied("healthy", tmp_path)
    path = where / evidence.FILE
    if broken == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:500])
    done = check(where, "--checker", "nothing_lost", "--checker", "send_lag")
    said = {line.split()[1]: line.split()[0] for line in done.out.splitlines() if line.startswith(("PASS", "UNK"))}
    assert said == {"lag.send_lag": "PASS", "lag.nothing_lost": "UNKNOWN"}
    assert done.code == 3
    assert shopbench("report", str(where), cwd=tmp_path).code == 0
    page = (where / "report.html").read_text()
    assert "; it was PASS: each of" in page
    assert "lag.evidence" in page
    assert [verdict.status for verdict in load(where).run.verdicts] == ["PASS"] * len(load(where).run.verdicts)


def test_an_older_run_still_renders(tmp_path: Path) -> None:
    """Before schema 2 no verdict said what it rests on: those stand, and judged again they are UNKNOWN."""
    where = copied("healthy", tmp_path)
    (where / evidence.FILE).unlink()
    run = load(where).run
    save(where, replace(run, schema=1, files={}, verdicts=[replace(each, rests_on=()) for each in run.verdicts]))
    assert salvaged(load(where)).run.verdicts == load(where).run.verdicts
    assert shopbench("report", str(where), cwd=tmp_path).code == 0
    page = (where / "report.html").read_text()
    assert "cannot be judged again" in page
    done = check(where, "--checker", "nothing_lost")
    assert "evidence.zip is not there: an older shopbench made this run, or somebody removed it" in done.out
    assert done.code == 3


def test_what_is_no_scenario_is_refused(tmp_path: Path) -> None:
    """A gate is judged while it runs, and what was never run has no checkers."""
    where = copied("healthy", tmp_path)
    save(where, replace(load(where).run, scenario="gate"))
    done = check(where)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("this shopbench has no checkers for 'gate'\n")


def test_a_checker_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It judges each run, under the scenario's name; one that crashes is UNKNOWN, and the others stand."""

    def crash(record: Record) -> Verdict:
        raise ZeroDivisionError("by zero")

    def short(record: Record) -> Verdict:
        return Verdict(name="short", status="PASS", detail=f"it took {record.run.duration_s:.0f} s")

    added = {"short": Checker("short", short), "crashing": Checker("crashing", crash, reads=("line",))}
    monkeypatch.setattr(plugins, "found", lambda group: added if group == judging.CHECKERS else {})
    from scenarios.lag import scenario

    run = judging.judged_run(scenario, load(HERE / "healthy"))
    found = {verdict.name: (verdict.status, verdict.detail) for verdict in run.verdicts}
    assert found["lag.short"][0] == "PASS"
    assert found["lag.crashing"] == ("UNKNOWN", "the checker crashed: ZeroDivisionError: by zero")
    assert found["lag.nothing_lost"][0] == "PASS"


@pytest.mark.parametrize("name", ["timeline.jsonl", "latency.hlog", "evidence.zip"])
@pytest.mark.parametrize("how", ["cut", "another"])
def test_a_file_that_is_not_as_the_run_left_it(tmp_path: Path, name: str, how: str) -> None:
    """Cut at a line's end, or another run's: what rests on it is UNKNOWN, also in the report; nothing fails."""
    where = copied("healthy", tmp_path)
    if how == "another":
        shutil.copyfile(HERE / "reverses" / name, where / name)
    else:
        lines = (where / name).read_bytes().splitlines(keepends=True)
        (where / name).write_bytes(b"".join(lines[: max(1, len(lines) // 2)]))
    done = check(where)
    assert done.code == 3
    assert "FAIL" not in done.out
    assert f"UNKNOWN lag.load_reached  {name} is not as the run left it" in done.out
    assert shopbench("report", str(where), cwd=tmp_path).code == 0
    page = (where / "report.html").read_text()
    assert f"{name} is not as the run left it" in page
    assert "none was lost" not in page


def test_what_contradicts_itself_is_unknown(tmp_path: Path) -> None:
    """Effects that are not those of the events that had one decide nothing, though each section can be read."""
    where = copied("healthy", tmp_path)
    sections = Sections()
    sections.add_all(load(where).evidence, lambda name: None if name == "effects" else name)
    sections.add_order("effects", [])
    sections.save(where)
    save(where, sealed(where, load(where).run))
    done = check(where, "--checker", "nothing_lost", "--checker", "nothing_twice")
    assert done.code == 3
    assert done.out.count("effects and applied contradict each other") == 2
