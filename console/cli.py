"""`steward`: every command of the contract. Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 not reached.

Whatever needs the console's role goes through its HTTP API. Heavy imports stand inside the commands, because people
complete and ask for --help far more often than they run anything.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from typer.core import TyperGroup

from console.audit_commands import audit_app, replay
from console.client import NO, UNREACHED, WRONG_USE, Client, Stopped
from console.terminal import (
    DEFAULT_FILE,
    Everything,
    Id,
    Json,
    OneCluster,
    Reason,
    SomeCluster,
    as_table,
    cleaned,
    complain,
    configured,
    emit,
    emit_said,
    given,
    load_commands,
    load_settings,
    moment_of,
    open_client,
)

if TYPE_CHECKING:
    from infra.settings import Settings

WATCH_WAIT_S = 20


class _Steward(TyperGroup):
    """Turns what stopped a command into its exit code and one clear message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Stopped as stopped:
            complain(stopped.text)
            raise typer.Exit(stopped.exit_code) from None
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            complain(str(error))
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=_Steward,
    name="steward",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print the values of variables: among them there could be a secret
    help="Watches TiKV clusters, diagnoses their alerts, and repairs what people have allowed it to repair.",
)
policy_app = typer.Typer(no_args_is_help=True, help="The policy in force, and the draft in the file.")
topics_app = typer.Typer(no_args_is_help=True, help="Topics and ACLs, derived from the pipeline.")
rbac_app = typer.Typer(no_args_is_help=True, help="Who may do what, derived from the code and held against reality.")
actions_app = typer.Typer(no_args_is_help=True, help="The catalogue, as an approver reads it.")
app.add_typer(policy_app, name="policy")
app.add_typer(topics_app, name="topics")
app.add_typer(rbac_app, name="rbac")
app.add_typer(actions_app, name="actions")
app.add_typer(audit_app, name="audit")

NOT_SAID = "(no reason given)"
THEIR_MISTAKE = ("unknown_cluster", "no_reason", "too_long", "invalid", "which")  # else a freeze goes round the console


@app.callback()
def _globals(
    config: Annotated[
        Path | None,
        typer.Option("--config", help=f"Default: $STEWARD_CONFIG, then ./{DEFAULT_FILE}.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Your token for the console. Default: $STEWARD_TOKEN.")
    ] = None,
) -> None:
    given.config, given.token_file = config, token_file


# -- getting started --------------------------------------------------------------------------------------------------


@app.command(epilog="Example: steward init --environment prod --user anna")
def init(
    directory: Annotated[Path, typer.Argument(help="Where the configuration and its secrets go.")] = Path(),
    environment: Annotated[str, typer.Option(help="Part of every approval: prod, staging, ...")] = "dev",
    user: Annotated[str, typer.Option(help="The first local user of the console.", show_default="you")] = "",
    as_json: Json = False,
) -> None:
    """Write a commented, observe-only configuration, and make the keys and tokens that it names."""
    from console.keys import make_key, make_token, write_secret
    from console.onboarding import configuration
    from infra.settings import load

    name, file, secrets = user or getpass.getuser(), directory / DEFAULT_FILE, directory / "secrets"
    made = {
        secrets / "console-key.json": json.dumps(make_key()),
        secrets / f"token-{name}": make_token(),
        secrets / "gateway-token": make_token(),
    }
    there = [str(p) for p in (file, *made) if p.exists()]
    if there:
        raise Stopped(NO, f"nothing is overwritten: {', '.join(there)} is there already")
    text = configuration(environment, name)
    _check_names(text)
    for path, secret in made.items():
        write_secret(path, secret)
    file.write_text(text)
    load(file, {})
    paths = [str(p) for p in (file, *made)]
    emit(as_json, {"written": paths}, "\n".join([*(f"wrote {p}" for p in paths), "next: steward doctor"]))


