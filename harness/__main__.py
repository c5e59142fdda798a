"""`python -m harness` is `shopbench`."""

from harness.cli.shopbench import main

if __name__ == "__main__":
    main()
