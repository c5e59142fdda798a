"""tabs"""

from typing import Any


def add_to_web_ui(session: Any, web_ui: Any) -> None:
    pass
