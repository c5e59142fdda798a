"""Reports: a run in, pages out, with nothing but the record to go by.

    findings      what the record says: verdict, the three figures that matter, doubts; masks credentials
    quantities    numbers with units: 132 µs, 1.24 ms, 412 k/s
    drain         the drain after an outage, and what was to be expected of it
    latencies     a latency log by operation, and by spans of time
    capacity_page what a search of a capacity has seen: its points, and a row for each probe
    axes, charts  the charts of a run, as Vega-Lite specifications
    javascript    the chart library, out of an installed package
    page          what all pages share: escaping, style, the data of charts
    render        the HTML page of a run
    summaries     the same result for a pull request, a CI system, a terminal
    series        its time series as CSV
    compare       two or more runs side by side: page, Markdown, terminal
    index         a directory of runs as a page
    schema        the JSON Schema of `run.json`

    from harness.record.run import load
    from reports import write_reports

    write_reports(load(Path("runs/20261123-141502-append")), Path("runs/20261123-141502-append"))

Everything here is a function of a saved record: no server, no clock, no network, and no printing. The same
record gives the same bytes, on any machine and in any year, as long as the chart library is the same.
"""

from __future__ import annotations

from pathlib import Path

from harness.record.run import Record, write_atomically
from reports.render import render
from reports.series import series_csv
from reports.summaries import junit, markdown, terminal

__all__ = ["junit", "markdown", "render", "terminal", "write_reports"]


def write_reports(record: Record, directory: Path) -> Path:
    """Write the page, `summary.md`, `junit.xml` and `series.csv`, each as a whole, and return the page's path.

    Args:
        record: the run to report on.
        directory: an existing directory, usually the run's own.

    Raises:
        RunError: a part of the record cannot be read.
        OSError: a file cannot be written.
    """
    # All of it is made before any of it is written: a record that cannot be read leaves no half of a report.
    shapes = {
        "summary.md": markdown(record),
        "junit.xml": junit(record),
        "series.csv": series_csv(record),
        "report.html": render(record),
    }
    for name, text in shapes.items():
        write_atomically(directory / name, text.encode())
    return directory / "report.html"
