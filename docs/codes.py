"""Every coded reason that stands literally in the source, collected by reading it as text (ast), never by hand.

A code that is computed where it is raised can't be found so; the page says whose code it passes on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "actions", "streams", "agents", "executors", "infra")


@dataclass(frozen=True)
class Group:
    """One table: the calls whose argument `at` is a code, and the functions that return (code, text) pairs."""

    title: str
    intro: str
    calls: tuple[str, ...] = ()
    at: int = 0
    returned_by: tuple[tuple[str, str], ...] = ()  # (file, function)
    only_in: tuple[str, ...] = PACKAGES


GROUPS = (
    Group(
        "Records that can't be read",
        "The code of a dead letter; the gateway answers them with 400, or 413 where it is `too_large`. A rule, or a"
        " look of a maps stage, that raises makes a dead letter of code `impossible`: the type and text of what it"
        " raised. `ledger_lost_events`: it came of an event of the reader's own that is not there any more. A broker"
        " has lost what it had acknowledged, so nobody knows what was done: acting waits until a person has looked at"
        " the cluster and lifts it. A ledger says the same of what the audit holds of it and it has no more."
        " `steward dead-letters` lists them.",
        ("Unreadable",),
    ),
    Group(
        "PD gives no facts",
        "A diagnosis abstains with it, a proposal waits or is refused with it, an execution that has not begun ends"
        " `not_started` with it.",
        ("NoFacts",),
    ),
    Group(
        "A store gives no setting",
        "The rest of the facts stands; an action that needs the setting objects. Where it was to be set, it was not.",
        ("NoSetting",),
        returned_by=(("actions/status_address.py", "objection"),),
    ),
    Group("The playbook abstains", "Besides these: the codes of facts that PD does not give.", ("Abstention",)),
    Group(
        "Objections: no", "It may change with the facts, but not by waiting a little.", ("no",), only_in=("actions",)
    ),
    Group(
        "Objections: wait",
        "Asked again later, for half an hour at most; of a window, at the hour at which it may start.",
        ("wait",),
        only_in=("actions",),
    ),
    Group("Objections: never", "Not asked again.", ("never",), only_in=("actions", "streams")),
    Group(
        "A person's word does not count",
        "In `ApprovalRejected`. The same function is asked again by `execute`, whose `ClaimRefused` then has the code.",
        ("BadSignature", "_reject"),
        returned_by=(
            ("schemas/approvals.py", "judge"),
            ("schemas/approvals.py", "enough"),
            ("streams/remediations.py", "_judge"),
            ("streams/remediations.py", "heard"),
        ),
    ),
    Group(
        "Approved, and it has to wait",
        "In `ExecutionBlocked`; the stops are also what `execute` refuses or stops with.",
        returned_by=(
            ("schemas/controls.py", "refuses_forward"),
            ("schemas/controls.py", "refuses_undo"),
            ("streams/remediations.py", "_blocked"),
        ),
    ),
    Group(
        "A claim is refused",
        "In `ClaimRefused`; the remediation is closed as `claim_<code>`. Besides these: stops, and approvals that do"
        " not count, and windows.",
        returned_by=(("executors/protocol.py", "_refusal"),),
    ),
    Group(
        "An execution stops going forward",
        "In `ExecutionAborting`; what is owed is undone. Besides these: stops, and `cancelled` or `undo_asked` by a"
        " person.",
        ("aborting",),
        returned_by=(
            ("executors/protocol.py", "must_stop"),
            ("actions/action.py", "abort_if"),
            ("actions/set_tikv_config.py", "abort_if"),
        ),
    ),
    Group(
        "How an execution ended",
        "The code beside the outcome in `Concluded`. Besides these: objections, missing facts, and the codes above.",
        ("conclude",),
        at=1,
    ),
    Group(
        "A remediation is closed without an execution",
        "In `RemediationClosed`. Besides these: `cancelled` or `by_hand` by a person, the first objection that is not"
        " `wait`, and what `NothingProposed` said. After an execution its code is the outcome.",
        ("_close",),
        at=1,
    ),
    Group("A remediation is flagged", "It moves nothing; people look.", ("_flag",), at=1),
)


def page() -> str:
    """The whole page, in the order of GROUPS."""
    lines = [
        "# Codes",
        "",
        "Every non-action has a coded reason; `steward why ID` shows it. `{...}` stands for what is filled in."
        " Collected from the source: a code that is only passed on appears where it is first said.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", group.intro, "", "| code | said by | text |", "| --- | --- | --- |"]
        for code, where, text in sorted(set(found(group))):
            lines.append(f"| `{code}` | `{where}` | {_cell(text)} |")
    return "\n".join(lines)


def found(group: Group, root: Path = ROOT) -> Iterator[tuple[str, str, str]]:
    """(code, file, text) of each literal."""
    for path in _files(group.only_in, root):
        name = str(path.relative_to(root))
        for node in _nodes(path):
            if isinstance(node, ast.Call) and _called(node) in group.calls:
                yield from _pair(node.args[group.at : group.at + 2], name)
            if isinstance(node, ast.FunctionDef) and (name, node.name) in group.returned_by:
                compared = {id(c) for n in ast.walk(node) if isinstance(n, ast.Compare) for c in n.comparators}
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Tuple) and len(inner.elts) in (2, 3) and id(inner) not in compared:
                        yield from _pair(inner.elts[:2], name)
                    elif isinstance(inner, ast.Call) and _called(inner) in ("_reject",):
                        yield from _pair(inner.args[1:3], name)


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """The calls and functions of a file: thirteen tables ask for the same ones."""
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call | ast.FunctionDef)]


def _files(packages: Iterable[str], root: Path) -> Iterator[Path]:
    for package in packages:
        yield from sorted((root / package).rglob("*.py"))


def _called(node: ast.Call) -> str:
    """The last part of what is called: `self._close` is `_close`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _pair(elements: Sequence[ast.expr], name: str) -> Iterator[tuple[str, str, str]]:
    """A literal code with the text beside it; either arm of `a if b else c` counts."""
    if len(elements) < 2:
        return
    for code in _literals(elements[0]):
        if code and code.replace("_", "").replace("-", "").isalnum() and code.islower():
            yield code, name, _text(elements[1])


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def _text(node: ast.expr) -> str:
    """The message as the source has it; what is not a literal there is not guessed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            parts.append(part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{...}")
        return "".join(parts)
    return "{...}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or "-"
