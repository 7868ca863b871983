"""What a store's statements read, counted independently of the machine's speed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from holdfast.store import SqlStore

STRIDE = 20
"""SQLite's instructions between two calls of its progress handler."""


class Costs:
    """`read`: SQLite's instructions, or the blocks that PostgreSQL touched, since `reset`."""

    def __init__(self) -> None:
        self.read = 0
        self.worst: tuple[int, str] = (0, "")

    def reset(self) -> None:
        """Count from here."""
        self.read, self.worst = 0, (0, "")


@contextmanager
def counted(store: SqlStore, url: str) -> Iterator[Costs]:
    """Count what the store's statements read. The store is open; one in memory or on PostgreSQL."""
    costs = Costs()
    driver: Any = store._driver
    if url.startswith("sqlite"):
        raw: Any = driver._connection.raw
        running: list[Any] = [0, ""]

        def step() -> int:
            costs.read += STRIDE
            running[0] += STRIDE
            costs.worst = max(costs.worst, (running[0], running[1]))
            return 0

        def begun(statement: str) -> None:
            running[:] = 0, statement

        raw.set_trace_callback(begun)
        raw.set_progress_handler(step, STRIDE)
        yield costs
        raw.set_progress_handler(None, 0)
        raw.set_trace_callback(None)
        return
    listening = [False]

    def before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if listening[0] or not statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            return
        listening[0] = True
        try:
            blocks = _explained(connection, statement, parameters)
        finally:
            listening[0] = False
        costs.read += blocks
        costs.worst = max(costs.worst, (blocks, statement))

    engine = driver._engine.sync_engine
    event.listen(engine, "before_cursor_execute", before)
    yield costs
    event.remove(engine, "before_cursor_execute", before)


def _explained(connection: Any, statement: str, parameters: Any) -> int:
    """Run it for its costs and undo it; reads outside of a transaction have nothing to be undone."""
    reads = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    if not reads:
        connection.exec_driver_sql("SAVEPOINT costs")
    found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters).scalar_one()
    if not reads:
        connection.exec_driver_sql("ROLLBACK TO costs")
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
