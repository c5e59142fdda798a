"""The CRM as it is, for the same treatment."""

from __future__ import annotations

from tests.broken import start

if __name__ == "__main__":
    start()
