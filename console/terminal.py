"""What the commands of `steward` share: options, whom they ask, and how they answer on a terminal or to a script."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.client import WRONG_USE, Client, Stopped, token_from

if TYPE_CHECKING:
    from infra.settings import Settings

DEFAULT_FILE = "steward.toml"
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the ticket and the audit.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `steward incidents` or `steward waiting` shows it.")]
Everything = Annotated[bool, typer.Option("--all", help="Every cluster.")]
SomeCluster = Annotated[str | None, typer.Argument(metavar="[CLUSTER]", show_default=False)]
OneCluster = Annotated[str, typer.Argument(metavar="CLUSTER")]


@dataclass
class Given:
    """The global options of this call."""

    config: Path | None = None
    token_file: Path | None = None


given = Given()


def load_settings() -> Settings:
    from infra.settings import load

    return load(given.config)


def load_commands() -> Any:
    from bootstrap import commands

    return commands


def open_client() -> Client:
    """The console: $STEWARD_CONSOLE, else where the configuration says that it listens."""
    url = os.environ.get("STEWARD_CONSOLE") or load_settings().console.address()
    return Client(url, token_from(given.token_file))


def configured(settings: Settings, name: str) -> Any:
    found = settings.clusters.get(name)
    if found is None:
        there = ", ".join(sorted(settings.clusters)) or "none"
        raise Stopped(WRONG_USE, f"no cluster {cleaned(name)!r}; configured are: {there}")
    return found


def emit(as_json: bool, data: Any, text: str) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2) if as_json else text)


def emit_said(as_json: bool, said: dict[str, Any]) -> None:
    emit(as_json, said, said["text"])


def complain(text: str) -> None:
    """On stderr; as a line of the log where this process keeps one, so that whoever collects it can parse them all."""
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        structlog.get_logger().error("stopped", reason=text)
    else:
        print(text, file=sys.stderr)


def cleaned(text: str) -> str:
    from schemas.text import clean

    return clean(text)


def moment_of(at_ms: int) -> str:
    from schemas.text import moment

    return moment(at_ms)


def as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing") -> str:
    """Columns that fit the terminal; whole lines where nobody looks at one. No markup: the text is of others."""
    if not rows:
        return empty
    cells = [[cleaned(str(cell)) or "-" for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return "\n".join("\t".join(row) for row in [list(columns), *cells])
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")


def as_records(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "nothing") -> str:
    """Row under row, a line a column, for what is too wide for a table."""
    width = max(map(len, columns))
    shown = []
    for n, row in enumerate(rows, 1):
        lines = [f"{name:<{width}}  {cleaned(str(cell)) or '-'}" for name, cell in zip(columns, row, strict=True)]
        shown.append("\n".join([f"-- {n} of {len(rows)}", *lines]))
    return "\n".join(shown) or empty
