"""`python -m harness` is `shopbench`."""

import sys

# As `harness.check.checkers` has it: what is imported here cannot be interrupted without a traceback.
_EXIT_INVALID = 3


def main() -> None:
    """Run the command line; a Ctrl-C while it is still being imported ends it as one afterwards does."""
    try:
        from harness.cli.shopbench import main as shopbench
    except KeyboardInterrupt:
        sys.exit(_EXIT_INVALID)
    shopbench()


if __name__ == "__main__":
    main()
