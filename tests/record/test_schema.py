"""The JSON Schema of `run.json`: current, valid itself, and what real records keep to.

SHOPBENCH_UPDATE_GOLDEN=1 python -m pytest tests/record/test_schema.py    writes docs/run.schema.json anew
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import report_runs

from harness.record.run import Run
from reports.schema import run_schema, text

COMMITTED = Path(__file__).parents[2] / "docs" / "run.schema.json"


def record(directory: Path) -> Any:
    return json.loads((directory / "run.json").read_bytes())


def test_committed_schema_is_current() -> None:
    """docs/run.schema.json is what the records' own types say today."""
    if os.environ.get("SHOPBENCH_UPDATE_GOLDEN") == "1":
        COMMITTED.write_text(text(), encoding="utf-8")
    assert COMMITTED.read_text(encoding="utf-8") == text()


def test_schema_is_one() -> None:
    """The schema keeps to draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(run_schema())


@pytest.mark.parametrize(
    "name", ["append_run", "outage_run", "empty_run", "interrupted_run", "suite_run", "hostile_run"]
)
def test_records_keep_to_it(tmp_path: Path, name: str) -> None:
    """Every kind of run, as the instrument writes it, is valid."""
    getattr(report_runs, name)(tmp_path)
    jsonschema.validate(record(tmp_path), run_schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "done"),
        ("figures", [{"name": "x", "value": "1", "unit": "s"}]),
        ("verdicts", [{}]),
        ("seed", "1"),
    ],
)
def test_what_is_no_record_does_not(tmp_path: Path, field: str, value: Any) -> None:
    """A field of the wrong type, or of an unknown word, is refused."""
    report_runs.append_run(tmp_path, seconds=1, per_s=5)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record(tmp_path) | {field: value}, run_schema())


def test_every_field_is_described() -> None:
    """The schema names exactly the fields that a run has."""
    assert set(run_schema()["$defs"]["Run"]["properties"]) == set(Run.__struct_fields__)
