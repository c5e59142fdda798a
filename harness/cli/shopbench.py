"""The command line: `shopbench run | list | report | check | consumer check | compare | index | web | gate ...`.

    shopbench run                        every scenario, on an embedded server, then a report
    shopbench run append --server redis://127.0.0.1:6379/15 --param rate_per_s=5000
    shopbench list                       scenarios, their parameters and their profiles
    shopbench report runs/20261123-141502-append
    shopbench check runs/20261123-141502-append     the same run, judged again
    shopbench consumer check --consumer 'node app.js'    what does a consumer lose when it is killed?
    shopbench compare runs/20261123-141502-append runs/20261124-090114-append
    shopbench index runs
    shopbench web lag                    server, shop and Locust's web UI: start runs, watch them, kill the CRM
    shopbench capacity append --p99 5ms  how many appends a second can there be?
    shopbench gate --baseline main       is the work tree slower than that revision?
    shopbench versus embedded /usr/bin/redis-server     which of two servers takes less time?
    shopbench doctor --server URL        what does that server allow, and what would a run there lack?
    shopbench selfcheck                  does the instrument tell the truth on this machine?
    shopbench history runs.jsonl append  the figures of many runs, as CSV
    shopbench gate-errors                how often is the gate wrong?

Each command is a file of this package. Exit codes:

    0   every verdict passes
    1   a verdict fails
    2   usage or infrastructure
    3   the measurement is not valid
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

import harness
from harness.check.budgets import BudgetError
from harness.check.checkers import EXIT_INVALID, EXIT_USAGE
from harness.cli.capacity import capacity_command
from harness.cli.check import check_command
from harness.cli.compare import compare_command
from harness.cli.consumer import consumer_app
from harness.cli.doctor import UnfitError, doctor_command
from harness.cli.gate import gate_command
from harness.cli.gate_errors import gate_errors_command
from harness.cli.history import history_command
from harness.cli.index import index_command
from harness.cli.list import list_command
from harness.cli.matrix import matrix_command
from harness.cli.options import UsageError
from harness.cli.report import report_command
from harness.cli.run import run_command
from harness.cli.selfcheck import selfcheck_command
from harness.cli.shown import say, warn
from harness.cli.versus import versus_command
from harness.cli.web import web_command
from harness.conduct.interrupt import heed_ctrl_c
from harness.conduct.scenario import ParameterError
from harness.gate.revisions import RevisionError
from harness.host.plugins import PluginError
from harness.record.run import RunError
from harness.server.url import UrlError

# In the order of the help.
COMMANDS: dict[str, Callable[..., int]] = {
    "run": run_command,
    "history": history_command,
    "capacity": capacity_command,
    "matrix": matrix_command,
    "gate": gate_command,
    "gate-errors": gate_errors_command,
    "versus": versus_command,
    "selfcheck": selfcheck_command,
    "doctor": doctor_command,
    "list": list_command,
    "report": report_command,
    "check": check_command,
    "compare": compare_command,
    "index": index_command,
    "web": web_command,
}
# Of these, the text is one line that says what is wrong.
_TOLD = (UsageError, UnfitError, ParameterError, RunError, RevisionError, UrlError, BudgetError, PluginError)
# By its version typer uses click, or brings a copy of it: the base of all that a command line can be wrong in.
_ClickError: type[Any] = typer.BadParameter.__bases__[0].__bases__[0]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(consumer_app, name="consumer")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        say(f"shopbench {harness.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Measure event stores on Redis Streams: append, replay, lag, recovery; and account for every event."""


def main() -> None:
    """Run the command line; bad input gets one line and exit code 2."""
    heed_ctrl_c()
    if sys.argv[1:2] == ["selfcheck"] and "--gate" in sys.argv:
        _fail("selfcheck --gate is a command of its own now: shopbench gate-errors, with the same options")
    try:
        # Not what this process happens to be called, such as `python -m harness`.
        code = app(prog_name="shopbench", standalone_mode=False)
    except _ClickError as error:
        message = " ".join(error.format_message().split())
        if not message:  # no command at all: the help has been shown
            sys.exit(EXIT_USAGE)
        _fail(message)
    except _TOLD as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INVALID)
    except Exception:  # noqa: BLE001 - Python would end with 1, which says that something is slower, or was lost
        traceback.print_exc()
        sys.exit(EXIT_USAGE)
    # Of a Ctrl-C outside of a scenario typer has made the 130 of a shell.
    sys.exit(EXIT_INVALID if code == 130 else code or 0)


def _fail(message: str) -> NoReturn:
    warn(f"shopbench: {message}")
    sys.exit(EXIT_USAGE)
