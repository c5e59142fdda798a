"""The system under test that somebody names: by its entry point, or as `module:attribute`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import cast

from harness.host.plugins import found
from harness.record.parameters import nearest
from harness.system.port import NotStartedError, SystemUnderTest

GROUP = "ordershop_bench.systems"


def system_named(name: str) -> SystemUnderTest:
    """The system of a name.

    Args:
        name: of an entry point, or `module:attribute`; the module may be in the working directory.

    Raises:
        NotStartedError: there is none, or what there is has not what a system has.
        PluginError: an entry point cannot be imported.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        return _as_system(name, _registered(name))
    # Behind all else, so that nothing of ours is hidden by a file that lies there.
    sys.path.append(str(Path.cwd()))
    try:
        return _as_system(name, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise NotStartedError(f"there is no system {name!r}: {error}") from error
    finally:
        sys.path.pop()


def _registered(name: str) -> object:
    known = found(GROUP)
    if name not in known:
        near = nearest(name, known)
        meant = f"did you mean {near}? " if near else ""
        raise NotStartedError(f"there is no system {name!r}; {meant}give the name of one, or module:attribute")
    return known[name]


def _as_system(name: str, given: object) -> SystemUnderTest:
    lacking = [each for each in _parts() if not hasattr(given, each)]
    if lacking:
        raise NotStartedError(f"{name!r} is no system: it lacks {', '.join(lacking)}")
    return cast(SystemUnderTest, given)


def _parts() -> list[str]:
    return [name for name in vars(SystemUnderTest) if not name.startswith("_")]
