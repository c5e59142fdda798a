"""Git as a program: what it is given, so that a hook that started us does not say which repository is meant."""

from __future__ import annotations

import os

# What hooks are told about the repository at work, from `git rev-parse --local-env-vars`. The configuration in the
# environment (GIT_CONFIG_COUNT, GIT_CONFIG_PARAMETERS) stays: a CI says in it which directories are safe.
_LOCAL_NAMES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)


def git_environment() -> dict[str, str]:
    """What git is given so that it works on the repository of its directory, whatever a hook says, in English."""
    kept = {name: value for name, value in os.environ.items() if name not in _LOCAL_NAMES}
    # Nothing is written only to save work later: the user's index stays as it is.
    return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
