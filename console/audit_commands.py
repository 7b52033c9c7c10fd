"""`steward audit` and `steward replay`: what is on record, asked, handed out, checked and decided again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from console.client import NO, UNREACHED, WRONG_USE, Stopped
from console.terminal import (
    Json,
    SomeCluster,
    as_records,
    as_table,
    cleaned,
    emit,
    load_commands,
    load_settings,
    open_client,
)

audit_app = typer.Typer(no_args_is_help=True, help="What is on record, asked and checked.")
COLUMNS_MAX = 12  # of a table at a terminal
VERIFIED_WITHIN_S = 4 * 3600.0  # it reads all that there is
REPLAY_WITHIN_S = 600.0  # from Kafka, all that is there is read
SomeQuestion = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A named question.", show_default=False)]
Params = Annotated[list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="Repeat it for more.")]
Direct = Annotated[
    bool, typer.Option("--direct", help="In this process, with credentials of its own: the console is not asked.")
]


@audit_app.command("query", epilog="Example: steward audit query owed-undos --param cluster=prod-eu-7")
def audit_query(
    name: SomeQuestion = None,
    param: Params = None,
    listed: Annotated[bool, typer.Option("--list", help="Every question, and what it is for.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV (RFC 4180) for spreadsheets.")] = False,
    direct: Direct = False,
    as_json: Json = False,
) -> None:
    """Ask a named question of the record. Without a name: which there are. Exit 1 if a check finds rows."""
    if name is None or listed:
        return _questions(as_json)
    if as_csv and as_json:
        raise Stopped(WRONG_USE, "--csv or --json: it can't be both")
    params = _params(param)
    if direct:
        said = load_commands().ask_audit(load_settings(), name, params)
    else:
        said = open_client().post("/api/v1/audit/query", {"name": name, "params": params})
    if as_csv:
        from console.spreadsheet import csv_text

        print(csv_text(said["columns"], said["rows"]), end="")
    else:
        wide = sys.stdout.isatty() and len(said["columns"]) > COLUMNS_MAX
        shown = as_records if wide else as_table
        emit(as_json, said, shown(said["columns"], said["rows"], "no rows"))
    if not said.get("ok", True):
        raise typer.Exit(NO)


@audit_app.command("sql", epilog="Example: steward audit sql owed-undos --param cluster=prod-eu-7 > owed-undos.sql")
def audit_sql(name: SomeQuestion = None, param: Params = None, as_json: Json = False) -> None:
    """Print a named question as SQL for ClickHouse's own client, with its parameters. Without a name: which there are.

    Nothing is connected to: run it as any user who may read the table."""
    from infra.clickhouse.questions import QuestionRefused, question, script

    if name is None:
        return _questions(as_json)
    try:
        asked = question(name)
        text = script(asked, _params(param))
    except QuestionRefused as refused:
        raise Stopped(WRONG_USE, str(refused)) from None
    emit(as_json, {"name": name, "sql": asked.sql, "script": text}, text)


def _questions(as_json: bool) -> None:
    from dataclasses import asdict

    from infra.clickhouse.questions import questions

    rows = [
        [
            q.name,
            ", ".join(p.name if p.default is None else f"[{p.name}]" for p in q.params),
            "must be none" if q.must_be_empty else "",
            q.purpose,
        ]
        for q in questions().values()
    ]
    said = [{k: v for k, v in asdict(q).items() if k != "sql"} for q in questions().values()]
    emit(as_json, {"questions": said}, as_table(["question", "parameters", "rows", "what it answers"], rows))


def _params(given: list[str] | None) -> dict[str, str]:
    params = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Stopped(WRONG_USE, f"--param: expected K=V, found {cleaned(pair)!r}")
        if key in params:
            raise Stopped(WRONG_USE, f"--param: {cleaned(key)!r} is given twice")
        params[key] = value
    return params


@audit_app.command("export", epilog="Example: steward audit export prod-eu-7 --since 2027-01-01 -o audit.jsonl")
def audit_export(
    cluster: SomeCluster = None,
    since: Annotated[str, typer.Option(help="Appended then or later, in UTC: 2027-01-31, or with its hour.")] = "",
    until: Annotated[str, typer.Option(help="Appended before then.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: stdout.")] = None,
    direct: Direct = False,
    as_json: Json = False,
) -> None:
    """Write the record as JSON lines: the bytes of every event in base64, with its place in the chain.

    The last line has the counts. An export without it is cut off: then FILE is not made, and the exit code is 3."""
    if direct:
        lines = load_commands().export_audit(load_settings(), cluster or "", since, until)
    else:
        lines = open_client().lines("/api/v1/audit/export", cluster=cluster or "", since=since, until=until)
    if output is None:
        _whole(_copied(lines, sys.stdout.buffer))
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            end = _whole(_copied(lines, file))
        part.replace(output)
    except OSError as error:
        raise Stopped(WRONG_USE, f"--output: can't write {output}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    emit(as_json, {"file": str(output), **end}, f"{end['records']} records, sha256 {end['sha256']}: {output}")


def _copied(lines: Iterator[bytes], to: IO[bytes]) -> bytes:
    """All lines; returns the last."""
    last = b""
    for last in lines:
        to.write(last)
    to.flush()
    return last


def _whole(last: bytes) -> dict[str, Any]:
    """What the last line of an export says. Raises Stopped where it is none."""
    if not (last.startswith(b'{"end":') and last.endswith(b"\n")):
        raise Stopped(UNREACHED, "the export was cut off: its last line is missing")
    end: dict[str, Any] = json.loads(last)["end"]
    return end


@audit_app.command("dashboard", epilog="Example: steward audit dashboard > steward-audit.json")
def audit_dashboard(as_json: Json = False) -> None:
    """Print a Grafana dashboard over the named questions, to import. Its data source is Grafana's ClickHouse plugin."""
    from infra.clickhouse.dashboard import FILE

    print(FILE.read_text(), end="")


