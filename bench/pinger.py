"""Ask `/ping` fifty times a second until standard input ends: `python -m bench.pinger PORT`. Prints the seconds that
each answer took, as JSON. A process of its own, so that what loads the server does not hold up the clock.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

EVERY = 0.02


def main() -> None:
    """Ask, each time over a connection of its own, as a health check does."""
    port, took = int(sys.argv[1]), []
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        began = time.perf_counter()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
                line.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                ok = line.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            ok = False
        took.append(time.perf_counter() - began if ok else 60.0)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