def _check_names(text: str) -> None:
    """Refuse a user or an environment that the configuration could not hold, before anything is written."""
    import tomllib

    from infra.settings import parse

    try:
        parse(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        raise Stopped(WRONG_USE, "--environment and --user are names: letters, digits, and . _ - inside") from None


@app.command(epilog="Example: steward doctor --json")
def doctor(as_json: Json = False) -> None:
    """Reach everything in the configuration, read-only, and say per line what is wrong and what to do.

    Exit 1 if anything is WRONG; what is to be noted does not fail."""
    settings = load_settings()
    rows = [("configuration", True, f"{len(settings.clusters)} clusters, environment {settings.environment}", "")]
    rows += [*_secrets_there(settings), *_windows(settings), _policy_in_force(), *_troubles()]
    rows += [tuple(row) for row in load_commands().doctor(settings)]
    lines = []
    for name, ok, text, what_to_do in rows:
        lines.append(f"{'note ' if ok and what_to_do else 'ok   ' if ok else 'WRONG'}  {name}: {cleaned(text)}")
        if what_to_do:
            lines.append(f"       -> {cleaned(what_to_do)}")
    keys = ("name", "ok", "text", "what_to_do")
    emit(as_json, {"checks": [dict(zip(keys, row, strict=True)) for row in rows]}, "\n".join(lines))
    if not all(ok for _, ok, _, _ in rows):
        raise typer.Exit(NO)


def _policy_in_force() -> tuple[str, bool, str, str]:
    """How the draft differs from what is in force: to be known, not wrong."""
    try:
        said = open_client().post("/api/v1/policy/diff", {"policy": _draft()})
    except Stopped as stopped:
        return ("policy", True, f"not compared with what is in force: {stopped.text}", "")
    changes = f"{len(said['changes'])} keys of the draft differ: steward policy diff"
    same = "the draft is what is in force"
    adopted = f"version {said['version']} is in force" if said["version"] else "none is adopted: everything observes"
    return ("policy", True, f"{adopted}; {changes if said['changes'] else same}", "")


def _windows(settings: Settings) -> list[tuple[str, bool, str, str]]:
    """What the clocks of the draft's windows show: a zone that was meant otherwise is seen here."""
    rows = []
    for name, window in sorted(settings.policy.windows.items()):
        about = sum(window.is_about_cluster(n, c.tier) for n, c in settings.clusters.items())
        now = "open" if window.is_open(int(time.time() * 1000)) else "not open"
        text = f"{window.kind}, {window.hours()}, {now} now; {about} of {len(settings.clusters)} clusters"
        rows.append((f"policy.windows.{name}", True, text, ""))
    return rows


def _troubles() -> list[tuple[str, bool, str, str]]:
    """What the roles beside the console say is wrong with them. A console that isn't there says nothing."""
    try:
        said = open_client().get("/api/v1/status")["troubles"]
    except (Stopped, KeyError):
        return []
    return [(f"role {role}", False, text, "its log says when it began") for role, text in said.items()]


def _secrets_there(settings: Settings) -> list[tuple[str, bool, str, str]]:
    from infra.settings import secrets

    rows = []
    for field, secret in secrets(settings):
        missing = secret.missing()
        if missing is None:
            rows.append((field, True, f"{secret.kind} is there", ""))
        elif field.endswith(".tls_write"):
            rows.append((field, True, "not here: right, unless this host runs `execute`", ""))
        else:
            rows.append((field, False, missing.reason, f"put it there, or correct {field}"))
    return rows


@app.command(epilog="Example: steward connect prod-eu-7")
def connect(cluster: OneCluster, as_json: Json = False) -> None:
    """Print the Alertmanager receiver to paste beside the existing one."""
    from console.onboarding import receiver

    settings = load_settings()
    text = receiver(cluster, configured(settings, cluster), settings)
    emit(as_json, {"alertmanager_yml": text}, text)


@app.command("test-alert", epilog="Example: steward test-alert prod-eu-7 --wait 60")
def send_test_alert(
    cluster: OneCluster,
    wait_s: Annotated[float, typer.Option("--wait", min=1, max=3600, help="Seconds to wait for the ticket.")] = 60,
    as_json: Json = False,
) -> None:
    """Send a marked alert through the whole pipe, and wait for its ticket."""
    client = open_client()
    sent = client.post("/api/v1/test-alert", {"cluster": cluster})
    deadline = time.monotonic() + wait_s
    while (found := client.get(f"/api/v1/test-alert/{quote(sent['id'])}"))["ticket"] is None:
        if time.monotonic() > deadline:
            raise Stopped(NO, f"no ticket after {wait_s:g} s: `steward dead-letters` and `steward doctor` may say why")
        time.sleep(0.25)
    emit(as_json, {"fingerprint": sent["id"], **found}, found["ticket"])


# -- running ----------------------------------------------------------------------------------------------------------


@app.command(epilog="Example: steward up --embedded")
def up(
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Broker and store inside: to try it, not to rely on.")
    ] = False,
) -> None:
    """Run the whole pipeline, supervised: what observes, what acts, and `execute` in processes of their own."""
    raise typer.Exit(load_commands().up(load_settings(), embedded) or 0)


