"""The reference pages, and the generated tables of others: each one function of the code it describes."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from actions import calls
from actions.card import describe
from actions.catalogue import CATALOGUE, FORBIDDEN
from docs import pictures
from docs.source import comments
from infra import pd_parse
from infra.clickhouse.grants import ACCOUNTS, HERE
from infra.settings import Secret, Settings
from infra.topics import Grant, grants, wanted
from schemas.alert_rules import ALIASES, RULES
from schemas.events import Event, all_events
from schemas.lifecycle import OPEN, TRANSITIONS, VERBS
from schemas.policy import TierLimits
from streams.pipeline import BY_NAME, EDGES, OWNER, PROCESSORS, TOPICS


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown. An empty cell says `-`, so that nothing looks forgotten."""
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or "-"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# -- topics and events ----------------------------------------------------------------------------------------------


def topics_and_events() -> str:
    """The lines of the pipeline, the topics, every event with its fields, and the values that those are made of."""
    lines = [
        "# Topics and events",
        "",
        "Every topic is keyed by cluster id (`~N` stands for partition N as a whole, `*` for every cluster). The value"
        " is Avro single-object encoding; the schemas of every version are in [schemas/avro](../../schemas/avro)."
        " Names here are without the configured prefix.",
        "",
        "## Topics",
        "",
        table(["topic", "sole writer", "read by", "partitions", "kept", "events"], _topic_rows()),
        "",
        f"Each role on the pipeline page has a topic `dead-letters.<role>` of one partition, which holds"
        f" `DeadLetter`. Topics of a `decides` or `works` role hold {_code(c.__name__ for c in OWNER)} as well.",
        "",
        "## Roles",
        "",
        table(
            ["role", "verb", "reads", "writes", "rules", "consults `controls`"],
            (
                [
                    f"`{p.role}`",
                    p.verb,
                    "every topic" if len(p.reads) == len(TOPICS) else _code(p.reads),
                    _code(p.writes),
                    f"`{p.by}`",
                    "yes" if p.consults else "",
                ]
                for p in (*EDGES, *PROCESSORS)
            ),
        ),
        "",
        "## What every event carries",
        "",
        "Each event but `AlertReceived` has a `head`; the runner writes it, no rule does.",
        "",
        _fields(cast(Any, _values()["Head"])),
        "",
        "## Events",
    ]
    for name, event in all_events().items():
        lines += ["", f"### {name}", ""]
        if text := _own_doc(event):
            lines += [text, ""]
        lines += [f"On {_standing_on(event)}.", "", _fields(event, skip=("cluster_id",))]
    lines += ["", "## Values", ""]
    for name, model in sorted(_values().items()):
        if name == "Head":
            continue
        lines += [f"### {name}", ""]
        if text := _own_doc(model):
            lines += [text, ""]
        lines += [_fields(model), ""]
    return "\n".join(lines)


def _topic_rows() -> Iterator[list[str]]:
    for topic in TOPICS:
        own = [c.__name__ for c in topic.events if c not in OWNER]
        readers = [p.role for p in (*EDGES, *PROCESSORS) if topic.name in p.reads]
        yield [
            f"`{topic.name}`",
            topic.writer,
            ", ".join(readers),
            str(topic.partitions or "as configured"),
            "for ever" if topic.keeps_all else "as the broker is set",
            ", ".join(f"[{name}](#{name.lower()})" for name in own),
        ]


def _standing_on(event: type[Event]) -> str:
    if event in OWNER:
        return "every topic of a `decides` or `works` role"
    return _code(t.name for t in TOPICS if event in t.events) or "`dead-letters.<role>`"


def _own_doc(model: type[BaseModel]) -> str:
    """Its docstring, not its parent's."""
    return " ".join(inspect.cleandoc(model.__dict__.get("__doc__") or "").split())


