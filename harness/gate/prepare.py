"""From the command line of `shopbench gate` to a gate that can be conducted: revisions, work trees, sides, sizes.

    candidate   the work tree that the command is given in, as it stands at that moment; committed, unless changes
                are allowed
    baseline    another revision of the same repository

Both are measured from copies that lie beside each other for as long as the gate lasts, so that neither where a
file lies nor who edits one meanwhile makes a difference: of a committed candidate its last commit is checked out,
like the baseline; of one with changes the files are copied. Their paths are of one length.

    room/base/src/mystore       the baseline's path has    mystore -> room/base/src/mystore
                                                           benchmarks -> room/head/benchmarks
    room/head/src/mystore       the candidate's            mystore -> room/head/src/mystore
    room/head/benchmarks                                   benchmarks -> room/head/benchmarks

In this picture the target is `benchmarks.gating:target` and the package is `mystore`: a target that is in none of
the packages is the candidate's on both sides.

What is not copied, and should be left alone while a gate is at work: the harness itself, a file of
micro-benchmarks with what it imports from beside it, and all libraries. Both sides have the same ones in a round;
who edits them has others in the next. Unless a side's libraries were asked for, by constraints: then each side has
an environment of its own (`harness.gate.libraries`), and the revision may be the same.

Whatever is wrong is said in one line before anything is measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.conduct.scenario import ParameterError, Stage
from harness.gate import revisions
from harness.gate.libraries import FOR_MICRO, Environment, differences, environment, lines_of, requirements_of
from harness.gate.loop import Bench, Gate, GateParameters, size_of
from harness.gate.metrics import METRICS
from harness.gate.micro import MicroRounds
from harness.gate.rounds import Measure, Rounds
from harness.gate.side import SIDES, Side
from harness.host.cores import Cores
from harness.server.server import Durability


class GateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; fields as in `GateParameters` and `Stage`.

    Attributes:
        micro: a pytest-benchmark file to gate, in place of a target.
        allow_dirty: whether the candidate may have changes that are in no commit.
        constraints: of a side, a file of constraints on its libraries; empty: both have those of this interpreter.
        environments: where these libraries are kept.
        allow_same: whether it is measured even if nothing differs between the sides.
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
    constraints: Mapping[Side, Path] = {}
    environments: Path = Path()
    allow_same: bool = False


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides' code, held still.

    Attributes:
        packages: their names.
        baseline, candidate: the revisions; the candidate's with `+` where it has changes.
        trees: of each side, the directory that all of its files are in.
        sources, names, adapter: as in `harness.gate.rounds.Measure`.
        room: the directory that all of it is in; removed with it.
    """

    packages: tuple[str, ...]
    baseline: str
    candidate: str
    trees: Mapping[Side, Path]
    sources: Mapping[Side, Path]
    names: Mapping[Side, str]
    adapter: Path | None
    room: Path


def sizes(given: Sequence[str]) -> dict[str, float]:
    """Relevant sizes from words such as `append.p50=10%`.

    Raises:
        ParameterError: a word that is none.
    """
    found = {}
    for word in given:
        metric, _, size = word.partition("=")
        number = size.strip().removesuffix("%")
        is_percent = size.strip().endswith("%")
        try:
            share = float(number) / (100 if is_percent else 1)
            size_of(metric, {metric: share})
        except ValueError as error:
            raise ParameterError(
                f"a relevant size is given as METRIC=SIZE, such as append.p50=10%, not {word!r}"
            ) from error
        if share >= 1 and not is_percent:
            raise ParameterError(f"{metric}={number}: {number} is {share * 100:g} %; did you mean {number}%?")
        found[metric] = share
    return found


def top_level(packages: Sequence[str]) -> tuple[str, ...]:
    """Names of packages, as they can come from each side's source: each once, and whole.

    Raises:
        ParameterError: a path, a part of a package, or nothing at all.
    """
    # A shell completes the name of a directory with a slash.
    names = [package.removesuffix("/") for package in packages]
    for name in names:
        top = name.partition(".")[0]
        if name != top and all(part.isidentifier() for part in name.split(".")):
            raise ParameterError(f"{name} is a part of a package, and a side has the whole of one: name {top}")
        if not name.isidentifier():
            raise ParameterError(f"a package is given by its name, such as mystore, not {name!r}")
    return tuple(dict.fromkeys(names))


def module_of(target: str) -> str:
    """The module that a target is in.

    Raises:
        ParameterError: it is not named as one.
    """
    module, _, factory = target.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), factory)):
        raise ParameterError(f"a target is named package.module:factory, not {target!r}")
    return module


