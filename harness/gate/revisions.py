"""Revisions of a repository as files of their own, held still for as long as a gate lasts, and gone afterwards.

    room          a temporary directory; a lock in it is held until this process ends, however it ends
      owner       the lock
      base        git read-tree -u: a revision, with nothing that git ignores
      base.index  what git notes of it
      head        another revision; or a copy of a work tree, with what would be committed of it
      ...         what else whoever measures has to put somewhere

The repository itself stays as it is: git is told of another work tree and another index, and notes neither. So in
the end the room is removed, and that is all.

Git runs in a session of its own; if it has to be ended, so are the filters that it has started. It runs without
hooks, which are somebody's programs, and without what a hook that has started us says about the repository and
index that are meant. Filters and line ends are those of the revision. Submodules are not checked out.

Who kills this process with SIGKILL, or interrupts it in the microseconds between the making of a thing and the
note that it has been made, leaves a room behind. The next gate removes each room whose lock nobody holds.

Rejected: `git worktree add`, which keeps a list in the repository, to be tidied up whatever becomes of us. `git
archive` leaves out what a release leaves out (`export-ignore`). Measuring in the user's own work tree: who saves a
file in the third of five minutes mixes two codes into one verdict.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.host.git import git_environment

# A large checkout, through filters that fetch from a server, takes its time; who has none left can interrupt it.
TIMEOUT_S = 1_800.0
# How long git may take to end when it is asked to.
GRACE_S = 10.0

# Where a repository keeps its packages.
_ROOTS = (".", "src")
_PREFIX = "shopbench-gate-"
_OWNER = "owner"


class RevisionError(Exception):
    """A revision that cannot be had; its text is one clear line."""


class _RefusedError(RevisionError):
    """What git itself has said when it did not do what it should."""


def printable(text: str) -> str:
    """A name or message as it may be shown: what is no printable character becomes an escape, as in a literal."""
    return text if text.isprintable() else repr(text)[1:-1]


def _git(directory: Path, *arguments: str, index: Path | None = None, timeout_s: float = TIMEOUT_S) -> str:
    environment = git_environment() | ({} if index is None else {"GIT_INDEX_FILE": str(index)})
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", str(directory)]
    try:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise RevisionError(f"git cannot be run ({error.strerror}): is it installed?") from error
    try:
        out, err = communicated(process, timeout_s)
    except subprocess.TimeoutExpired as error:
        raise RevisionError(f"git {_verb(arguments)} took longer than {timeout_s:.0f} s") from error
    if process.returncode:
        words = " ".join(os.fsdecode(err).split()) or f"git {_verb(arguments)} has ended with {process.returncode}"
        raise _RefusedError(printable(words.removeprefix("fatal: ")))
    # Names may be in any encoding, and end in whitespace.
    return os.fsdecode(out).removesuffix("\n")


def _verb(arguments: Sequence[str]) -> str:
    return next(each for each in arguments if not each.startswith("-"))


def communicated(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    """What a program that leads its session has written; it is ended, with all its own, where that is cut off.

    Raises:
        TimeoutExpired: it takes longer.
    """
    with process:
        try:
            return process.communicate(timeout=timeout_s)
        except BaseException:
            end_group(process)
            raise


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program that leads its session, with all that it has started; it may tidy up, if it gets the time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        # None: nobody has waited for it, so its number is still its own.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_S)
            return


def repository_of(directory: Path) -> Path:
    """The top of the work tree that a directory is in.

    Raises:
        RevisionError: it is in none, or git cannot say.
    """
    try:
        return Path(_git(directory, "rev-parse", "--show-toplevel"))
    except _RefusedError as error:
        raise RevisionError(
            f"{printable(str(directory))}: a gate compares revisions, and git finds no work tree here: {error}"
        ) from error


def commit_of(repository: Path, revision: str, name: str) -> str:
    """The commit that a revision names.

    Args:
        name: what to call the revision in an error.

    Raises:
        RevisionError: there is none of that name.
    """
    try:
        return _git(repository, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except _RefusedError as error:
        hint = ""
        if _git(repository, "rev-parse", "--is-shallow-repository") == "true":
            hint = "; this clone is shallow: fetch the whole history"
        raise RevisionError(f"{name} {revision!r} does not exist{hint} (git: {error})") from error


def _files(repository: Path, *arguments: str) -> set[str]:
    return set(filter(None, _git(repository, *arguments).split("\0")))


def _untracked(repository: Path, packages: Sequence[str], module: str) -> set[str]:
    top = module.partition(".")[0]
    places = [*packages, *([top, f"{top}.py"] if top else ())]
    paths = [str(Path(root, place)) for root in _ROOTS for place in places]
    return _files(repository, "ls-files", "--others", "--exclude-standard", "-z", "--", *paths)


def changes(repository: Path, commit: str, packages: Sequence[str], module: str = "") -> list[str]:
    """The files of a work tree that differ from a commit, and those of the packages that are in none.

    Args:
        module: whose top-level package or file counts as one of the packages.
    """
    return sorted(
        _files(repository, "diff", "--name-only", "-z", commit) | _untracked(repository, packages, module)
    )


def source_of(tree: Path, packages: Sequence[str], name: str) -> Path:
    """The directory of a work tree that holds all of some packages: its top, or `src`.

    Args:
        name: what to call the tree in an error.

    Raises:
        RevisionError: neither does.
    """
    for root in _ROOTS:
        if all((tree / root / package).is_dir() for package in packages):
            return (tree / root).resolve()
    lacking = ", ".join(lacking_in(tree, packages))
    detail = f"it has no package {lacking}" if lacking else f"{', '.join(packages)} are not in one directory"
    raise RevisionError(f"{name} has another layout: {detail}")


def lacking_in(tree: Path, packages: Sequence[str]) -> list[str]:
    """Those of some packages that a work tree has neither at its top nor in `src`."""
    return [package for package in packages if not any((tree / root / package).is_dir() for root in _ROOTS)]


def adapter_of(tree: Path, module: str) -> Path | None:
    """The top-level package or file of a work tree that a module is in; None where the tree does not have it."""
    parts = module.split(".")
    for root in _ROOTS:
        path = (tree / root).joinpath(*parts)
        if path.is_dir() or path.with_suffix(".py").is_file():
            top = tree / root / parts[0]
            return top if top.is_dir() else top.with_suffix(".py")
    return None


@contextlib.contextmanager
def room() -> Iterator[Path]:
    """A temporary directory for the code of a gate; first, rooms of gates that were killed are removed."""
    _remove_abandoned()
    with contextlib.ExitStack() as stack:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        owner = stack.enter_context((path / f"{_OWNER}.new").open("wb"))
        # Twice, since an interrupt may come in the first; there is but one that is not ignored.
        for _ in range(2):
            stack.callback(shutil.rmtree, path, ignore_errors=True)
        # Where the file system knows no locks nobody else will get this one either, and the room is left alone.
        with contextlib.suppress(OSError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever finds a lock finds it held.
        (path / f"{_OWNER}.new").rename(path / _OWNER)
        yield path


def _remove_abandoned() -> None:
    for owner in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        # A lock that is held: its gate is at work. One that cannot be opened: it is somebody else's.
        with contextlib.suppress(OSError), owner.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent, ignore_errors=True)


def checked_out(repository: Path, commit: str, tree: Path, *, timeout_s: float = TIMEOUT_S) -> Path:
    """The files of that commit, as a checkout of it would have them.

    Args:
        tree: where they are to be, in a `room`.
        timeout_s: that git may take for it.

    Raises:
        RevisionError: they cannot be had.
    """
    tree.mkdir()
    # A sparse checkout is its user's choice for the work tree; what is measured is the whole revision.
    how = ["--reset", "-u", "--no-sparse-checkout", "--no-recurse-submodules"]
    command = [f"--work-tree={tree}", "read-tree", *how, commit]
    _git(repository, *command, index=tree.with_name(f"{tree.name}.index"), timeout_s=timeout_s)
    return tree


def copied(repository: Path, packages: Sequence[str], tree: Path, module: str = "") -> Path:
    """A copy of a work tree as it stands: what a commit of all `changes` would have in it.

    Args:
        packages, module: as of `changes`.
        tree: where it is to be.

    Raises:
        RevisionError: it cannot be made.
    """
    top = repository.resolve()
    names = _files(repository, "ls-files", "--cached", "-z") | _untracked(repository, packages, module)
    try:
        tree.mkdir()
        for name in sorted(names):
            file = top / name
            # Neither what is deleted, nor a submodule, nor what lies behind a symbolic link: the link is copied.
            if (file.is_symlink() or file.is_file()) and file.parent.resolve() == file.parent:
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, tree / name, follow_symlinks=False)
    except OSError as error:
        raise RevisionError(f"the work tree cannot be copied: {printable(str(error))}") from error
    return tree
