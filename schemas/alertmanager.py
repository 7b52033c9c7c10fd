"""What Alertmanager posts: a webhook v4 body read into alerts, and which configured cluster an alert is of.

Pure, and trusting nothing: every wrong field is named (`alerts[3].startsAt`), and one wrong alert hides no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from schemas.events import AlertReceived, Unreadable
from schemas.privacy import without_credentials

BODY_BYTES_MAX = 1 << 20
UNASSIGNED = "unassigned"  # the key of alerts that no configured cluster claims: intake dead-letters them in sight
CODE = "not_webhook_v4"

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Clusters = Mapping[str, Mapping[str, str]]  # cluster id -> the labels that its alerts carry


@dataclass(frozen=True)
class Webhook:
    """A body of version 4: the alerts that could be read (`cluster_id` is empty), and what is wrong with the rest.

    `at` is where each alert stood, e.g. `alerts[3]`.
    """

    alerts: tuple[AlertReceived, ...]
    at: tuple[str, ...]
    faults: tuple[Unreadable, ...] = ()


def parse(body: bytes) -> tuple[AlertReceived, ...]:
    """All alerts of a body, or Unreadable naming the first field at fault."""
    webhook = read(body)
    if webhook.faults:
        raise webhook.faults[0]
    return webhook.alerts


def read(body: bytes) -> Webhook:
    """The alerts of a body, and the faults of the others. Raises Unreadable where it is no v4 body at all."""
    if len(body) > BODY_BYTES_MAX:
        raise Unreadable("too_large", f"{len(body)} bytes, at most {BODY_BYTES_MAX} are read")
    top = _mapping(_json(body), "")
    if top.get("version") != "4":
        raise _fault("version", f'expected "4", found {_shown(top.get("version"))}')
    truncated = _whole_number(top, "truncatedAlerts")
    source = _text(top, "externalURL", "", required=False)
    if "alerts" not in top:
        raise _fault("alerts", "missing")
    listed = top["alerts"]
    if not isinstance(listed, list):
        raise _fault("alerts", f"expected a list, found {_shown(listed)}")
    alerts: list[AlertReceived] = []
    at: list[str] = []
    faults: list[Unreadable] = []
    for index, item in enumerate(listed):
        try:
            alerts.append(_alert(item, f"alerts[{index}]", source, truncated))
            at.append(f"alerts[{index}]")
        except Unreadable as fault:
            faults.append(fault)
    return Webhook(tuple(alerts), tuple(at), tuple(faults))


def cleansed(alert: AlertReceived) -> AlertReceived:
    """Without the credentials in its addresses, wherever in its text they stand. Its fingerprint is that of the labels
    as they were."""
    texts = {name: without_credentials(getattr(alert, name)) for name in ("source", "generator_url", "name")}
    kept: dict[str, Any] = {name: text for name, text in texts.items() if text != getattr(alert, name)}
    for name in ("labels", "annotations"):
        given = getattr(alert, name)
        clean = {without_credentials(key): without_credentials(text) for key, text in given.items()}
        if clean != given:
            kept[name] = clean
    if not kept:
        return alert
    return alert.model_copy(update={**kept, "fingerprint": alert.fingerprint or fingerprint_of(alert.labels)})


def clusters_of(labels: Mapping[str, str], clusters: Clusters) -> list[str]:
    """The configured clusters whose labels this alert carries, all of them. No labels configured: never a match."""
    return [
        cluster_id
        for cluster_id, wanted in clusters.items()
        if wanted and all(labels.get(name) == value for name, value in wanted.items())
    ]


def cluster_of(labels: Mapping[str, str], clusters: Clusters) -> str | None:
    """The one configured cluster that this alert is of. None: no cluster matches, or several do."""
    found = clusters_of(labels, clusters)
    return found[0] if len(found) == 1 else None


def keyed(alerts: Sequence[AlertReceived], clusters: Clusters) -> list[tuple[str, AlertReceived]]:
    """Each alert with the key that it is published under. An alert that nobody claims is published all the same."""
    found = []
    for alert in alerts:
        cluster_id = cluster_of(alert.labels, clusters)
        found.append((cluster_id or UNASSIGNED, alert.model_copy(update={"cluster_id": cluster_id or ""})))
    return found


def level_of(labels: Mapping[str, str]) -> str:
    """How bad the rule says it is: TiKV's rules say `level`, most others `severity`. Empty: the rule does not say."""
    return (labels.get("level") or labels.get("severity") or "").strip().lower()


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """As Alertmanager makes it: FNV-1a over the sorted labels, 64 bits, in hex."""
    sum64 = 0xCBF29CE484222325
    for name, value in sorted(labels.items()):
        for byte in name.encode() + b"\xff" + value.encode() + b"\xff":
            sum64 = ((sum64 ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{sum64:016x}"


def time_ms(text: str) -> int | None:
    """RFC 3339, as Go writes it, in ms since 1970 UTC. 0 for year 1, Go's word for never; None for anything else."""
    found = _RFC3339.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if year == 1:
        return 0
    fraction_ms = int((found[7] or "0").ljust(9, "0")[:3])
    leap = second == 60  # RFC 3339 has leap seconds, datetime does not
    try:
        offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0)) * (-1 if found[8] == "-" else 1)
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone(offset))
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1) + (999 if leap else fraction_ms)