@contextlib.contextmanager
def both_sides(options: GateOptions, directory: Path) -> Iterator[Sides]:
    """The code of both sides, for as long as the context lasts.

    Args:
        directory: in the candidate's work tree.

    Raises:
        ParameterError: a package or target that cannot be, or is not there.
        RevisionError: revisions or work trees that cannot be gated.
    """
    module = module_of(options.target) if options.micro is None else ""
    packages = top_level(options.packages)
    repository = revisions.repository_of(directory)
    commit = revisions.commit_of(repository, options.baseline, "the baseline")
    if lacking := revisions.lacking_in(repository, packages):
        raise ParameterError(
            f"there is no package {', '.join(lacking)} here; name yours with --target or --package"
        )
    head = revisions.commit_of(repository, "HEAD", "the candidate")
    changed = revisions.changes(repository, head, packages, module)
    if changed and not options.allow_dirty:
        shown = ", ".join(map(revisions.printable, changed[:3]))
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise revisions.RevisionError(
            f"the work tree has changes that are in no commit ({shown}{more}); commit them, or give --allow-dirty"
        )
    names: dict[Side, str] = {
        "baseline": f"the baseline {revisions.printable(options.baseline)}",
        "candidate": "the candidate",
    }
    with revisions.room() as room:
        trees: dict[Side, Path] = {"baseline": room / "base", "candidate": room / "head"}
        revisions.checked_out(repository, commit, trees["baseline"])
        if changed:
            revisions.copied(repository, packages, trees["candidate"], module)
        else:
            revisions.checked_out(repository, head, trees["candidate"])
        is_own = module.partition(".")[0] in packages
        yield Sides(
            packages=packages,
            baseline=commit,
            candidate=head + ("+" if changed else ""),
            trees=trees,
            sources={side: revisions.source_of(trees[side], packages, names[side]) for side in trees},
            names=names,
            adapter=None if is_own or not module else revisions.adapter_of(trees["candidate"], module),
            room=room,
        )


def environments_of(
    options: GateOptions, sides: Sides, tell: Callable[[str], None] = lambda _: None
) -> dict[Side, Environment]:
    """Of each side, the environment with its libraries; empty where nobody has asked for one.

    Args:
        tell: told what takes its time.

    Raises:
        LibrariesError: one cannot be made.
        ParameterError: there is nothing in which the sides differ.
    """
    if not options.constraints:
        return {}
    besides = FOR_MICRO if options.micro is not None else ()
    needed = {side: [*requirements_of(sides.trees[side], sides.names[side]), *besides] for side in SIDES}
    for path in options.constraints.values():
        lines_of(path)  # what cannot be read is said before the other side's are installed
    found = {
        side: environment(
            options.environments,
            needed[side],
            options.constraints.get(side),
            sides.names[side],
            tree=sides.trees[side],
            tell=tell,
        )
        for side in SIDES
    }
    is_same = sides.baseline == sides.candidate and found["baseline"].versions == found["candidate"].versions
    if is_same and not options.allow_same:
        raise ParameterError(
            f"nothing differs: both sides are {sides.baseline[:12]}, with the same "
            f"{len(found['baseline'].versions)} libraries; to measure that all the same, give --allow-same"
        )
    return found


@contextlib.contextmanager
def prepared(
    options: GateOptions, directory: Path, tell: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Gate, GateParameters]]:
    """A gate of the work tree that a directory is in, with the code of both sides beside each other.

    Args:
        tell: told what takes its time before the first round.

    Raises:
        ParameterError: a metric that there is not; a package or target that cannot be, or is not there; nothing in
            which the sides differ.
        RevisionError: revisions or work trees that cannot be gated.
        LibrariesError: a side's libraries cannot be had.
    """
    for metric in (*options.metrics, *options.relevant) if options.micro is None else ():
        if metric not in METRICS:
            raise ParameterError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    with both_sides(options, directory) as sides:
        environments = environments_of(options, sides, tell)
        versions = [environments[side].versions if environments else {} for side in SIDES]
        parameters = GateParameters(
            baseline=sides.baseline,
            candidate=sides.candidate,
            target=revisions.printable(str(options.micro or options.target)),
            packages=list(sides.packages),
            minutes=options.minutes,
            durability=options.durability,
            cores=options.cores,
            relevant=dict(options.relevant),
            metrics=list(options.metrics),
            constraints={side: revisions.printable(str(path)) for side, path in options.constraints.items()},
            libraries=differences(*versions),
        )

        def opened(stage: Stage) -> contextlib.AbstractContextManager[Bench]:
            for side, each in environments.items():
                # As constraints, with which the same environment can be made again.
                lines = [f"{name}=={version}\n" for name, version in sorted(each.versions.items())]
                (stage.directory / f"{side}-libraries.txt").write_text("".join(lines))
            measure = Measure(
                target=options.target,
                packages=sides.packages,
                sources=sides.sources,
                names=sides.names,
                adapter=sides.adapter,
                server=stage.server,
                durability=options.durability,
                cores=options.cores,
                seed=stage.seed,
                metrics=options.metrics,
                pythons={side: each.python for side, each in environments.items()},
                scratch=sides.room,
            )
            if options.micro is not None:
                return MicroRounds(measure, options.micro.resolve(), stage.directory, stage.clock)
            return Rounds(measure, stage.clock)

        yield Gate(opened), parameters
