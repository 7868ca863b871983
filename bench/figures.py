"""A figure, the table of all, and the file that keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Figure:
    """One measured value beside its floor. `bar` says what is wanted of it, `ok` whether it is so."""

    id: str
    what: str
    unit: str
    value: float
    floor: float | None
    ratio: float | None
    bar: str
    ok: bool


def at_most(id: str, what: str, unit: str, value: float, floor: float, times: float) -> Figure:
    """A figure that should be small, against `times` its floor."""
    ratio = value / floor if floor else float("inf")
    return Figure(id, what, unit, round(value, 4), round(floor, 4), round(ratio, 3), f"<= {times} x", ratio <= times)


def at_least(
    id: str,
    what: str,
    unit: str,
    value: float,
    floor: float,
    times: float,
    above: float = 0.0,
) -> Figure:
    ratio = value / floor if floor else 0.0
    bar = f">= {times} x" + (f", >= {above:g}" if above else "")
    return Figure(
        id, what, unit, round(value, 1), round(floor, 1), round(ratio, 3), bar, ratio >= times and value >= above
    )


def below(id: str, what: str, unit: str, value: float, limit: float, floor: float | None = None) -> Figure:
    """A figure with a limit of its own."""
    ratio = round(value / floor, 3) if floor else None
    return Figure(id, what, unit, round(value, 4), floor, ratio, f"<= {limit:g} {unit}", value <= limit)


def show(figures: list[Figure], console: Console) -> None:
    """Print the table."""
    table = Table("id", "what", "value", "floor", "ratio", "bar", "")
    for f in figures:
        floor = "" if f.floor is None else f"{f.floor:g}"
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        table.add_row(
            f.id, f.what, f"{f.value:g} {f.unit}", floor, ratio, f.bar, "[green]ok[/]" if f.ok else "[red]missed[/]"
        )
    console.print(table)


def keep(figures: list[Figure]) -> None:
    """Write the results; of earlier runs those stay that were not measured now. `make figures` shows them in README."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = {entry["id"]: entry for entry in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    known |= {figure.id: asdict(figure) for figure in figures}
    RESULTS.write_text(json.dumps([known[key] for key in sorted(known)], indent=1) + "\n")


def into_readme() -> None:
    """Write the results that were kept into README's table."""
    figures = [Figure(**entry) for entry in json.loads(RESULTS.read_text())]
    text = README.read_text()
    rows = ["| id | what | value | floor | ratio | bar |", "|---|---|---|---|---|---|"]
    for f in figures:
        floor = "" if f.floor is None else f"{f.floor:g}"
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        mark = "" if f.ok else " (missed)"
        rows.append(f"| {f.id} | {f.what} | {f.value:g} {f.unit} | {floor} | {ratio} | {f.bar}{mark} |")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}")


if __name__ == "__main__":
    into_readme()
