"""What a look finds, and how it is told: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import typer
from rich.markup import escape
from rich.table import Column, Table

from holdfast.commands.options import out


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `advice`: what to do, where there is something to do."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them; ends the command with 1 if one is a problem."""
    problems = sum(not finding.ok for finding in findings)
    if as_json:
        json.dump({"ok": problems == 0, "findings": [asdict(finding) for finding in findings]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        table = Table("what", "", Column("found", overflow="fold"), Column("what to do", overflow="fold"))
        for finding in findings:
            verdict = "[green]OK[/]" if finding.ok else "[bold red]problem[/]"
            table.add_row(escape(finding.what), verdict, escape(finding.found), escape(finding.advice))
        out.print(table)
        out.print("All is well." if not problems else f"Problems: {problems} of {len(findings)}.")
    if problems:
        raise typer.Exit(1)
