"""From the command line of `shopbench gate` to a gate that can be conducted: revisions, work tree, sides, sizes.

    candidate   the work tree that the command is given in, as it stands; committed, unless changes are allowed
    baseline    another revision of the same repository, checked out beside it for as long as the gate lasts

Whatever is wrong with them is said in one line before anything is measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import worktree
from harness.conducting import ParameterError, Stage
from harness.cores import Cores
from harness.gate import Bench, Gate, GateParameters, size_of
from harness.gate_micro import MicroRounds
from harness.gate_rounds import METRICS, Measure, Rounds, Side
from harness.servers import Durability


class GateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; fields as in `GateParameters` and `Stage`.

    Attributes:
        micro: a pytest-benchmark file to gate, in place of a target.
        allow_dirty: whether the candidate may have changes that are in no commit.
    """

    baseline: str
    target: str
    packages: tuple[str, ...]
    micro: Path | None
    minutes: float
    relevant: Mapping[str, float]
    metrics: tuple[str, ...]
    durability: Durability
    cores: Cores
    allow_dirty: bool


def sizes(given: Sequence[str]) -> dict[str, float]:
    """Relevant sizes from words such as `append.p50=10%`.

    Raises:
        ParameterError: a word that is none.
    """
    found = {}
    for word in given:
        metric, _, size = word.partition("=")
        number = size.strip().removesuffix("%")
        try:
            share = float(number) / (100 if size.strip().endswith("%") else 1)
            size_of(metric, {metric: share})
        except ValueError as error:
            raise ParameterError(
                f"a relevant size is given as METRIC=SIZE, such as append.p50=10%, not {word!r}"
            ) from error
        found[metric] = share
    return found


@contextlib.contextmanager
def prepared(options: GateOptions, directory: Path) -> Iterator[tuple[Gate, GateParameters]]:
    """A gate of the work tree that a directory is in, with its baseline checked out.

    Raises:
        ParameterError: a metric that there is not.
        WorktreeError: revisions or work trees that cannot be gated.
    """
    for metric in (*options.metrics, *options.relevant) if options.micro is None else ():
        if metric not in METRICS:
            raise ParameterError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    repository = worktree.repository_of(directory)
    commit = worktree.commit_of(repository, options.baseline)
    changed = worktree.changes(repository, options.packages)
    if changed and not options.allow_dirty:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise worktree.WorktreeError(
            f"the work tree has changes that are in no commit ({', '.join(changed[:3])}{more}); "
            "commit them, or give --allow-dirty"
        )
    candidate = worktree.commit_of(repository, "HEAD") + ("+" if changed else "")
    with worktree.checked_out(repository, commit) as tree:
        names: dict[Side, str] = {
            "baseline": f"the baseline {options.baseline}",
            "candidate": "the candidate",
        }
        trees: dict[Side, Path] = {"baseline": tree, "candidate": repository}
        sources = {side: worktree.source_of(trees[side], options.packages, names[side]) for side in trees}
        parameters = GateParameters(
            baseline=commit,
            candidate=candidate,
            target=str(options.micro or options.target),
            packages=list(options.packages),
            minutes=options.minutes,
            durability=options.durability,
            cores=options.cores,
            relevant=dict(options.relevant),
            metrics=list(options.metrics),
        )

        def opened(stage: Stage) -> contextlib.AbstractContextManager[Bench]:
            measure = Measure(
                target=options.target,
                packages=options.packages,
                sources=sources,
                names=names,
                server=stage.server,
                durability=options.durability,
                cores=options.cores,
                seed=stage.seed,
                metrics=options.metrics,
                scratch=tree.parent,
            )
            if options.micro is not None:
                return MicroRounds(measure, options.micro.resolve(), stage.directory, stage.clock)
            return Rounds(measure, stage.clock)

        yield Gate(opened), parameters
