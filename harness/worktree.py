"""A revision's source in a work tree of its own, which is gone afterwards, however it ends.

    with checked_out(repository, commit) as tree:      git worktree add --detach <temporary directory> <commit>
        ...                                            git worktree remove --force, git worktree prune

Git runs in a session of its own, so that a Ctrl-C in the terminal does not end it in the middle of tidying up; and
without hooks, for a post-checkout hook is somebody's program. Submodules are not checked out.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

TIMEOUT_S = 120
# Where a repository keeps its packages.
_ROOTS = (".", "src")


class WorktreeError(Exception):
    """A revision that cannot be had; its text is one clear line."""


def _git(directory: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-C", str(directory), *arguments],  # noqa: S607 - any git
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise WorktreeError(f"git cannot be run: {error}") from error
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"git {arguments[0]} has ended with {done.returncode}"
        raise WorktreeError(words.removeprefix("fatal: "))
    return done.stdout.strip()


def repository_of(directory: Path) -> Path:
    """The top of the work tree that a directory is in.

    Raises:
        WorktreeError: it is in none.
    """
    try:
        return Path(_git(directory, "rev-parse", "--show-toplevel"))
    except WorktreeError as error:
        raise WorktreeError(f"{directory}: a gate compares revisions, and this is no git work tree") from error


def commit_of(repository: Path, revision: str) -> str:
    """The commit that a revision names.

    Raises:
        WorktreeError: there is none of that name.
    """
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except WorktreeError as error:
        hint = ""
        if _git(repository, "rev-parse", "--is-shallow-repository") == "true":
            hint = "; this clone is shallow: fetch the whole history"
        raise WorktreeError(f"the baseline {revision!r} does not exist{hint}") from error


def changes(repository: Path, packages: Sequence[str]) -> list[str]:
    """The files that differ from the last commit, and those of the packages that are in none."""
    roots = [str(Path(root) / package) for root in _ROOTS for package in packages]
    changed = _git(repository, "diff", "--name-only", "-z", "HEAD")
    unknown = _git(repository, "ls-files", "--others", "--exclude-standard", "-z", "--", *roots)
    return sorted({name for name in f"{changed}\0{unknown}".split("\0") if name})


def source_of(tree: Path, packages: Sequence[str], name: str) -> Path:
    """The directory of a work tree that holds all of some packages: its top, or `src`.

    Args:
        name: what to call the tree in an error.

    Raises:
        WorktreeError: it holds them nowhere.
    """
    for root in _ROOTS:
        if all((tree / root / package).is_dir() for package in packages):
            return (tree / root).resolve()
    raise WorktreeError(f"{name} has another layout: it has no package {', '.join(packages)}")


@contextlib.contextmanager
def checked_out(repository: Path, commit: str) -> Iterator[Path]:
    """A work tree of that commit, for as long as the context lasts.

    Raises:
        WorktreeError: it cannot be made.
    """
    parent = Path(tempfile.mkdtemp(prefix="shopbench-baseline-"))
    tree = parent / "tree"
    try:
        _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        yield tree
    finally:
        # What could be made only in part is not known to git as a work tree; prune forgets it.
        with contextlib.suppress(WorktreeError):
            _git(repository, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(parent, ignore_errors=True)
        with contextlib.suppress(WorktreeError):
            _git(repository, "worktree", "prune")
