"""The table of `docs/consumers.md`: what consumers lose or leave stuck that are written as documented.

    python examples/consumers/table.py --cache DIRECTORY --results DIRECTORY --repeat 10 --write docs/consumers.md
    python examples/consumers/table.py --cache DIRECTORY --results DIRECTORY --acceptance

For each consumer a virtual environment is made from its `requirements.txt`, once, in the cache. Then its trials
are played by `shopbench consumer check`, which keeps a `check.json` and the record of every run below the results.
What has been played is not played again: whoever ends this with Ctrl-C goes on with the same command. A consumer
whose files have changed begins anew; after a change of shopbench itself take another directory for the results.
Have nothing else run meanwhile.

`--acceptance` plays what is said of these consumers, and no more, and says of each sentence whether it is so.
The table is written between two lines of the page that stand there already; without `--write` it is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.consumers.table_words import Tried, accepted_row, report, verdict, written
from examples.consumers.tried import ACCEPTED, CONSUMERS, NAMES, ROOT, Consumer
from harness.consumer_check import result
from harness.consumer_check.result import Check
from harness.consumer_check.trials import CLAIM_MS


def environment_of(consumer: Consumer, cache: Path) -> str:
    """The environment of a consumer, made where it is not there yet; empty: it needs none."""
    if not consumer.directory:
        return ""
    wanted = consumer.requirements.read_bytes()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    path = cache / f"{consumer.directory}-{version}-{hashlib.sha256(wanted).hexdigest()[:8]}"
    made = path / "made"
    if not made.exists():
        say(f"{path}: made from {consumer.here / 'requirements.txt'}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(path)], check=True, timeout=300)
        pip = [str(path / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "-r", str(consumer.requirements)], check=True, timeout=900)
        made.touch()
    return f"{path}/"


def ended(command: Sequence[str]) -> int:
    """Run a command to its end, also where Ctrl-C asks both of us to end: it ends what it has begun first."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait(60)


class Table:
    """Plays checks, or finds those that were played.

    Args:
        cache: of environments.
        results: with a directory for each consumer.
    """

    def __init__(self, cache: Path, results: Path) -> None:
        self._cache = cache.resolve()
        self._results = results.resolve()

    def check(
        self, consumer: Consumer, trials: Sequence[str], repeat: int, claim_ms: int = CLAIM_MS
    ) -> Check | None:
        """The check of a consumer, played as far as it has not been; None where nothing came of it."""
        which = "all" if tuple(trials) == NAMES else "-".join(trials)
        claim = f"-claim-{claim_ms}" if claim_ms != CLAIM_MS else ""
        below = self._results / f"{consumer.name}-{consumer.digest()}"
        runs = below / f"{which}{claim}"
        if not runs.exists() and (below / f"all{claim}").exists():
            trials, which, runs = NAMES, "all", below / f"all{claim}"
        begun = sorted(path.parent for path in runs.glob(f"*/{result.FILE}"))
        if begun:
            found = result.load(begun[-1])
            if found.status in {"complete", "ended early"} and found.settings.repeat >= repeat:
                return found
            words = ["--resume", str(begun[-1])]
        else:
            words = ["--consumer", consumer.command(environment_of(consumer, self._cache)), "--runs", str(runs)]
            words += [] if which == "all" else ["--only", ",".join(trials)]
            words += ["--claim-ms", str(claim_ms)] if claim else []
            words += ["--shape", str(consumer.here / consumer.shape)] if consumer.shape else []
        runs.mkdir(parents=True, exist_ok=True)
        say(f"{consumer.title}: {', '.join(trials)}, {repeat} times")
        shopbench = [sys.executable, "-m", "harness", "consumer", "check", *words, "--repeat", str(repeat)]
        code = ended(shopbench)
        begun = sorted(path.parent for path in runs.glob(f"*/{result.FILE}"))
        if not begun:
            return None
        found = result.load(begun[-1])
        if found.status == "interrupted":
            raise SystemExit(f"interrupted (exit code {code}); the same command goes on")
        return found


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def accepted(table: Table, repeat: int) -> int:
    """Play what is said, say whether it is so, and answer the exit code."""
    by_name = {consumer.name: consumer for consumer in CONSUMERS}
    played: dict[tuple[str, int, int], tuple[str, ...]] = {}
    for said in ACCEPTED:
        key = (said.consumer, said.claim_ms, 1 if said.once else repeat)
        played[key] = tuple(name for name in NAMES if name in (*played.get(key, ()), *said.trials))
    checks = {
        (name, claim_ms): table.check(by_name[name], trials, times, claim_ms)
        for (name, claim_ms, times), trials in played.items()
    }
    lines, is_all_so = ["| consumer | fault | said | is it so | seen |", "|---|---|---|---|---|"], True
    for said in ACCEPTED:
        is_so, seen = verdict(said, checks[said.consumer, said.claim_ms])
        is_all_so = is_all_so and is_so
        lines.append(accepted_row(by_name[said.consumer], said, seen, is_so=is_so))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if is_all_so else 1


def main(words: Sequence[str]) -> int:
    """Play what is asked for, and print or write what was seen."""
    parser = argparse.ArgumentParser(description="What consumers of some libraries lose, repeat and leave stuck.")
    parser.add_argument(
        "--cache", type=Path, required=True, help="where the environments of the libraries are made"
    )
    parser.add_argument("--results", type=Path, required=True, help="where all that is played is kept")
    parser.add_argument("--repeat", type=int, default=10, help="how often each fault is played")
    parser.add_argument("--consumers", help="only these, with commas between them")
    parser.add_argument("--faults", help="only these, with commas between them")
    parser.add_argument("--write", type=Path, help="the page into which the results are written")
    parser.add_argument(
        "--acceptance", action="store_true", help="play what is said of them, and say whether it is so"
    )
    asked = parser.parse_args(words)
    table = Table(asked.cache, asked.results)
    if asked.acceptance:
        return accepted(table, asked.repeat)
    names = asked.consumers.split(",") if asked.consumers else [each.name for each in CONSUMERS]
    faults = tuple(asked.faults.split(",")) if asked.faults else NAMES
    for wrong in {*names} - {each.name for each in CONSUMERS} | {*faults} - {*NAMES}:
        parser.error(f"there is no {wrong}")
    found = []
    for consumer in (each for each in CONSUMERS if each.name in names):
        check = table.check(consumer, faults, asked.repeat)
        if check is not None:
            found.append(Tried(consumer, check))
    text = report(found, asked.repeat)
    if asked.write:
        asked.write.write_text(written(asked.write.read_text(encoding="utf-8"), text), encoding="utf-8")
    else:
        sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
