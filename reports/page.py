"""What all pages have in common: how text gets into one, and what one carries along.

    template, values --page--> HTML      values are escaped, credentials in them masked
    drawing          --script_data-->    JSON in a script element, which nothing in it can end

All text of a record is hostile. Jinja2 escapes whatever a template prints, and `printable` masks
credentials before (the environment's `finalize`, so no template can forget). The data of charts stand in
one `<script type="application/json">`, with `<`, `>` and `&` written as escapes of JSON, so that neither
`</script>` nor `<!--` can occur in it.

A page's Content-Security-Policy forbids every request. Scripts and styles are inline, hence
'unsafe-inline'; 'unsafe-eval' is not needed, since Vega-Embed is asked for `ast: true`, with which Vega walks
the syntax trees of its expressions (vega-interpreter, part of the bundle) in place of compiling them. So
even an expression that slipped in from a record could not become code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from reports import findings
from reports.charts import axes
from reports.charts.view import Chart
from reports.findings import printable
from reports.intervals import interval
from reports.javascript import bundle
from reports.quantities import exact, quantity


def page(template: str, **values: Any) -> str:
    """A page out of a template, with the style sheet that all pages share.

    Args:
        template: its file in `templates/`.
        values: what it prints; plain strings are escaped.
    """
    made = _environment().get_template(template).render(style=static("report.css"), **values)
    return made.strip() + "\n"


def static(name: str) -> Markup:
    """A file of `static/`, to stand in a page as it is."""
    text = files("reports").joinpath("static", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own style sheets and scripts


def chart_script() -> Markup:
    """What draws the charts of a page with the libraries, and writes numbers as `reports.quantities` does."""
    quantities = files("harness").joinpath("locust", "static", "quantities.js").read_text(encoding="utf-8")
    return Markup(quantities) + static("report.js")  # noqa: S704 - our own script


def libraries() -> Markup:
    """The chart library, to stand in a script element."""
    return Markup(bundle())  # noqa: S704 - the chart library's own script


def drawing(runs: Mapping[str, Sequence[Chart]]) -> Markup:
    """All that the browser needs to draw charts.

    Args:
        runs: charts by the id of the element whose charts move together.
    """
    return script_data(
        {"config": axes.CONFIG, "runs": [{"id": key, "charts": _drawn(key, c)} for key, c in runs.items()]}
    )


def _drawn(identity: str, charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Charts with their rows as arrays: half the size of objects."""
    found = []
    for chart in charts:
        fields = list(dict.fromkeys(field for row in chart.rows for field in row))
        found.append(
            {
                "id": f"{identity}-{chart.key}",
                "spec": {k: v for k, v in chart.spec.items() if k != "datasets"},
                "fields": fields,
                "rows": [[row.get(field) for field in fields] for row in chart.rows],
                "title": chart.title,
                "unit": chart.unit,
                "hover": chart.hover,
                "along": chart.along,
                "timed": chart.timed,
                "series": chart.series,
            }
        )
    return found


def script_data(value: Any) -> Markup:
    """JSON that may stand in a script element: nothing in it can end the element, or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), default=msgspec.to_builtins, allow_nan=False)
    # json.dumps leaves ASCII only, so U+2028 and U+2029 are escaped already.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 - escaped in the line above


def _finalized(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "told": findings.told,
        "spoken": findings.spoken,
        "moment": findings.moment,
        "repeats": findings.repeats,
    }
    environment.globals |= {"lasted": findings.lasted, "interval": interval}
    environment.globals |= {"exact": exact, "quantity": quantity}
    return environment
