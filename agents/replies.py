"""Checking what a model replied to a diagnosis, and what every check of a reply shares. Pure.

The API holds a reply to its shape: not to bounds, and it knows nothing of our evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from agents.evidence import quoted
from agents.thinking import ThinkingFailed
from schemas.alert_rules import CauseName
from schemas.values import Evidence, Model, canonical_json

M = TypeVar("M", bound=Model)
REPLY_KEPT_MAX = 2000
_BOUNDS = frozenset(
    {
        "greater_than_equal",
        "less_than_equal",
        "too_long",
        "too_short",
        "string_too_long",
        "string_too_short",
        "finite_number",
    }
)

Cited = Annotated[tuple[Annotated[str, Field(max_length=8)], ...], Field(max_length=32)]


class RuledOutReply(Model):
    what: str = Field(min_length=1, max_length=120)
    evidence: Cited


class DiagnosisReply(Model):
    cause: CauseName
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)
    summary: str = Field(min_length=1, max_length=300)
    cited: Cited
    ruled_out: Annotated[tuple[RuledOutReply, ...], Field(max_length=12)]


class BadReply(ThinkingFailed):
    """A reply that came whole and can't be used."""

    def __init__(self, code: str, text: str, reply: str) -> None:
        self.code = code
        super().__init__(text, reply[:REPLY_KEPT_MAX])


def diagnosis_reply(text: str, evidence: Iterable[Evidence]) -> DiagnosisReply:
    """The reply, believed as far as it can be checked here. Raises BadReply."""
    reply = shaped(DiagnosisReply, text)
    cited = (*reply.cited, *(i for r in reply.ruled_out for i in r.evidence))
    check_cited(cited, evidence, text)
    if reply.cause != "unknown" and not reply.cited:
        raise BadReply("reply_cites_nothing", f"{reply.cause} without any evidence", text)
    return reply.model_copy(update={"summary": quoted(reply.summary, 300)})


def shaped(kind: type[M], text: str) -> M:
    """The reply as JSON of the right shape and within bounds. Raises BadReply."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "reply"
        code = "reply_wrong_shape"
        if first["type"] == "json_invalid":
            code = "reply_not_json"
        elif first["type"] in _BOUNDS:
            code = "reply_out_of_bounds"
        raise BadReply(code, quoted(f"{where}: {first['msg']}"), text) from error


def check_cited(cited: Iterable[str], evidence: Iterable[Evidence], text: str) -> None:
    """Every id must be one that was shown. Raises BadReply."""
    known = {e.id for e in evidence}
    if strange := [i for i in dict.fromkeys(cited) if i not in known]:
        raise BadReply("reply_cites_unknown_evidence", f"there is no evidence {quoted(', '.join(strange), 80)}", text)


# -- the shape that the API is given --------------------------------------------------------------------------------

_KEPT = frozenset({"type", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "$defs", "description"})


def wire_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a JSON schema that the API takes: no bounds and no defaults; objects closed, every field required."""
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key not in _KEPT:
            continue
        if key in ("properties", "$defs"):
            kept[key] = {name: wire_schema(inner) for name, inner in value.items()}
        elif key == "items":
            kept[key] = wire_schema(value)
        elif key == "anyOf":
            kept[key] = [wire_schema(inner) for inner in value]
        else:
            kept[key] = value
    if kept.get("type") == "object":
        kept["required"] = sorted(kept.get("properties", {}))
        kept["additionalProperties"] = False
    return kept


def diagnosis_schema() -> str:
    return canonical_json(wire_schema(DiagnosisReply.model_json_schema()))