@audit_app.command("migrate", epilog="Example: steward audit migrate")
def audit_migrate(as_json: Json = False) -> None:
    """Make the audit's table, or bring it up to this build. Wants a user that may create tables."""
    applied = load_commands().migrate_audit(load_settings())
    emit(as_json, {"applied": applied}, "\n".join(applied) or "nothing to do: the table is this build's")


@audit_app.command("render", epilog="Example: steward audit render --sharded --cluster prod > audit.sql")
def audit_render(
    replicated: Annotated[bool, typer.Option("--replicated", help="Tables that are kept by several servers.")] = False,
    sharded: Annotated[
        bool, typer.Option("--sharded", help="Spread by topic and partition; implies --replicated.")
    ] = False,
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="Of remote_servers: each statement runs on all of it.")
    ] = "",
    database: Annotated[str, typer.Option(metavar="NAME", help="Where the tables are made.")] = "steward",
    as_json: Json = False,
) -> None:
    """Print the audit's tables as SQL, for those who make them by hand. Nothing is connected to.

    With none of the options: what `audit migrate` runs on one server."""
    from infra.clickhouse.migrations import migrations
    from infra.clickhouse.render import CantRender, Variant, as_text, rendered

    try:
        statements = rendered(migrations(), Variant(database, replicated, sharded, cluster))
    except CantRender as error:
        raise Stopped(WRONG_USE, f"--{error}") from None
    emit(as_json, {"statements": statements}, as_text(statements))


class From(StrEnum):
    clickhouse = "clickhouse"
    kafka = "kafka"
    both = "both"


@audit_app.command(
    "verify",
    epilog="Example: steward audit verify prod-eu-7    or: steward audit verify --from both",
)
def audit_verify(
    cluster: SomeCluster = None,
    source: Annotated[
        From, typer.Option("--from", help="What is judged; both: each, and that they hold the same.")
    ] = From.clickhouse,
    direct: Direct = False,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints", help="A directory of them, e.g. your own copy; implies --direct.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every chain from the bytes; the first break of each is named. Exit 1 if there is one."""
    if direct or checkpoints is not None:
        try:
            said = load_commands().verify_audit(load_settings(), cluster, source.value, checkpoints)
        except OSError as error:
            raise Stopped(
                UNREACHED, f"checkpoints: {error.filename or checkpoints}: {error.strerror or error}"
            ) from None
    else:
        asked = {"cluster": cluster or "", "source": source.value}
        said = open_client().post("/api/v1/audit/verify", asked, within_s=VERIFIED_WITHIN_S)
    emit(as_json, said, said["text"])
    if not said["ok"]:
        raise typer.Exit(NO)


def replay(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="As `steward incidents --all` shows it.")],
    source: Annotated[
        str, typer.Option("--from", help="clickhouse or kafka. Default: ClickHouse, where there is one.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Decide a past incident again from the record: every decision has to come out the same. Exit 1 if one does not.

    What came from outside is taken as recorded, and counted. Exit 2 for an incident that nobody knows."""
    try:
        said = open_client().post("/api/v1/replay", {"incident": incident, "source": source}, REPLAY_WITHIN_S)
    except Stopped as stopped:
        if stopped.code == "unknown_incident":
            raise Stopped(WRONG_USE, stopped.text, stopped.code) from None
        raise
    emit(as_json, said, said["text"])
    if not said["ok"]:
        raise typer.Exit(NO)
