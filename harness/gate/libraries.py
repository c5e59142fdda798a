"""A side's own libraries: an environment made of the project's dependencies, under constraints of that side.

    OLD.txt                     redis==5.0.8
    what it does not name       held at the version that is installed here
    pyproject.toml of the side  dependencies = ["redis>=5", "msgspec"]
                                    |
                                    v   python -m venv; pip install
    <cache>/<digest>/           constraints.txt, requirements.txt, pip.log, packages.json, venv

A file of one line changes that one library and nothing else: what it does not name is the same on both sides. A
name without a version (`hiredis`) frees a library that the file's others cannot be installed with.
A side without a file has the libraries that are installed here.

The digest is over everything that an environment is made of, so one that is there is taken as it is. Both sides'
paths are of one length. `packages.json` is written last: an environment without it was not finished, and is made
anew.

Rejected: `pip install` of the project itself. It runs the project's build, and brings a copy of the very package
that each side has in its own source.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from harness.gate.revisions import RevisionError, communicated, printable
from harness.host.own_python import Elsewhere

# A resolver that looks back through many versions takes its time; whoever has none left can interrupt it.
TIMEOUT_S = 1_800.0
# What runs a file of micro-benchmarks.
FOR_MICRO = ("pytest", "pytest-benchmark")

_PACKAGES = "packages.json"
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_NESTED = re.compile(r"\s*(?:-c|--constraint|-r|--requirement)(?:\s*=\s*|\s+|(?<=-[cr]))(\S+)\s*$")
_LIST = (
    "import json, importlib.metadata as m; "
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


# So many libraries that differ are named in a sentence.
_SHOWN = 4


class LibrariesError(RevisionError):
    """A revision whose libraries cannot be had; its text is one clear line."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A library that is not the same on both sides.

    Attributes:
        library: its name.
        baseline, candidate: the version there; None where there is none.
    """

    library: str
    baseline: str | None
    candidate: str | None

    def __str__(self) -> str:
        return f"{self.library} {self.candidate or 'absent'} against {self.baseline or 'absent'}"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Libraries that are installed.

    Attributes:
        python: the interpreter that has them.
        versions: of each library, by its normalized name.
    """

    python: str
    versions: dict[str, str]


def default_directory() -> Path:
    """Where environments are kept if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "shopbench" / "environments"


def normalized(name: str) -> str:
    """A library's name as it is compared (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def differences(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> list[Difference]:
    """The libraries whose versions differ, in the order of their names.

    Args:
        baseline, candidate: versions by name.
    """
    return [
        Difference(library=name, baseline=baseline.get(name), candidate=candidate.get(name))
        for name in sorted(baseline.keys() | candidate.keys())
        if baseline.get(name) != candidate.get(name)
    ]


def named(differing: Sequence[Difference]) -> str:
    """What differs, in a few words."""
    shown = [str(each) for each in differing[:_SHOWN]]
    if more := len(differing) - len(shown):
        shown.append(f"{more} more")
    return ", ".join(shown) or "the same libraries"