@app.command(epilog="Example: steward run gateway intake incidents")
def run(roles: Annotated[list[str], typer.Argument(metavar="ROLE...")]) -> None:
    """Run the named roles in this process."""
    settings, commands = load_settings(), load_commands()
    try:
        from streams.pipeline import processor

        for role in roles:
            processor(role)
    except KeyError as error:
        raise Stopped(WRONG_USE, str(error.args[0])) from None
    raise typer.Exit(commands.run(settings, roles) or 0)


@topics_app.command("plan", epilog="Example: steward topics plan")
def topics_plan(as_json: Json = False) -> None:
    """Show what differs between the broker and the pipeline. Exit 1 if anything."""
    _topics("plan", as_json)


@topics_app.command("apply", epilog="Example: steward topics apply")
def topics_apply(as_json: Json = False) -> None:
    """Make what is missing. Never deletes or shrinks. Exit 1 if something differs that it may not change."""
    _topics("apply", as_json)


@topics_app.command("render", epilog="Example: steward topics render > for-the-platform-team.txt")
def topics_render(as_json: Json = False) -> None:
    """Write topics and ACLs out for a platform team."""
    text = load_commands().topics_rendered(load_settings())
    emit(as_json, {"verb": "render", "text": text}, text)


def _topics(verb: str, as_json: bool) -> None:
    done, differs = load_commands().topics(load_settings(), verb)
    lines = [*done, *(differs or ["the broker has every topic as it should be"])]
    emit(as_json, {"verb": verb, "done": done, "differs": differs}, "\n".join(lines))
    if differs:
        raise typer.Exit(NO)


@rbac_app.command("render", epilog="Example: steward rbac render clickhouse > for-the-database-team.sql")
def rbac_render(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="kafka, clickhouse or kubernetes.")],
    as_json: Json = False,
) -> None:
    """Write the rights of every role out for whoever grants them. Passwords are never made up."""
    try:
        text = load_commands().rbac_rendered(load_settings(), system)
    except KeyError as error:
        raise Stopped(WRONG_USE, cleaned(str(error.args[0]))) from None
    emit(as_json, {"system": system, "text": text}, text.rstrip("\n"))


@rbac_app.command("audit", epilog="Example: steward rbac audit")
def rbac_audit(as_json: Json = False) -> None:
    """What Kafka and ClickHouse grant beyond what the code needs, or short of it. Exit 1 if anything.

    Asks as every user whose credentials are here, and Kafka as `admin`."""
    rows = load_commands().rbac_audit(load_settings())
    keys = ("system", "principal", "verdict", "text")
    said = [{key: getattr(row, key) for key in keys} for row in rows]
    emit(as_json, {"rows": said}, as_table(keys, [list(row.values()) for row in said]))
    wrong = [row for row in rows if row.verdict != "ok"]
    if wrong:
        raise typer.Exit(UNREACHED if all(row.unreached for row in wrong) else NO)


@app.command(epilog="Example: steward ingest alerts.json    or: ... | steward ingest -")
def ingest(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An Alertmanager webhook body; - is stdin.")],
    as_json: Json = False,
) -> None:
    """Take an Alertmanager webhook body as the gateway would."""
    try:
        body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Stopped(WRONG_USE, f"can't read {file}: {error.strerror}") from None
    emit_said(as_json, open_client().post_bytes("/api/v1/ingest", body))


# -- looking ----------------------------------------------------------------------------------------------------------


