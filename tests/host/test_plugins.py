"""What other packages add is found by its entry point, and what cannot be taken is told in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.host.plugins import PluginError, found

GROUP = "ordershop_bench.tried"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path in which packages can be installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(directory: Path, package: str, entries: dict[str, str], **modules: str) -> None:
    """Install a package, as far as its metadata and its modules go."""
    metadata = directory / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, source in modules.items():
        (directory / f"{name}.py").write_text(source)


def test_a_group_to_which_nobody_adds_is_empty() -> None:
    """Without packages that add something there is nothing, and no error."""
    assert found("ordershop_bench.no_such_group") == {}


def test_what_packages_add_is_found_by_name(installed: Path) -> None:
    """The objects themselves, by the names of their entry points, in order."""
    install(installed, "plug_b", {"b": "plugged_b:value"}, plugged_b="value = 2\n")
    install(installed, "plug_a", {"c": "plugged_a:more", "a": "plugged_a:value"}, plugged_a="value, more = 1, 3\n")
    assert list(found(GROUP).items()) == [("a", 1), ("b", 2), ("c", 3)]


def test_two_of_one_name_are_refused(installed: Path) -> None:
    """Neither wins by the order of a path: the error names both, and their packages."""
    install(installed, "plug_d", {"d": "plugged_d:value"}, plugged_d="value = 1\n")
    install(installed, "plug_e", {"d": "plugged_e:value"}, plugged_e="value = 2\n")
    with pytest.raises(PluginError) as refused:
        found(GROUP)
    assert str(refused.value) == (
        f"{GROUP}: two are called 'd': plugged_d:value (plug_d) and plugged_e:value (plug_e)"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import no_such_module_of_ours\n", "ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
        ("other = 1\n", "AttributeError: module 'plugged_f' has no attribute 'value'"),
        ("raise ValueError('first line\\nsecond')\n", "ValueError: first line"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(
    installed: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    """The error names what is added, from where, by whom, and the reason."""
    install(installed, "plug_f", {"f": "plugged_f:value"}, plugged_f=source)
    monkeypatch.delitem(sys.modules, "plugged_f", raising=False)
    with pytest.raises(PluginError) as refused:
        found(GROUP)
    assert str(refused.value) == f"{GROUP}: 'f' cannot be imported from plugged_f:value (plug_f): {why}"
