"""The JSON Schema of `run.json`, for programs that read it: generated from the records themselves.

`docs/run.schema.json` is what `text` gives; a test compares the two, and renews the file on demand. A schema
that is written by hand says what somebody once thought the record to be; this one cannot differ from what
`harness.record.run.load` takes.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from harness.record.run import SCHEMA, Run


def run_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a run's or a suite's `run.json`."""
    generated = msgspec.json.schema(Run)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"run.json of ordershop-bench, schema {SCHEMA}",
        **generated,
    }


def text() -> str:
    """The schema as it stands in `docs/run.schema.json`."""
    return json.dumps(run_schema(), indent=2, ensure_ascii=False) + "\n"
