"""The second question to a model: which of the actions that the cause admits to propose. Rendered and checked; pure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from actions.action import Action, params_schema
from actions.catalogue import CATALOGUE, BadParameters, parse
from agents.causes import known
from agents.evidence import entities_of, quoted
from agents.rendering import Prompt, evidence_spoken, section
from agents.replies import BadReply, Cited, check_cited, shaped, wire_schema
from agents.thinking import Request
from schemas.events import DiagnosisAdopted
from schemas.values import Evidence, Model, canonical_json

NOTHING = "nothing"


class Choice(Model):
    action: str = Field(max_length=64)
    params: dict[str, Any]


class ProposalReply(Model):
    proposal: Choice
    why: str = Field(min_length=1, max_length=300)
    cited: Cited


def offered(cause: str) -> dict[str, type[Action]]:
    """The actions of the catalogue that a cause admits, by name."""
    found = known(cause)
    admits = found.admits if found else ()
    return {name: CATALOGUE[name] for name in sorted(admits) if name in CATALOGUE}


def proposal_request(
    prompt: Prompt, diagnosis: DiagnosisAdopted, offer: Mapping[str, type[Action]], keep_s: int, deadline_s: float
) -> Request:
    """The question which of these actions, if any, to propose."""
    actions = [f"### {name}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n" for name, kind in offer.items()]
    parts = [
        f"Cluster: {quoted(diagnosis.cluster_id, 128)}",
        section(
            "Diagnosis",
            [
                f"{diagnosis.cause}: {quoted(diagnosis.summary, 300)}",
                f"confidence {diagnosis.confidence:.2f}, by {diagnosis.by}",
            ],
        ),
        section("Evidence", evidence_spoken(diagnosis.evidence)),
        section("Actions offered", [*actions, f"What is temporary is usually kept for {keep_s} s here."]),
    ]
    schema = proposal_schema({name: params_schema(kind) for name, kind in offer.items()})
    return Request(prompt.name, prompt.version, prompt.text, "\n\n".join(parts), schema, deadline_s)


def proposal_schema(params_schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """One branch an action offered, and one for nothing; `params` of each are the action's own."""
    branches = [
        {"type": "object", "properties": {"action": {"type": "string", "const": name}, "params": dict(params)}}
        for name, params in [*sorted(params_schemas.items()), (NOTHING, {"type": "object", "properties": {}})]
    ]
    properties = {
        "proposal": {"anyOf": branches},
        "why": {"type": "string"},
        "cited": {"type": "array", "items": {"type": "string"}},
    }
    return canonical_json(wire_schema({"type": "object", "properties": properties}))


def proposal_reply(
    text: str, evidence: Iterable[Evidence], admitted: Iterable[str]
) -> tuple[ProposalReply, Action | None]:
    """The reply and its action, or None where it proposes nothing. Raises BadReply."""
    reply, shown = shaped(ProposalReply, text), tuple(evidence)
    reply = reply.model_copy(update={"why": quoted(reply.why, 300)})
    check_cited(reply.cited, shown, text)
    choice = reply.proposal
    if choice.action == NOTHING:
        return reply, None
    if choice.action not in tuple(admitted):
        raise BadReply("action_not_admitted", f"{quoted(choice.action, 64)} was not offered for this cause", text)
    try:
        action = parse(choice.action, canonical_json(choice.params))
    except (BadParameters, ValueError) as error:
        raise BadReply("bad_parameters", quoted(str(error)), text) from error
    named = entities_of(e for e in shown if e.id in reply.cited)
    if strange := [e for e in action.entities() if e not in named]:
        raise BadReply("entity_not_in_evidence", f"the evidence cited does not name {', '.join(strange)}", text)
    return reply, action
