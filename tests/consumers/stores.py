"""A good consumer whose effects are rows in a database of its own, `stored.db`, behind a unique key.

stores.py            consume
stores.py print      print the ID of each row: the probe
"""

from __future__ import annotations

import sqlite3
import sys
from http.client import HTTPConnection
from typing import Any

DATABASE = sqlite3.connect("stored.db", timeout=5)


def stored(_: HTTPConnection, entries: list[Any]) -> int:
    """Have the effects of some entries."""
    with DATABASE:
        DATABASE.executemany("insert or ignore into had values (?)", [(each["event_id"],) for _, each in entries])
    return 200


if __name__ == "__main__":
    with DATABASE:
        DATABASE.execute("create table if not exists had (event_id text primary key)")
    if sys.argv[1:] == ["print"]:
        sys.stdout.writelines(f"{event_id}\n" for (event_id,) in DATABASE.execute("select event_id from had"))
    else:
        import good  # it stands beside this file

        good.post = stored
        good.main()
