"""The JavaScript that draws: Vega, Vega-Lite and Vega-Embed, out of an installed package.

`vl_convert.javascript_bundle()` makes one script of the libraries that vl-convert-python carries; no copy of
them lies in this repository. Making it takes more than a second, and its result depends on nothing but the
package's version. So it is kept: in this process, and as a file in the user's cache directory
(`$XDG_CACHE_HOME/shopbench`, or `~/.cache/shopbench`) under a name with that version. A cache that cannot be
read or written is no error, only slower.
"""

from __future__ import annotations

import functools
import os
from importlib.metadata import version
from pathlib import Path

import vl_convert

from harness.record.run import write_atomically

# Counts up when `_made` changes, so that no older script is taken out of the cache.
_RECIPE = 1


def bundle() -> str:
    """The libraries as one classic script, which leaves `vegaEmbed` on `window`."""
    return _bundle(cache_directory())


def cache_directory() -> Path | None:
    """Where the script is kept between processes; None where the user has no home."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if configured and Path(configured).is_absolute():
        return Path(configured) / "shopbench"
    try:
        return Path.home() / ".cache" / "shopbench"
    except RuntimeError:
        return None


@functools.cache
def _bundle(directory: Path | None) -> str:
    if directory is None:
        return _made()
    path = directory / f"vega-embed-{_RECIPE}-vl-convert-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # Not there yet, or not readable.
        script = _made()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(path, script.encode())
    except OSError:
        # Read-only, full or not ours: the next process makes it again.
        return script
    return script


@functools.cache
def _made() -> str:
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Neither is in today's bundle; in a string of a later one, the escapes mean the same.
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    # The bundle declares hundreds of short names; in a function of its own they are nobody else's globals.
    return f"(function () {{\n{script}\n}})();"