@app.command(epilog="Example: steward status")
def status(as_json: Json = False) -> None:
    """The fleet at a glance."""
    said = open_client().get("/api/v1/status")
    policy = said["policy"]
    adopted = f"{policy['version']} by {policy['by']}" if policy["version"] else "none adopted: everything observes"
    lines = [f"{said['environment']}   policy {adopted}   dead letters {said['dead_letters']}"]
    if not said["caught_up"]:
        lines.append("STILL READING THE LOG: what follows is not all")
    lines += [f"TROUBLE {role}: {cleaned(trouble)}" for role, trouble in said["troubles"].items()]
    if (lag := said.get("audit_lag")) is not None:
        most = ", ".join(f"{cleaned(topic)} {n}" for topic, n in sorted(lag.items(), key=lambda of: -of[1])[:3])
        lines.append(f"audit behind by {sum(lag.values())} records: {most}" if lag else "audit up to date")
    if policy["draft_differs"]:
        lines.append("the console's draft is not what is in force: steward policy diff")
    lines += [
        f"STOPPED {'everything' if name == '*' else name}: {cleaned(stop)}" for name, stop in said["stops"].items()
    ]
    for p in said["stopped_by_inputs"]:
        lines += [f"STOPPED {p['stops']}: {p['input']} since {moment_of(p['since_ms'])}: {cleaned(p['reason'])}"]
        lines += [f"  -> {p['command']}"]
    for r in said["clusters"]:
        for late in r["undo_overdue"]:
            lines += [f"UNDO OVERDUE {r['cluster']}: {late['id']}: {cleaned(late['reason'])}"]
            lines += [f"  -> by hand: {late['by_hand']}"]
    rows = [
        [
            r["cluster"],
            "-" if r["tier"] is None else r["tier"],
            r["incidents"],
            r["waiting"],
            ", ".join(r["running"]) or "-",
            r["stop"]
            or (f"quarantined by {r['quarantined_by']}" if r["quarantined_by"] else "")
            or ", ".join(r["stopped_by_inputs"])
            or ", ".join(f"{topic} broken" for topic in r["broken_ledgers"])
            or ", ".join(f"undo of {late['id']} overdue" for late in r["undo_overdue"])
            or "-",
        ]
        for r in said["clusters"]
    ]
    table = as_table(["cluster", "tier", "incidents", "waiting", "running", "stopped"], rows)
    emit(as_json, said, "\n".join([*lines, table]))


@app.command(epilog="Example: steward incidents prod-eu-7 --all")
def incidents(
    cluster: SomeCluster = None,
    all: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: Json = False,
) -> None:
    """List incidents, the latest first."""
    said = open_client().get("/api/v1/incidents", cluster=cluster, all="true" if all else None)
    rows = [[i["incident_id"], moment_of(i["opened_ms"]), i["headline"], i["status"]] for i in said["incidents"]]
    emit(as_json, said, as_table(["id", "opened", "what", "status"], rows, "no incident is open"))


@app.command(epilog="Example: steward waiting")
def waiting(as_json: Json = False) -> None:
    """What waits for whom, and until when."""
    said = open_client().get("/api/v1/waiting")
    rows = [
        [
            w["id"],
            w["cluster_id"],
            w["what"],
            w["who"],
            moment_of(w["until_ms"]),
            w["command"] or ", ".join(w["verbs"]),
            w["reason"],
        ]
        for w in said["waiting"]
    ]
    emit(as_json, said, as_table(["id", "cluster", "waits for", "who", "until", "say", "why"], rows, "nothing waits"))


@app.command(epilog="Example: steward show R-1093")
def show(
    id: Id,
    timeline: Annotated[bool, typer.Option("--timeline", "-t", help="Every event, too.")] = False,
    as_json: Json = False,
) -> None:
    """A whole story: the ticket of an incident, or the card of a remediation."""
    said = open_client().get(f"/api/v1/show/{quote(id, safe='')}")
    parts = [said["text"], *said.get("cards", []), *([said["timeline"]] if timeline else [])]
    emit(as_json, said, "\n\n".join(parts))


@app.command(epilog="Example: steward why INC-2f81    or: steward why prod-eu-7")
def why(id: Id, as_json: Json = False) -> None:
    """Why nothing, or this, was done; of a cluster, what stops acting on it now."""
    said = open_client().get(f"/api/v1/why/{quote(id, safe='')}")
    rows = [
        [
            moment_of(r["at_ms"]),
            r["id"],
            r["code"] + (f" ({r['count']} times)" if r["count"] > 1 else ""),
            f"{r['text']} -> {r['command']}" if r["command"] else r["text"],
        ]
        for r in said["reasons"]
    ]
    emit(as_json, said, as_table(["when", "of", "code", "why"], rows, "nothing has stood in its way"))


