"""`python -m tests.simulation SEED` replays a seed and prints its trace; `FIRST END` names the seeds that fail."""

# ruff: noqa: T201 - it is a command

from __future__ import annotations

import sys
import time

from tests.simulation.world import simulate


def _replay(seed: int) -> int:
    outcome = simulate(seed)
    for at, *facts in outcome.trace:
        print(f"{at:9.3f}  {'  '.join(str(fact) for fact in facts)}")
    print(outcome)
    return 1 if outcome.broken else 0


def _search(first: int, end: int) -> int:
    began, failed = time.process_time(), 0
    for seed in range(first, end):
        if (outcome := simulate(seed)).broken:
            failed += 1
            print(outcome)
    print(f"{end - first} seeds, {failed} failed, {1000 * (time.process_time() - began) / (end - first):.0f} ms each")
    return 1 if failed else 0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(_search(*numbers) if len(numbers) == 2 else _replay(numbers[0]))
