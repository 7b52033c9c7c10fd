"""An action in words: for `actions show`, for the card that asks for an approval, for the model's tool."""

from __future__ import annotations

import inspect

from actions import calls
from actions.action import Action, Entry, Undo
from actions.catalogue import parse
from actions.forbidden import Forbidden
from schemas.text import duration, wrapped
from schemas.values import Change, Model, Plan

_UNDO = {
    Undo.REVERSIBLE: "when asked for, or when it made things worse",
    Undo.TEMPORARY: "automatic, when its time is over",
    Undo.NONE: "none: nothing is lost, and PD evens it out by itself in time",
    Undo.IRREVERSIBLE: "none: it can't be undone",
}


class Card(Model):
    """What an approver must see of the plan; the desk adds the why, the reach, the digest and the age of the facts."""

    title: str
    calls: tuple[str, ...]  # exactly what is sent, in order, undos in brackets after their change
    clients: str
    stops_if: str
    do_by_hand: tuple[str, ...]
    undo: str
    undo_by_hand: tuple[str, ...]


def card(plan: Plan) -> Card:
    """The card of a plan. Raises what `parse` and `render` raise: what can't be shown can't be approved."""
    action = parse(plan.action, plan.params)
    return Card(
        title=action.title(),
        calls=tuple(line for change in plan.changes for line in _lines(change)),
        clients=action.clients_notice,
        stops_if=action.stops_if,
        do_by_hand=tuple(calls.by_hand(change.do) for change in plan.changes),
        undo=_UNDO[action.undo],
        undo_by_hand=tuple(calls.by_hand(change.undo) for change in reversed(plan.changes) if change.undo),
    )


def _lines(change: Change) -> tuple[str, ...]:
    do = str(calls.render(change.do))
    if change.undo is None:
        return (f"{do} (no undo)",)
    when = f"after {duration(change.keep_s * 1000)}" if change.keep_s else "if undone"
    return do, f"{when}: {calls.render(change.undo)}"


def describe(kind: type[Entry]) -> str:
    """One type of the catalogue as `steward actions show` prints it."""
    schema = kind.model_json_schema()
    required = schema.get("required", [])
    tier = f"{kind.risk}, whoever asks" if issubclass(kind, Forbidden) else f"{kind.risk} at least"
    lines = [f"{kind.name}, version {kind.version}: {tier}, {kind.undo.value}", ""]
    lines += [inspect.getdoc(kind) or "", "", "Parameters"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else f"default {field['default']}"
        lines.append(f"  {name}: {_type(field)}, {default}. {field.get('description', '')}".rstrip())
    lines += ["", "May call"]
    for name in sorted(kind.may_call):
        row = calls.CALLS[name]
        lines.append(f"  {row.method} {row.place}    by hand: {row.by_hand}")
    if issubclass(kind, Action):
        stops_if = f"{kind.stops_if}, or policy.limits.execution_s_max has passed"
        lines += ["", f"Clients   {kind.clients_notice}", f"Stops if  {stops_if}", f"Undo      {_UNDO[kind.undo]}"]
    if issubclass(kind, Forbidden):
        lines += ["  nothing", "", *wrapped("Forbidden", kind.because), *wrapped("First", kind.check_first)]
    return "\n".join(lines)


def _type(field: dict[str, object]) -> str:
    if field.get("type") == "array":
        return f"{field.get('minItems', 0)} to {field.get('maxItems', 'any number of')} ids"
    if isinstance(words := field.get("enum"), list):
        return " or ".join(words)
    if field.get("type") == "string":
        return "name"
    low, high = field.get("minimum"), field.get("maximum")
    if field.get("type") == "number":
        return f"number {low}..{high}"
    return f"whole number {low}..{high}" if high is not None and high != 2**63 - 1 else "id"