def _values() -> dict[str, type[BaseModel]]:
    """Every record that a field of an event is made of."""
    found: dict[str, type[BaseModel]] = {}
    from schemas.values import Head

    waiting: list[Any] = [Head, *all_events().values()]
    while waiting:
        model = waiting.pop()
        for field in model.model_fields.values():
            for part in _models_in(field.annotation):
                if part.__name__ not in found:
                    found[part.__name__] = part
                    waiting.append(part)
    found["Head"] = Head
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _fields(model: type[BaseModel], skip: Sequence[str] = ()) -> str:
    said = comments(model)
    rows = [
        [f"`{name}`", _type(field.annotation), _default(field), said.get(name, "")]
        for name, field in model.model_fields.items()
        if name not in skip
    ]
    return table(["field", "type", "default", ""], rows) if rows else "No fields of its own."


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory() if field.default_factory else None
    return _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, BaseModel | tuple | dict | list) and not value:
        return "empty"
    if value == b"":
        return "empty"
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`" if value != "" else "empty"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " / ".join(f"`{a}`" for a in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if a is type(None) else _type(a) for a in arguments)
    if origin in (tuple, list, set, frozenset):
        return f"list of {_type(arguments[0])}"
    if origin in (dict, Mapping):
        return f"map to {_type(arguments[1])}"
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if annotation is Secret:
        return "secret"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " / ".join(f"`{a.value}`" for a in annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {str: "text", int: "integer", float: "number", bool: "boolean", bytes: "bytes", Any: "anything"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


# -- actions, life, alerts ------------------------------------------------------------------------------------------


def actions_in_order() -> list[Any]:
    return [CATALOGUE[name] for name in sorted(CATALOGUE)]


def catalogue() -> str:
    """Each action as `steward actions show` prints it, then what is refused."""
    kinds = actions_in_order()
    lines = [
        "# Actions",
        "",
        f"There are {len(kinds)}, and after them {len(FORBIDDEN)} that are explained, and never done by a machine."
        " `steward actions show TYPE` prints the same.",
    ]
    for kind in (*kinds, *(FORBIDDEN[name] for name in sorted(FORBIDDEN))):
        lines += ["", f"## {kind.name}", "", "```text", describe(kind), "```"]
    return "\n".join(lines)


def lifecycle() -> str:
    """States, what leads from one to the next, and what a person may say in each."""
    everywhere = [name for name in pictures.everywhere_events() if name != "RemediationClosed"]
    lines = [
        "# The life of a remediation",
        "",
        "Every state but `closed` has a deadline or is in a list that people see (`steward waiting`).",
        "",
        pictures.lifecycle(),
        "",
        f"{_code(everywhere)} may come in every open state and change none.",
        "",
        "## What a person may say",
        "",
        "The verb is the command: `steward approve ID`, and so on. `freeze` and `halt` ask for no state.",
        "",
        table(["state", "verbs"], ([f"`{state}`", _code(verbs)] for state, verbs in VERBS.items())),
        "",
        "## Every step",
        "",
        table(
            ["from", "event", "to"],
            ([f"`{b}`" if b else "nothing", f"`{event}`", f"`{to}`"] for (b, event), to in TRANSITIONS.items()),
        ),
        "",
        f"Open states: {_code(OPEN)}.",
    ]
    return "\n".join(lines)


def alert_rules() -> str:
    """The stock rules of PD and TiKV as the playbook knows them."""
    rows = []
    for rule in RULES:
        notes = [rule.note, "the alert alone is evidence" if rule.told_by_alert else ""]
        answer = f"`{rule.cause}`" if not rule.abstains else f"abstains: {rule.abstains}"
        labels = _code(rule.labels) + (" and every label of the series" if rule.whole_series else "")
        rows.append(
            [
                f"`{rule.name}`",
                rule.level,
                f"`{rule.family}`",
                answer,
                rule.tells,
                labels,
                "; ".join(filter(None, notes)),
            ]
        )
    abstaining = sum(1 for rule in RULES if rule.abstains)
    lines = [
        "# Alert rules",
        "",
        f"The {len(RULES)} stock rules of PD and TiKV, and what the playbook looks for behind each. Alerts of one"
        f" family have one cause to look for, and fold into one incident. For {abstaining} rules it abstains and says"
        " why. A rule that is not here gets a family of its own and an abstention.",
        "",
        table(["rule", "level", "family", "usual cause", "evidence that tells", "labels kept", "note"], rows),
        "",
        "## Names of before PD 4",
        "",
        table(["old name", "is read as"], ([f"`{old}`", f"`{new}`"] for old, new in ALIASES.items())),
    ]
    return "\n".join(lines)


# -- configuration and commands -------------------------------------------------------------------------------------


def configuration() -> str:
    """Every key of steward.toml."""
    lines = [
        "# Configuration",
        "",
        "`steward.toml`: `--config FILE`, else `$STEWARD_CONFIG`, else `./steward.toml`. `steward init` writes one with"
        " comments. Each key can also come from the environment as `STEWARD_SECTION__KEY`, which wins over the file."
        " An unknown key is an error. A secret is `file:PATH`, `dir:PATH` or `env:NAME`, never the value; paths are"
        " relative to the file. A list may come from the environment separated by commas.",
        "",
        "`[policy]` is a draft: nothing of it is in force before `steward policy apply`.",
        "",
    ]
    lines += _section("", Settings)
    return "\n".join(lines).rstrip()


def _section(name: str, model: type[BaseModel]) -> list[str]:
    """A section and those below it; the keys that are sections themselves come after."""
    said = comments(model)
    rows: list[list[str]] = []
    below: list[str] = []
    for key, field in model.model_fields.items():
        path = f"{name}.{key}" if name else key
        if path == "policy.version":  # counts adoptions; not a key
            continue
        inner = next(_models_in(field.annotation), None)
        if inner is not None:
            many = get_origin(field.annotation) is dict
            below += _section(f"{path}.NAME" if many else path, inner)
        else:
            default = "as in `[policy.limits]`" if issubclass(model, TierLimits) else _default(field)
            rows.append([f"`{key}`", _type(field.annotation), default, _limits(field), said.get(key, "")])
    title = f"## [{name}]" if name else "## At the top"
    lines = [title, ""]
    if text := _own_doc(model):
        lines += [text, ""]
    if rows:
        lines += [table(["key", "type", "default", "limits", ""], rows), ""]
    return [*(lines if rows else []), *below]


def _limits(field: Any) -> str:
    found = []
    for limit in field.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if getattr(limit, name, None) is not None:
                found.append(f"{sign} {_number(getattr(limit, name))}")
        if getattr(limit, "pattern", None):
            found.append(f"`{limit.pattern}`")
        if getattr(limit, "min_length", None):
            found.append(f"at least {limit.min_length}")
    return ", ".join(found)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def command_line() -> str:
    """Every command, its arguments and options."""
    import typer.main

    from console.cli import app

    root: Any = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Exit codes: 0 done; 1 the answer is no; 2 wrong use or invalid configuration; 3 something needed can't be"
        " reached. Options of `steward` itself stand before the command.",
        "",
        _options(root),
    ]
    for path, command in sorted(_commands(root, "steward")):
        lines += [
            "",
            f"## {path}",
            "",
            " ".join((command.help or "").split()).replace("\\[", "["),
            "",
            _options(command),
        ]
        if command.epilog:
            lines += ["", f"`{command.epilog.removeprefix('Example: ').split('    or: ')[0].strip()}`"]
    return "\n".join(lines)


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _options(command: Any) -> str:
    rows = []
    for given in command.params:
        if given.name in ("help", "install_completion", "show_completion"):
            continue
        needed = "required" if given.required else ""
        if given.param_type_name == "argument":
            rows.append([f"`{given.metavar or given.name.upper()}`", needed, getattr(given, "help", None) or ""])
        else:
            rows.append([_code(given.opts), needed, given.help or ""])
    return table(["argument", "", ""], rows) if rows else "No arguments."


def questions() -> str:
    """Every named question: what for, its parameters, its columns, what to know when reading the answer."""
    from infra.clickhouse.questions import questions as named

    lines = [
        "# Questions to the audit",
        "",
        "Asked with `steward audit query NAME --param k=v`; `steward audit sql NAME` prints one for ClickHouse's own"
        " client. How to: [ask the audit](../howto/ask-the-audit.md).",
        "",
        table(["question", "what it answers"], [[f"[{q.name}](#{q.name})", q.purpose] for q in named().values()]),
    ]
    for asked in named().values():
        lines += ["", f"## {asked.name}", "", asked.purpose]
        if asked.must_be_empty:
            lines += ["", "A check: any row is a finding, and the command exits with 1."]
        if asked.params:
            rows = [
                [f"`{p.name}`", f"`{p.type}`", _question_default(p.default), p.text[:1].upper() + p.text[1:] + "."]
                for p in asked.params
            ]
            lines += ["", table(["parameter", "type", "default", ""], rows)]
        lines += ["", f"Columns: {_code(asked.columns)}."]
        lines += ["", *asked.notes] if asked.notes else []
        lines += ["", f"`{asked.example}`"]
    return "\n".join(lines)


def _question_default(default: str | None) -> str:
    worked_out = {"@now": "this moment", "@catalogue": "this build's catalogue"}
    if default is None:
        return "must be given"
    return worked_out.get(default) or (f"`{default}`" if default else "empty")


def receiver() -> str:
    """What `steward connect prod-eu-7` prints, for a cluster known by one label."""
    from console import onboarding

    given = {
        "environment": "prod",
        "gateway": {"token": "file:secrets/gateway-token"},
        "clusters": {
            "prod-eu-7": {"alert_labels": {"env": "prod-eu-7"}, "pd": ["https://pd0:2379"], "pd_cluster_id": 1}
        },
    }
    settings = Settings.model_validate(given)
    return f"```yaml\n{onboarding.receiver('prod-eu-7', settings.clusters['prod-eu-7'], settings)}\n```"


# -- who may do what ------------------------------------------------------------------------------------------------


def kafka_grants() -> str:
    """The table of infra.topics.grants, a line a principal."""
    dead = {t.name for t in wanted("", 1) if t.name.startswith("dead-letters.")}
    by_role: dict[str, list[Grant]] = {}
    for grant in grants(""):
        by_role.setdefault(grant.principal, []).append(grant)
    rows = []
    for role, found in by_role.items():

        def names(kind: str, operation: str, found: Sequence[Grant] = found) -> list[str]:
            return [g.name + ("*" if g.prefixed else "") for g in found if g.kind == kind and g.operation == operation]

        also = []
        for operation, spoken in (("CREATE", "Create"), ("DESCRIBE_CONFIGS", "DescribeConfigs")):
            if names("topic", operation):
                also.append(f"{spoken} on every topic")
        if names("cluster", "DESCRIBE"):
            also.append("Describe on the cluster")
        rows.append(
            [
                f"`{role}`",
                _shortened(names("topic", "READ"), dead),
                _shortened(names("topic", "WRITE"), dead),
                _code(names("group", "READ")),
                _code(names("transactional-id", "WRITE")),
                "; ".join(also),
            ]
        )
    columns = ["principal", "reads", "writes", "its group", "its transactional ids", "also"]
    return table(columns, rows)


def clickhouse_grants() -> str:
    """The table of infra.clickhouse.grants, a line an account."""
    rows = []
    for of in ACCOUNTS:
        of_ours = [r for r in of.rights if not r.on.startswith("system.")]
        of_system = sorted(r.on for r in of.rights if r.on.startswith("system."))
        rights = [str(r).replace(f" ON {HERE}", " ON the database") for r in of_ours]
        rows.append(
            [
                f"`{of.member}`",
                of.what_for,
                "; ".join(f"`{right}`" for right in rights),
                _code(of_system),
                ", ".join(f"`{name} = {value}`" for name, value in of.settings.items()) or "-",
            ]
        )
    return table(["file", "who", "may", "SELECT of the system's", "`CONST`"], rows)


def _shortened(names: Sequence[str], dead: set[str]) -> str:
    """All of a kind, said as that."""
    left = list(names)
    parts = []
    if set(BY_NAME) <= set(left):
        parts.append("every topic of the pipeline")
        left = [n for n in left if n not in BY_NAME]
    if dead <= set(left):
        parts.append("every dead-letter topic")
        left = [n for n in left if n not in dead]
    return ", ".join([*parts, *([_code(left)] if left else [])])


def pd_calls() -> str:
    """What may be sent to PD: reads by their list, writes by action."""
    reads = sorted({*pd_parse.FIRST, *pd_parse.THEN, pd_parse.STATUS})
    of_a_region = (pd_parse.region_path(0), pd_parse.operator_path(0))
    rows = [
        ("reads (`tls_read`)", "`GET`", ", ".join(f"`{calls.PREFIX}{path}`" for path in reads)),
        *(("reads (`tls_read`)", "`GET`", f"`{calls.PREFIX}{path.replace('/0', '/{id}')}`") for path in of_a_region),
        ("reads (`tls_read`)", "`GET`", f"`{calls.PREFIX}{pd_parse.removal_path(0).replace('=0', '={id}')}`"),
    ]
    for kind in actions_in_order():
        sent = [calls.CALLS[name] for name in sorted(kind.may_call)]
        rows += dict.fromkeys((f"`{kind.name}` (`tls_write`)", f"`{row.method}`", f"`{row.place}`") for row in sent)
    rows.append(("before each write (`tls_write`)", "`GET`", f"`{calls.PREFIX}/cluster`"))
    return table(["what", "method", "path"], rows)
