"""Sets the clock of a process back by ``DAYS_BACK`` days, where that is in its environment; imported before anything asks it."""

from __future__ import annotations

import datetime as dt
import os
import time

if days := float(os.environ.get("DAYS_BACK", "0")):
    clock = time.time
    time.time = lambda: clock() - days * 86400  # type: ignore[assignment]

    from workbench.store import tables

    tables.now = lambda timespec="seconds": (dt.datetime.now(dt.UTC) - dt.timedelta(days)).isoformat(timespec=timespec)
