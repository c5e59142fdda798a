"""Wheels made on the spot: of a few lines of source, or of what is installed here. Nothing is built or fetched."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def wheel(directory: Path, name: str, version: str, files: Mapping[str, str], needs: tuple[str, ...] = ()) -> Path:
    """A wheel of a library with these files, and the requirements that it states."""
    about = f"{name}-{version}.dist-info"
    stated = "".join(f"Requires-Dist: {each}\n" for each in needs)
    return _zipped(
        directory / f"{name}-{version}-py3-none-any.whl",
        about,
        {
            **{path: source.encode() for path, source in files.items()},
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{stated}".encode(),
            f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        },
    )


def installed_wheels(directory: Path, *names: str) -> None:
    """Wheels of libraries of pure Python and of what they need, as they are installed here."""
    for name in names:
        installed_wheel(directory, name)
        for each in map(Requirement, metadata.requires(name) or ()):
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                installed_wheels(directory, each.name)


def installed_wheel(directory: Path, name: str) -> Path:
    """A wheel of a library of pure Python, as it is installed here."""
    found = metadata.distribution(name)
    files = {
        str(path): path.locate().read_bytes()  # type: ignore[attr-defined]
        for path in found.files or ()
        if ".." not in path.parts
        and path.suffix != ".pyc"
        and path.name not in {"RECORD", "INSTALLER", "REQUESTED"}
    }
    [about] = {path.partition("/")[0] for path in files if ".dist-info/" in path}
    return _zipped(directory / f"{about.removesuffix('.dist-info')}-py3-none-any.whl", about, files)


def _zipped(path: Path, about: str, files: Mapping[str, bytes]) -> Path:
    record = f"{about}/RECORD"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(record, "".join(f"{name},,\n" for name in [*files, record]))
    return path
