"""Run the checks: `python -m verify [ONLY]`, where ONLY is the beginning of an id, such as G3."""

from __future__ import annotations

import asyncio
import signal
import sys

from rich.console import Console

from tests.support.environment import isolate
from verify import (
    access,
    checklist,
    crashes,
    delivery,
    disconnects,
    faces,
    field_pages,
    field_received,
    field_sent,
    field_sessions,
    first_hour,
    history,
    http_limits,
    instances,
    links,
    load,
    moving,
    network,
    operations,
    outage,
    promises,
    receiving,
    room,
    seeds,
    sending,
    simulation,
    torture,
    truth,
    waha,
)
from verify.harness import CHECKS, run_all

TOPICS = (
    access,
    promises,
    receiving,
    sending,
    delivery,
    crashes,
    room,
    history,
    instances,
    simulation,
    torture,
    truth,
    disconnects,
    links,
    load,
    outage,
    seeds,
    faces,
    field_received,
    field_sent,
    field_sessions,
    checklist,
    operations,
    moving,
    network,
    waha,
    field_pages,
    first_hour,
    http_limits,
)


def main() -> int:
    """0 when all passed, 1 when one failed, 2 when none was chosen, 130 when it was told to stop."""
    isolate()
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    console = Console(soft_wrap=True)
    if not any(one.id.startswith(only) for one in CHECKS):
        console.print(f"No check begins with {only!r}. There are: {', '.join(one.id for one in CHECKS)}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # what was started is ended, and told
    try:
        return 1 if asyncio.run(run_all(only, console)) else 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