def lines_of(path: Path, seen: frozenset[Path] = frozenset()) -> list[str]:
    """The lines of a file of requirements or constraints, with those of the files that it names.

    Args:
        path: the file.
        seen: the files that have named it.

    Raises:
        LibrariesError: one of them cannot be read, or they name each other in a circle.
    """
    shown = printable(str(path))
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LibrariesError(f"{shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LibrariesError(f"{shown}: not a text in UTF-8 (byte {error.start + 1})") from error
    found = []
    for line in content.splitlines():
        if nested := _NESTED.match(line):
            other = path.parent / nested[1]
            if other.resolve() in {each.resolve() for each in (path, *seen)}:
                raise LibrariesError(f"{shown}: it names {nested[1]}, which names it")
            found += lines_of(other, seen | {path})
        else:
            found.append(line)
    return found


def held(lines: Sequence[str], installed: Mapping[str, str]) -> list[str]:
    """Constraints that keep what others do not name at the version that is installed.

    Args:
        lines: of these others.
        installed: versions by normalized name.
    """
    theirs = {normalized(name[1]) for line in lines if (name := _NAME.match(line))}
    return [f"{name}=={version}" for name, version in sorted(installed.items()) if name not in theirs]


def installed_here() -> dict[str, str]:
    """The libraries of this interpreter that came from an index, by normalized name."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        name: str | None = each.metadata["Name"]
        # Of what was installed from a directory, such as the project itself, no index has that very version.
        if name and each.read_text("direct_url.json") is None:
            found.setdefault(normalized(name), each.version)
    return found


def requirements_of(tree: Path, side: str) -> list[str]:
    """What a project says that it needs: in its `pyproject.toml`, or else in its `requirements.txt`.

    Args:
        tree: the project's top.
        side: what to call it in an error.

    Raises:
        LibrariesError: it says so in neither, or a file cannot be read.
    """
    path = tree / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise LibrariesError(f"{side}: pyproject.toml cannot be read ({printable(str(error))})") from error
    found = project.get("dependencies") if isinstance(project, dict) else None
    if isinstance(found, list):
        return [str(each) for each in found]
    if (tree / "requirements.txt").is_file():
        return lines_of(tree / "requirements.txt")
    raise LibrariesError(
        f"{side} does not say which libraries it needs: neither in [project] dependencies of a pyproject.toml, "
        "nor in a requirements.txt, at its top"
    )


def pips_words(log: str) -> str:
    """Why pip has failed, in its own words, as one line: its errors, and what a conflict is caused by.

    Args:
        log: everything that it has said.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if "The conflict is caused by:" in lines:
        begun = lines.index("The conflict is caused by:") + 1
        causes = itertools.takewhile(lambda line: not line.startswith("To fix this"), lines[begun:])
        return printable(f"{' '.join(errors[:1]).rstrip('.')}: {'; '.join(causes)}")
    return printable("; ".join(dict.fromkeys(errors)) or " ".join(lines[-1:]) or "it has said nothing")


def environment(
    directory: Path,
    requirements: Sequence[str],
    constraints: Path | None,
    side: str,
    *,
    tree: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> Environment:
    """An environment with these requirements, which is made unless it is there.

    Args:
        directory: where environments are kept.
        requirements: as pip takes them.
        constraints: a file of them; None: what is installed here.
        side: what to call it in an error.
        tree: the project's top, to which a path among the requirements is relative.
        tell: told what takes its time.

    Raises:
        LibrariesError: it cannot be made.
    """
    lines = [] if constraints is None else lines_of(constraints)
    # First as they stand, so that a number of a line in what pip says is that of the file.
    all_constraints = "\n".join([*lines, *held(lines, installed_here())]) + "\n"
    all_requirements = "\n".join(requirements) + "\n"
    made_of = "\0".join([all_constraints, all_requirements, sys.version, sys.base_prefix])
    place = directory.absolute() / hashlib.sha256(made_of.encode()).hexdigest()[:24]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            if not (place / _PACKAGES).exists():
                tell(f"installing the libraries of {side} into {place}")
                (place / "constraints.txt").write_text(all_constraints)
                (place / "requirements.txt").write_text(all_requirements)
                _make(place, constraints, side, tree)
            versions = msgspec.json.decode((place / _PACKAGES).read_bytes(), type=dict[str, str])
    except OSError as error:
        raise LibrariesError(f"{printable(str(place))}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise LibrariesError(f"{printable(str(place / _PACKAGES))}: {error}; remove {place}") from error
    return Environment(python=str(place / "venv" / "bin" / "python"), versions=versions)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Nobody else makes this environment meanwhile; who is late finds it made."""
    with (place / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(place: Path, constraints: Path | None, side: str, tree: Path) -> None:
    venv, log = place / "venv", place / "pip.log"
    shutil.rmtree(venv, ignore_errors=True)
    python = str(venv / "bin" / "python")
    install = ["install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    chosen = ["-r", str(place / "requirements.txt"), "-c", str(place / "constraints.txt")]
    _done([sys.executable, "-m", "venv", str(venv)], log, f"the environment of {side} cannot be made", tree)
    given = "constraints.txt" if constraints is None else str(constraints)
    _done(
        [python, "-m", "pip", *install, *chosen],
        log,
        f"the libraries of {side} cannot be installed",
        tree,
        lambda words: words.replace(str(place / "constraints.txt"), given),
    )
    listed = _done([python, "-c", _LIST], log, f"the libraries of {side} cannot be listed", tree)
    try:
        versions = msgspec.json.decode(listed, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise LibrariesError(f"the libraries of {side} cannot be listed: {error}") from error
    found = {normalized(name): version for name, version in versions.items()}
    partial = place / f".{_PACKAGES}"
    partial.write_bytes(msgspec.json.encode(found))
    partial.replace(place / _PACKAGES)


def _done(
    command: Sequence[str],
    log: Path,
    failure: str,
    directory: Path,
    shown: Callable[[str], str] = lambda words: words,
) -> str:
    """What a program has written, once it has ended well.

    Args:
        log: where it all goes, too.
        failure: what it means if it does not.
        directory: in which it runs.
        shown: how its words are to be read.

    Raises:
        LibrariesError: it has not.
    """
    process = subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**Elsewhere.environment(), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"},
        start_new_session=True,
    )
    try:
        out, _ = communicated(process, TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise LibrariesError(f"{failure}: it takes longer than {TIMEOUT_S:.0f} s") from error
    words = out.decode(errors="replace")
    log.write_text(words, encoding="utf-8")
    if process.returncode:
        raise LibrariesError(f"{failure}: {shown(pips_words(words))} (more in {printable(str(log))})")
    return words