def _alert(item: Any, at: str, source: str, truncated: int) -> AlertReceived:
    fields = _mapping(item, at)
    status = _text(fields, "status", at)
    if status not in ("firing", "resolved"):
        raise _fault(f"{at}.status", f"expected firing or resolved, found {_shown(status)}")
    labels = _texts(fields, "labels", at)
    starts_at_ms = _time(fields, "startsAt", at)
    if starts_at_ms <= 0:
        raise _fault(f"{at}.startsAt", f"an alert has to have started after 1970, found {_shown(fields['startsAt'])}")
    given = AlertReceived(
        cluster_id="",
        name=labels.get("alertname", ""),
        status=status,
        starts_at_ms=starts_at_ms,
        labels=labels,
        annotations=_texts(fields, "annotations", at, required=False),
        ends_at_ms=max(0, _time(fields, "endsAt", at, required=False)),
        fingerprint=_text(fields, "fingerprint", at, required=False) or fingerprint_of(labels),
        generator_url=_text(fields, "generatorURL", at, required=False),
        source=source,
        truncated_alerts=truncated,
    )
    return cleansed(given)


def _json(body: bytes) -> Any:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault("", f"not UTF-8: byte {error.start}") from error
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise _fault("", "not JSON: nested too deeply") from error
    except ValueError as error:  # also an integer of more than 4300 digits
        raise _fault("", f"not JSON: {str(error)[:200]}") from error


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(at, f"expected an object, found {_shown(value)}")
    return value


def _text(fields: Mapping[str, Any], name: str, at: str, *, required: bool = True) -> str:
    where = f"{at}.{name}".lstrip(".")
    value = fields.get(name)
    if value is None:
        if required:
            raise _fault(where, "missing")
        return ""
    return _sound(value, where)


def _texts(fields: Mapping[str, Any], name: str, at: str, *, required: bool = True) -> dict[str, str]:
    where = f"{at}.{name}"
    value = fields.get(name)
    if value is None:
        if required:
            raise _fault(where, "missing")
        return {}
    return {_sound(key, where): _sound(text, f"{where}.{key[:100]}") for key, text in _mapping(value, where).items()}


def _sound(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise _fault(at, f"expected a text, found {_shown(value)}")
    if any("\ud800" <= char <= "\udfff" for char in value):  # half a surrogate pair has no UTF-8
        raise _fault(at, "not Unicode: half a surrogate pair")
    return value


def _time(fields: Mapping[str, Any], name: str, at: str, *, required: bool = True) -> int:
    text = _text(fields, name, at, required=required)
    if not text and not required:
        return 0
    found = time_ms(text)
    if found is None:
        raise _fault(f"{at}.{name}", f"not RFC 3339: {_shown(text)}")
    return found


def _whole_number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise _fault(name, f"expected a count, found {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value in a message: short, and never half a character."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value)[:80] if value is not None else "nothing"


def _fault(field: str, reason: str) -> Unreadable:
    return Unreadable(CODE, reason, field.encode("utf-8", "replace").decode())
