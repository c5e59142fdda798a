"""Revisions of a repository as files of their own, held still for as long as a gate lasts, and gone afterwards.

    room          a temporary directory; a lock in it is held until this process ends, however it ends
      owner       the lock
      base        git worktree add --detach: a revision, with nothing that git ignores
      head        another revision; or a copy of a work tree, with what would be committed of it
      ...         what else whoever measures has to put somewhere

In the end git removes its work trees (`--force` twice: one that it has only begun is locked), the room is removed,
and what git's list still says of these trees is deleted from it. Each is done whatever becomes of the others, for
an interrupt may come at any time.

Git runs in a session of its own, so that a Ctrl-C in the terminal does not reach it in the middle of tidying up;
if it has to be ended, it is asked to first, for then it removes what it has made. It runs without hooks, which are
somebody's programs, and without what a hook that has started us says about the repository and index that are
meant. Submodules are not checked out.

Who kills this process with SIGKILL, or interrupts it in the microseconds between the making of a thing and the
note that it has been made, leaves a room behind. The next gate of the same repository removes each room whose lock
nobody holds.

Rejected: `git worktree prune`. It forgets every work tree that cannot be seen at the moment, and those of others
may be on a disk that is not mounted, or outside of this container. Measuring in the user's own work tree: who
saves a file in the third of five minutes mixes two codes into one verdict.
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
# How long git may take to remove what it has made when it is asked to end.
GRACE_S = 10.0

# Where a repository keeps its packages.
_ROOTS = (".", "src")
_PREFIX = "shopbench-gate-"
_OWNER = "owner"


class WorktreeError(Exception):
    """A revision that cannot be had; its text is one clear line."""


class _RefusedError(WorktreeError):
    """What git itself has said when it did not do what it should."""


def printable(text: str) -> str:
    """A name or message as it may be shown: what is no printable character becomes an escape, as in a literal."""
    return text if text.isprintable() else repr(text)[1:-1]


def _git(directory: Path, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", str(directory)]
    try:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=git_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise WorktreeError(f"git cannot be run ({error.strerror}): is it installed?") from error
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise WorktreeError(f"git {arguments[0]} took longer than {timeout_s:.0f} s") from error
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        words = " ".join(os.fsdecode(err).split()) or f"git {arguments[0]} has ended with {process.returncode}"
        raise _RefusedError(printable(words.removeprefix("fatal: ")))
    # Names may be in any encoding, and end in whitespace.
    return os.fsdecode(out).removesuffix("\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git with all that it has started; it removes what it has made in part, if it gets the time."""
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
        WorktreeError: it is in none, or git cannot say.
    """
    try:
        return Path(_git(directory, "rev-parse", "--show-toplevel"))
    except _RefusedError as error:
        raise WorktreeError(
            f"{printable(str(directory))}: a gate compares revisions, and git finds no work tree here: {error}"
        ) from error


def commit_of(repository: Path, revision: str, name: str) -> str:
    """The commit that a revision names.

    Args:
        name: what to call the revision in an error.

    Raises:
        WorktreeError: there is none of that name.
    """
    try:
        return _git(repository, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except _RefusedError as error:
        hint = ""
        if _git(repository, "rev-parse", "--is-shallow-repository") == "true":
            hint = "; this clone is shallow: fetch the whole history"
        raise WorktreeError(f"{name} {revision!r} does not exist{hint} (git: {error})") from error


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
        WorktreeError: neither does.
    """
    for root in _ROOTS:
        if all((tree / root / package).is_dir() for package in packages):
            return (tree / root).resolve()
    lacking = ", ".join(lacking_in(tree, packages))
    detail = f"it has no package {lacking}" if lacking else f"{', '.join(packages)} are not in one directory"
    raise WorktreeError(f"{name} has another layout: {detail}")


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
def room(repository: Path) -> Iterator[Path]:
    """A temporary directory for the work trees of a gate; first, rooms of gates that were killed are removed.

    Raises:
        WorktreeError: git cannot say where it keeps its list of work trees.
    """
    _remove_abandoned(_common_of(repository))
    with contextlib.ExitStack() as stack:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        owner = stack.enter_context((path / _OWNER).open("wb"))
        # Twice, since an interrupt may come in the first; there is but one that is not ignored.
        for _ in range(2):
            stack.callback(shutil.rmtree, path, ignore_errors=True)
        # Where the file system knows no locks nobody else will get this one either, and the room is left alone.
        with contextlib.suppress(OSError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path


@contextlib.contextmanager
def checked_out(repository: Path, commit: str, tree: Path, *, timeout_s: float = TIMEOUT_S) -> Iterator[Path]:
    """A work tree of that commit, for as long as the context lasts.

    Args:
        tree: where it is to be.
        timeout_s: that git may take for it.

    Raises:
        WorktreeError: it cannot be made.
    """
    common = _common_of(repository)
    with contextlib.ExitStack() as stack:
        stack.callback(_forget, common, tree)
        stack.callback(shutil.rmtree, tree, ignore_errors=True)
        stack.callback(_remove, repository, tree)
        _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit, timeout_s=timeout_s)
        yield tree


def copied(repository: Path, packages: Sequence[str], tree: Path, module: str = "") -> Path:
    """A copy of a work tree as it stands: what a commit of all `changes` would have in it.

    Args:
        packages, module: as of `changes`.
        tree: where it is to be.

    Raises:
        WorktreeError: it cannot be made.
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
        raise WorktreeError(f"the work tree cannot be copied: {printable(str(error))}") from error
    return tree


def _common_of(repository: Path) -> Path:
    # Older versions of git know no --path-format.
    return (repository / _git(repository, "rev-parse", "--git-common-dir")).resolve()


def _registered(common: Path) -> Iterator[tuple[Path, Path]]:
    """Git's list of work trees: its own directory for each, and where the tree is, or was."""
    for file in (common / "worktrees").glob("*/gitdir"):
        try:
            content = file.read_bytes()
        except OSError:
            continue  # another git has removed it while we look
        # It names the `.git` in the tree, by a whole path or from its own directory.
        named = os.path.normpath(file.parent / os.fsdecode(content).removesuffix("\n"))
        yield file.parent, Path(named).parent


def _remove(repository: Path, tree: Path) -> None:
    # What could not be made, or was made in part, git may not take for a work tree.
    with contextlib.suppress(WorktreeError):
        _git(repository, "worktree", "remove", "--force", "--force", str(tree))


def _forget(common: Path, tree: Path) -> None:
    for listed, where in list(_registered(common)):
        if where == tree:
            shutil.rmtree(listed, ignore_errors=True)


def _remove_abandoned(common: Path) -> None:
    rooms: dict[Path, list[Path]] = {}
    for listed, where in _registered(common):
        if where.parent.name.startswith(_PREFIX):
            rooms.setdefault(where.parent, []).append(listed)
    for path, entries in rooms.items():
        # A lock that is held: its gate is at work. None to be seen: the room is not of this machine.
        with contextlib.suppress(OSError), (path / _OWNER).open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in (*entries, path):
                shutil.rmtree(each, ignore_errors=True)