@app.command(epilog="Example: steward watch")
def watch(
    since: Annotated[
        int | None,
        typer.Option(min=0, help="Begin after the N-th event that the console has seen.", show_default="now"),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--for", min=0, help="Stop after so many seconds.", show_default="never")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Events as they come, until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):  # how one stops looking
        _follow(open_client(), since, time.monotonic() + seconds if seconds else None, as_json)


def _follow(client: Client, since: int | None, until: float | None, as_json: bool) -> None:
    at = since if since is not None else client.get("/api/v1/events", since=2**53)["next"]
    while until is None or time.monotonic() < until:
        left = WATCH_WAIT_S if until is None else min(WATCH_WAIT_S, max(0.0, until - time.monotonic()))
        said = client.get("/api/v1/events", since=at, wait_s=left)
        for event in said["events"]:
            of = event["remediation_id"] or event["incident_id"]
            line = f"{moment_of(event['at_ms'])}  {event['cluster_id']:<14}  {of:<10}  {event['text']}"
            print(json.dumps(event, ensure_ascii=False) if as_json else line, flush=True)
        at = said["next"]


@app.command("dead-letters", epilog="Example: steward dead-letters --limit 20")
def dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """What could not be read or was impossible, with the reason and where it came from."""
    said = open_client().get("/api/v1/dead-letters", limit=limit)
    rows = [
        [
            moment_of(d["at_ms"]),
            d["role"],
            f"{d['topic']}/{d['partition']}@{d['offset']}",
            d["code"],
            f"{d['field']}: {d['reason']}" if d["field"] else d["reason"],
        ]
        for d in said["dead_letters"]
    ]
    emit(as_json, said, as_table(["when", "role", "origin", "code", "reason"], rows, "no dead letters"))


# -- a person's word --------------------------------------------------------------------------------------------------


@app.command(epilog='Example: steward approve R-1093 --digest 9f3c41d2a07b --reason "disk known bad"')
def approve(
    id: Id,
    digest: Annotated[str, typer.Option("--digest", "-d", help="As `show` shows it: its first 12 hex digits, or all.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Approve exactly the plan that `show` has shown."""
    _word(as_json, id, "approve", digest=digest, reason=reason)


@app.command(epilog='Example: steward deny R-1093 --reason "the disk is being replaced"')
def deny(id: Id, reason: Reason, as_json: Json = False) -> None:
    """Deny it; the reason goes back to whoever proposes next."""
    _word(as_json, id, "deny", reason=reason)


@app.command(epilog="Example: steward cancel R-1093")
def cancel(id: Id, reason: Reason = NOT_SAID, as_json: Json = False) -> None:
    """Stop it, wherever it stands; what it has changed for a while is undone."""
    _word(as_json, id, "cancel", reason=reason)


@app.command(epilog="Example: steward undo R-1093")
def undo(id: Id, reason: Reason = NOT_SAID, as_json: Json = False) -> None:
    """Take back what it has changed, now."""
    _word(as_json, id, "undo", reason=reason)


@app.command("did-it-myself", epilog="Example: steward did-it-myself R-1093")
def did_it_myself(id: Id, reason: Reason = NOT_SAID, as_json: Json = False) -> None:
    """Say that you have done it by hand."""
    _word(as_json, id, "did-it-myself", reason=reason)


@app.command(epilog='Example: steward resolve R-1093 --outcome succeeded --reason "looked: no leaders, no scheduler"')
def resolve(
    id: Id,
    outcome: Annotated[str, typer.Option("--outcome", "-o", help="succeeded, no_better, worse, not_started, ...")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Say how an UNKNOWN ended, after having looked; this lifts the quarantine."""
    _word(as_json, id, "resolve", outcome=outcome, reason=reason)


def _word(as_json: bool, id: str, verb: str, **body: str) -> None:
    said = open_client().post(f"/api/v1/remediations/{quote(id, safe='')}/{verb}", body)
    emit(as_json, said, said["text"])
    if said.get("counts") is False:
        raise typer.Exit(NO)


# -- controls ---------------------------------------------------------------------------------------------------------


@app.command(epilog='Example: steward freeze prod-eu-7 --reason "deploy"    or: steward freeze --all --reason ...')
def freeze(reason: Reason, cluster: SomeCluster = None, all: Everything = False, as_json: Json = False) -> None:
    """Stop forward steps at once. Needs nobody's approval, and works without the console too."""
    scope = _scope(cluster, all)
    try:
        said = open_client().post("/api/v1/freeze", {"cluster": cluster, "all": all, "reason": reason})
    except Stopped as stopped:
        if stopped.code in THEIR_MISTAKE:
            raise
        said = _freeze_directly(scope, reason, stopped.text)
    emit_said(as_json, said)


def _freeze_directly(scope: str, reason: str, why: str) -> dict[str, Any]:
    """Without the console: straight to the topic, as principal `stop`."""
    from schemas.events import Frozen
    from schemas.values import EVERY_CLUSTER

    settings = load_settings()
    if scope != EVERY_CLUSTER:
        configured(settings, scope)
    complain(f"{why}; writing the freeze to Kafka directly")
    by = f"{getpass.getuser()} (unverified)"
    event = Frozen(cluster_id=scope, by=by, reason=cleaned(reason)[:500] or NOT_SAID, via="stop")
    try:
        load_commands().publish_control(settings, event)
    except Exception as error:
        if _exit_code(error) != UNREACHED:
            raise
        where = f"Kafka at {settings.kafka.bootstrap}"
        why = str(error).removeprefix(f"{where}: ")
        text = f"{where} has not acknowledged the freeze: {why}. It may still arrive, so don't rely on it either way:"
        text += " say it again, and see `steward status`"
        raise Stopped(UNREACHED, text) from None
    return {
        "text": f"FROZEN {'everything' if scope == EVERY_CLUSTER else scope} by {by}: {cleaned(reason)}",
        "via": "stop",
    }


@app.command(epilog='Example: steward halt --all --reason "it does the wrong thing"')
def halt(reason: Reason, all: Everything = False, as_json: Json = False) -> None:
    """Stop every write, undos included; what is owed is listed by `waiting`."""
    if not all:
        raise Stopped(WRONG_USE, "a halt stops everything: say --all, or freeze one cluster")
    emit_said(as_json, open_client().post("/api/v1/halt", {"all": True, "reason": reason}))


@app.command(epilog='Example: steward lift prod-eu-7 --reason "deploy is over"')
def lift(
    cluster: SomeCluster = None,
    all: Everything = False,
    input: Annotated[
        str, typer.Option("--input", metavar="TOPIC/PARTITION@OFFSET", help="As `steward waiting` shows it.")
    ] = "",
    reason: Reason = NOT_SAID,
    as_json: Json = False,
) -> None:
    """Take back a freeze or a halt; with --input, what that one input has stopped, and nothing else."""
    _scope(cluster, all)
    body = {"cluster": cluster, "all": all, "reason": reason}
    if input and reason == NOT_SAID:
        raise Stopped(WRONG_USE, "--input wants --reason: whoever reads the audit will ask why it could be lifted")
    emit_said(as_json, open_client().post("/api/v1/lift", {**body, "input": input} if input else body))


@policy_app.command("diff", epilog="Example: steward policy diff")
def policy_diff(as_json: Json = False) -> None:
    r"""What adopting \[policy] of this configuration would change. Exit 1 if anything."""
    said = open_client().post("/api/v1/policy/diff", {"policy": _draft()})
    emit(as_json, said, _diff(said))
    if said["changes"] or not said["version"]:
        raise typer.Exit(NO)


@policy_app.command("apply", epilog='Example: steward policy apply --reason "evictions on the canary"')
def policy_apply(
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    r"""Adopt \[policy] of this configuration: from then on it is in force."""
    client, draft = open_client(), _draft()
    said = client.post("/api/v1/policy/diff", {"policy": draft})
    if not as_json:
        print(_diff(said))
    if not yes:
        if not sys.stdin.isatty():
            raise Stopped(WRONG_USE, "nobody is there to ask: say --yes")
        if not typer.confirm("Adopt it?"):
            raise Stopped(NO, "not adopted")
    body = {"policy": draft, "after_version": said["version"], "reason": reason}
    emit_said(as_json, client.post("/api/v1/policy", body))


def _draft() -> dict[str, Any]:
    return load_settings().policy.model_dump(mode="json", exclude={"version"})


def _diff(said: dict[str, Any]) -> str:
    force = f"version {said['version']}, adopted by {said['by']}" if said["version"] else "none: everything observes"
    lines = [f"in force: {force}"]
    for key, (old, new) in said["changes"].items():
        lines += [f"- {key} = {json.dumps(old)}"] if old is not None else []
        lines += [f"+ {key} = {json.dumps(new)}"] if new is not None else []
    return "\n".join(lines if said["changes"] else [*lines, "the draft says the same"])


# -- the catalogue, and what is left ----------------------------------------------------------------------------------


@actions_app.command("list", epilog="Example: steward actions list")
def actions_list(as_json: Json = False) -> None:
    """Every type of action there is. What is FORBIDDEN is explained, and never done."""
    from actions.catalogue import CATALOGUE, FORBIDDEN

    kinds = [*CATALOGUE.values(), *FORBIDDEN.values()]
    rows = [[k.name, k.version, k.risk, k.undo.value, (k.__doc__ or "").split("\n")[0]] for k in kinds]
    keys = ["name", "version", "risk", "undo", "what"]
    table = as_table(["action", "version", "risk", "undo", "what it does"], rows)
    emit(as_json, {"actions": [dict(zip(keys, row, strict=True)) for row in rows]}, table)


@actions_app.command("show", epilog="Example: steward actions show evict_store_leaders")
def actions_show(name: Annotated[str, typer.Argument(metavar="TYPE")], as_json: Json = False) -> None:
    """One type: what it does, what clients notice, its parameters, its calls, how to do it by hand, or why not."""
    from actions.action import params_schema
    from actions.card import describe
    from actions.catalogue import UnknownAction, named
    from actions.forbidden import Forbidden

    try:
        kind = named(name)
    except UnknownAction as error:
        raise Stopped(NO, str(error)) from None
    data = {
        "name": kind.name,
        "version": kind.version,
        "risk": kind.risk,
        "undo": kind.undo.value,
        "may_call": sorted(kind.may_call),
        "parameters": params_schema(kind),
        "forbidden": kind.why_not() if issubclass(kind, Forbidden) else "",
        "text": describe(kind),
    }
    emit(as_json, data, describe(kind))


@app.command(epilog="Example: steward leftovers prod-eu-7")
def leftovers(cluster: OneCluster, as_json: Json = False) -> None:
    """What of ours is still on a cluster. Needs only PD. Exit 1 if there is something."""
    settings = load_settings()
    configured(settings, cluster)
    found = [str(x) for x in load_commands().leftovers(settings, cluster)]
    emit(
        as_json, {"cluster": cluster, "leftovers": found}, "\n".join(map(cleaned, found)) or "nothing of ours is there"
    )
    if found:
        raise typer.Exit(NO)


# -- audit ------------------------------------------------------------------------------------------------------------

app.command(epilog="Example: steward replay INC-c88a7a65")(replay)


# -- small things -----------------------------------------------------------------------------------------------------


def _scope(cluster: str | None, everything: bool) -> str:
    if everything == bool(cluster):
        raise Stopped(WRONG_USE, "name a cluster, or say --all")
    return "*" if everything else str(cluster)


def _exit_code(error: Exception) -> int | None:
    """The exit code of trouble that people can do something about; None: a bug. Only what is loaded can have raised."""
    known = (("infra.settings", "ConfigError", WRONG_USE), ("infra.publisher", "Unreachable", UNREACHED))
    for module, name, code in (
        *known,
        ("infra.publisher", "Refused", NO),
        ("schemas.facts", "NoFacts", UNREACHED),
        ("infra.clickhouse.store", "AuditRefused", NO),
        ("infra.clickhouse.store", "AuditUnreachable", UNREACHED),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return code
    refusal = getattr(sys.modules.get("console.desk"), "Refusal", None)  # of a desk in this process
    if refusal is not None and isinstance(error, refusal):
        return {"wrong_use": WRONG_USE, "invalid": WRONG_USE, "unavailable": UNREACHED}.get(error.kind, NO)
    return None


def main() -> None:
    app()


if __name__ == "__main__":
    main()
