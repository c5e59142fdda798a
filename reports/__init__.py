"""Reports: a run in, pages out, with nothing but the record to go by.

    findings      what the record says: verdict, the three figures that matter, doubts; masks credentials
    quantities    numbers with units: 132 µs, 1.24 ms, 412 k/s
    axes, charts  the charts of a run, as Vega-Lite specifications
    javascript    the chart library, out of an installed package
    render        the HTML page
    summaries     the same result for a pull request, a CI system, a terminal

    from harness.run import load
    from reports import write_reports

    write_reports(load(Path("runs/20261123-141502-append")), Path("runs/20261123-141502-append"))

Everything here is a function of a saved record: no server, no clock, no network, and no printing. The same
record gives the same bytes, on any machine and in any year, as long as the chart library is the same.
"""

from __future__ import annotations

from pathlib import Path

from harness.run import Record, write_atomically
from reports.render import render
from reports.summaries import junit, markdown, terminal

__all__ = ["junit", "markdown", "render", "terminal", "write_reports"]


def write_reports(record: Record, directory: Path) -> Path:
    """Write `report.html`, `summary.md` and `junit.xml`, each as a whole, and return the page's path.

    Args:
        record: the run to report on.
        directory: an existing directory, usually the run's own.

    Raises:
        RunError: a part of the record cannot be read.
        OSError: a file cannot be written.
    """
    page = directory / "report.html"
    write_atomically(directory / "summary.md", markdown(record).encode())
    write_atomically(directory / "junit.xml", junit(record).encode())
    write_atomically(page, render(record).encode())
    return page
