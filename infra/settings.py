"""steward.toml: every key, what it must look like, and what is wrong with a file in words that never hold a secret.

Each key can also come from the environment as `STEWARD_SECTION__KEY` (it wins over the file). Secrets are never values:
they are named as `file:PATH`, `dir:PATH` or `env:NAME`, and read when they are used.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from schemas.policy import Policy
from schemas.privacy import Secretive
from schemas.values import ClusterId

PREFIX = "STEWARD_"
DEFAULT_FILE = "steward.toml"
_OF_THE_CLIENT = {"STEWARD_CONFIG", "STEWARD_TOKEN", "STEWARD_CONSOLE"}  # read by console/terminal.py


# -- what is wrong --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the dotted `field`, the `kind` of what stands there (never the value), the reason."""

    field: str
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason} (found: {self.kind})"


class ConfigError(Exception):
    """The configuration can't be used. Lists every problem; `field`, `kind` and `reason` are those of the first."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems
        self.field, self.kind, self.reason = problems[0].field, problems[0].kind, problems[0].reason


# -- secrets --------------------------------------------------------------------------------------------------------


class Secret(Secretive):
    """Where a secret is: read at each use, so that a rotated one is taken up; neither kept nor shown."""

    def __init__(self, kind: str, where: str, field: str = "") -> None:
        self.kind, self.where, self.field = kind, where, field

    @classmethod
    def parse(cls, text: Any, base: Path = Path(), *, bare: bool = False) -> Secret:
        """`file:PATH`, `dir:PATH` or `env:NAME`; with `bare` a path alone is a file. Paths are relative to `base`."""
        if isinstance(text, Secret):
            return text
        if not isinstance(text, str):
            raise ValueError("a secret is named as file:PATH, dir:PATH or env:NAME")
        kind, colon, where = text.partition(":")
        if bare and not (colon and kind in ("file", "dir", "env")):
            kind, where = "file", text
        if kind not in ("file", "dir", "env") or not where:
            raise ValueError("a secret is named as file:PATH, dir:PATH or env:NAME, never given itself")
        if kind == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", where):
            raise ValueError("env: wants the name of a variable")
        return cls(kind, where if kind == "env" else str(base / where))

    @property
    def path(self) -> Path:
        """The file or directory. An `env:` secret has none."""
        if self.kind == "env":
            raise self._problem("env", "a file or a directory is needed here")
        return Path(self.where)

    def member(self, *names: str) -> Secret:
        """The first of these files in a `dir:` secret (one file a role); any other secret is the same for all."""
        if self.kind != "dir":
            return self
        found = next((n for n in names if (Path(self.where) / n).exists()), names[0])
        return Secret("file", str(Path(self.where) / found), self.field)

    def has(self, name: str) -> bool:
        """Is there this file in a `dir:` secret? Any other secret is the same for all."""
        return self.kind != "dir" or (Path(self.where) / name).exists()

    def read(self) -> str:
        """The secret itself, without the line end that editors add. Raises ConfigError naming where it should be."""
        if self.kind == "env":
            value = os.environ.get(self.where, "")
            if not value:
                raise self._problem("nothing", f"the environment has no {self.where}")
            return value
        if self.kind == "dir":
            raise self._problem("directory", f"{self.where} is a directory: which file in it?")
        try:
            text = Path(self.where).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise self._problem("nothing", f"can't read {self.where}: {reason}") from None
        if not text.strip():
            raise self._problem("empty file", f"{self.where} is empty")
        return text.rstrip("\r\n")

    def missing(self) -> Problem | None:
        """Why it can't be read now, or None; nothing of it is kept."""
        try:
            if self.kind == "dir":
                return (
                    None
                    if Path(self.where).is_dir()
                    else self._problem("nothing", f"no directory {self.where}").problems[0]
                )
            self.read()
        except ConfigError as error:
            return error.problems[0]
        return None

    def _problem(self, kind: str, reason: str) -> ConfigError:
        return ConfigError(Problem(self.field or "secret", kind, reason))

    def __repr__(self) -> str:
        return f"Secret({self.kind}:{self.where})"

    __str__ = __repr__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            lambda value, info: cls.parse(value, _base(info)), serialization=core_schema.to_string_ser_schema()
        )


def _base(info: Any) -> Path:
    return Path((info.context or {}).get("base", ""))


# -- the sections ---------------------------------------------------------------------------------------------------


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _seconds(default: float, least: float, most: float) -> Any:
    return Field(default, ge=least, le=most)


def _split(value: Any) -> Any:
    """Lists may come from the environment, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _url(value: str, schemes: tuple[str, ...] = ("http", "https"), path: bool = False) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018
    except ValueError:  # which repeats what stands there: it may be a password
        raise ValueError("expected a URL whose host is one, with a number from 0 to 65535 as its port") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"expected a URL of {' or '.join(schemes)} with a host")
    if parts.username or parts.password:
        raise ValueError("a URL here holds no credentials: name them as a secret")
    if not path and (parts.path not in ("", "/") or parts.query or parts.fragment):
        raise ValueError("expected a URL without a path")
    return value.rstrip("/")


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("expected HOST:PORT")
    return value


Listen = Annotated[str, Field(min_length=3)]


class Kafka(Section):
    bootstrap: str = Field("127.0.0.1:9092", min_length=1)
    topic_prefix: str = Field("sre.steward.", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    credentials: Secret | None = None  # one file a role, each a librdkafka properties file
    partitions: int = Field(16, ge=1, le=1000)
    close_books_every_s: float = _seconds(86_400, 60, 30 * 86_400)  # a restart folds what came since


class ClickHouse(Section):
    url: str  # http(s)://HOST:PORT/DATABASE, or `chdb:PATH`: the embedded engine
    credentials: Secret | None = None  # one file a role: `user:password`

    @field_validator("url")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("chdb:"):
            if not value[5:]:
                raise ValueError("chdb: wants a path")
            return "chdb:" + str(_base(info) / value[5:])
        return _url(value, path=True)


class ModelSettings(Section):
    name: str = Field(min_length=1)
    api_key: Secret
    deadline_s: float = _seconds(60, 5, 600)
    base_url: str = "https://api.anthropic.com"

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return _url(value, path=True)


class Cluster(Section):
    alert_labels: dict[str, str] = Field(min_length=1)  # an alert with all of these is this cluster's
    pd: Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]
    pd_cluster_id: int = Field(ge=1, le=2**63 - 1)  # pinned: the wrong cluster is refused
    tls_read: Secret | None = None  # dir: ca.pem, cert.pem, key.pem
    tls_write: Secret | None = None  # mounted for `execute` only
    tier: int = Field(2, ge=1, le=9)  # 1 is the dearest

    @field_validator("pd")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_url(v) for v in value)


class Sink(Section):
    url: Secret  # any apprise URL


class Gateway(Section):
    listen: Listen = "127.0.0.1:9095"
    token: Secret | None = None  # None: no bearer token is asked for

    _listens = field_validator("listen")(_listen)


class Console(Section):
    listen: Listen = "127.0.0.1:9096"
    users: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")], Secret] = {}  # name -> token
    signing_key: Secret | None = None  # a private JWK, as `steward init` makes it
    url: str = ""  # where people reach it; empty: http://LISTEN

    _listens = field_validator("listen")(_listen)

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return _url(value, path=True) if value else value

    def address(self) -> str:
        return self.url or f"http://{self.listen}"


def _public_key(value: Any, info: ValidationInfo) -> Secret:
    return Secret.parse(value, _base(info), bare=True)


class Approvals(Section):
    """Public keys (JWK files) of consoles whose signatures count. Empty: that of [console] signing_key."""

    keys: Annotated[tuple[Annotated[Secret, BeforeValidator(_public_key)], ...], BeforeValidator(_split)] = ()


class Incidents(Section):
    """Times of the observing ledger: streams/incidents.py says what each does."""

    close_after_s: float = _seconds(300, 0, 86_400)
    close_after_s_max: float = _seconds(3600, 0, 7 * 86_400)
    silent_close_s: float = _seconds(86_400, 60, 30 * 86_400)
    repeat_noted_s: float = _seconds(3600, 1, 86_400)
    echo_s: float = _seconds(120, 0, 3600)
    playbook_deadline_s: float = _seconds(20, 1, 600)
    ask_again_s: float = _seconds(300, 0, 86_400)


class Execution(Section):
    """Margins of the executor. `window_s`: a request is sent within it or never."""

    window_s: float = _seconds(15, 1, 60)
    proxy_margin_s: float = _seconds(5, 3, 60)  # PD's follower may hold a request for 3 s before it passes it on
    poll_s: float = _seconds(2, 0.05, 60)
    probe_for_s: float = _seconds(120, 10, 3600)
    look_for_s: float = _seconds(60, 5, 3600)


class Playbook(Section):
    """What the playbook proposes where nothing else says so."""

    keep_s: int = Field(900, ge=60, le=3600)  # how long what is temporary is kept
    hold_s: int = Field(0, ge=0, le=1800, multiple_of=60)  # PD's moving of leaders is held while one is moved; 0: not


class MetricsSettings(Section):
    """Where each of the three processes of `steward up` serves /metrics; port 0: a free one, said in the log."""

    observe: Listen = "127.0.0.1:9097"
    act: Listen = "127.0.0.1:9098"
    execute: Listen = "127.0.0.1:9099"

    _listens = field_validator("observe", "act", "execute")(_listen)


def _directory(value: Any, info: ValidationInfo) -> Any:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.startswith("file:") or not value[5:]:
        raise ValueError("expected file:PATH, a directory; an object store is synced from there")
    return _base(info) / value[5:]


Directory = Annotated[Path | None, BeforeValidator(_directory)]


class Audit(Section):
    """How far each chain is, written to a second place: a tail cut off table and topics shows there alone."""

    checkpoints: Directory = None  # file:PATH, a directory; absent: none are written
    checkpoints_every_s: float = _seconds(3600, 60, 86_400)  # of what has moved; and when a day's books are closed


RESERVED_SINKS = ("log", "all", "none")
SinkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class Settings(Section):
    """All of steward.toml."""

    environment: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    _path: str = PrivateAttr("")  # the file that it was read from, for child processes
    kafka: Kafka = Kafka()
    clickhouse: ClickHouse | None = None  # None: nothing is kept there, `audit` is not run
    model: ModelSettings | None = None  # None: the playbook
    clusters: dict[ClusterId, Cluster] = {}
    sinks: dict[SinkName, Sink] = {}
    policy: Policy = Policy()  # a draft, until `steward policy apply`
    gateway: Gateway = Gateway()
    console: Console = Console()
    approvals: Approvals = Approvals()
    incidents: Incidents = Incidents()
    execution: Execution = Execution()
    playbook: Playbook = Playbook()
    metrics: MetricsSettings = MetricsSettings()
    audit: Audit = Audit()

    @property
    def path(self) -> str:
        """The file that these were read from; empty: the environment alone."""
        return self._path

    def cluster_tiers(self) -> dict[str, int]:
        return {name: cluster.tier for name, cluster in self.clusters.items()}

    @field_validator("policy", mode="before")
    @classmethod
    def _draft(cls, value: Any) -> Any:
        if isinstance(value, dict) and "version" in value:
            raise ValueError("version counts adoptions: it is not written by hand")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if wrong := list(_misfits(self)):
            raise ConfigError(*wrong)  # not a ValueError: pydantic lets it through as it is
        return self


def _misfits(settings: Settings) -> Iterator[Problem]:
    """What is right by itself and wrong beside the rest."""
    ids: dict[int, str] = {}
    urls: dict[str, str] = {}
    labels: dict[tuple[tuple[str, str], ...], str] = {}
    for name, cluster in settings.clusters.items():
        at = f"clusters.{name}"
        if other := ids.get(cluster.pd_cluster_id):
            yield Problem(f"{at}.pd_cluster_id", "integer", f"is pinned for {other} too: one PD cluster, one entry")
        ids[cluster.pd_cluster_id] = name
        for url in cluster.pd:
            place = _endpoint(url)
            if (other := urls.get(place)) and other != name:
                yield Problem(f"{at}.pd", "text", f"{place} is a PD of {other} too")
            urls[place] = name
            if (cluster.tls_read or cluster.tls_write) and not url.lower().startswith("https://"):
                yield Problem(f"{at}.pd", "text", f"{place} is plain HTTP, and certificates are given for it")
        wanted = tuple(sorted(cluster.alert_labels.items()))
        if other := labels.get(wanted):
            yield Problem(f"{at}.alert_labels", "table", f"are those of {other} too: whose alert would it be?")
        labels[wanted] = name
    for sink in settings.sinks:
        if sink in RESERVED_SINKS:
            yield Problem(f"sinks.{sink}", "table", f"{', '.join(RESERVED_SINKS)} are words of ours: name it otherwise")
    for tier, sink in settings.policy.notify.model_dump().items():
        if sink not in (*RESERVED_SINKS, *settings.sinks):
            there = ", ".join((*RESERVED_SINKS, *settings.sinks))
            yield Problem(f"policy.notify.{tier}", "text", f"no such sink; there are {there}")
    tiers = {str(tier) for tier in settings.cluster_tiers().values()}
    for tier in settings.policy.limits.tier:
        if tier not in tiers:
            yield Problem(f"policy.limits.tier.{tier}", "table", "no cluster of this tier is configured")
    for name, window in settings.policy.windows.items():
        at = f"policy.windows.{name}"
        for pattern in window.clusters:
            if not fnmatch.filter(settings.clusters, pattern):
                yield Problem(f"{at}.clusters", "list", f"no cluster that is configured matches {pattern!r}")
        for cluster_tier in window.cluster_tiers:
            if str(cluster_tier) not in tiers:
                yield Problem(f"{at}.cluster_tiers", "list", f"no cluster of tier {cluster_tier} is configured")
    if settings.policy.actions or settings.policy.windows:
        yield from _unknown_actions(settings)
    for action, rule in settings.policy.actions.items():
        for name in rule.canary:
            if name not in settings.clusters:
                yield Problem(f"policy.actions.{action}.canary", "list", f"no cluster {name!r} is configured")


def _unknown_actions(settings: Settings) -> Iterator[Problem]:
    """Else a mistyped name would be a rule about nothing, and the action that was meant would go by the default."""
    from actions.catalogue import CATALOGUE, FORBIDDEN

    policy = settings.policy
    named = [(f"policy.actions.{name}", "table", name) for name in policy.actions]
    named += [(f"policy.windows.{at}.actions", "list", name) for at, w in policy.windows.items() for name in w.actions]
    for field, kind, name in named:
        if name in FORBIDDEN:
            yield Problem(field, kind, f"forbidden: {FORBIDDEN[name].why_not()}")
        elif name not in CATALOGUE:
            near = difflib.get_close_matches(name, CATALOGUE, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(CATALOGUE))}"
            yield Problem(field, kind, f"unknown action; {hint}")


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


# -- loading --------------------------------------------------------------------------------------------------------


def find(path: Path | str | None = None) -> Path | None:
    """The file that `load` reads: the one given, else $STEWARD_CONFIG, else ./steward.toml, else none."""
    if path is not None:
        return Path(path)
    if named := os.environ.get("STEWARD_CONFIG"):
        return Path(named)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file and the environment. Raises ConfigError with everything that is wrong with them."""
    file = find(path)
    given: dict[str, Any] = {}
    if file is not None:
        try:
            given = tomllib.loads(file.read_text())
        except OSError as error:
            raise ConfigError(Problem(str(file), "nothing", f"can't be read: {error.strerror}")) from None
        except RecursionError:
            raise ConfigError(Problem(str(file), "text", "is nested too deeply")) from None
        except ValueError as error:
            raise ConfigError(Problem(str(file), "text", f"is not TOML: {error}")) from None
    over = os.environ if environ is None else environ
    for name, value in sorted(over.items()):
        if name.startswith(PREFIX) and name not in _OF_THE_CLIENT:
            _override(given, name, value)
    if not given:
        raise ConfigError(
            Problem("--config", "nothing", f"no {DEFAULT_FILE} here: name one, or make one: steward init")
        )
    settings = parse(given, base=file.parent if file else Path())
    settings._path = str(file.resolve()) if file else ""
    return settings


def parse(given: Mapping[str, Any], base: Path = Path()) -> Settings:
    """The settings of a mapping shaped as the file. `base`: what relative paths of secrets are relative to."""
    try:
        settings = Settings.model_validate(dict(given), context={"base": base})
    except ValidationError as error:
        raise ConfigError(*(_problem(e, given) for e in error.errors(include_url=False))) from None
    for field, secret in secrets(settings):
        secret.field = field
    return settings


def secrets(of: BaseModel, at: str = "") -> Iterator[tuple[str, Secret]]:
    """Every secret that is named, with its dotted field."""
    for name in type(of).model_fields:
        yield from _secrets_in(getattr(of, name), f"{at}{name}")


def _secrets_in(value: Any, at: str) -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield at, value
    elif isinstance(value, Section):
        yield from secrets(value, f"{at}.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets_in(inner, f"{at}.{key}")
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _secrets_in(inner, f"{at}.{number}")


def _override(given: dict[str, Any], name: str, value: str) -> None:
    """One STEWARD_SECTION__KEY. Such names have no case and no dashes: they find the spelling there is."""
    path = name.removeprefix(PREFIX).lower().split("__")
    if len(path) == 1 and path[0] != "environment":
        return  # not a key of ours: others use the prefix too (Kubernetes names its services so)
    at = given
    for part in path[:-1]:
        inner = at.setdefault(_spelling(at, part), {})
        if not isinstance(inner, dict):
            raise ConfigError(Problem(name, "text", f"{part} is not a section"))
        at = inner
    at[_spelling(at, path[-1])] = _from_text(value)


def _spelling(there: Mapping[str, Any], part: str) -> str:
    return next((k for k in there if re.sub(r"[^a-z0-9]", "_", k.lower()) == part), part)


def _from_text(value: str) -> Any:
    if value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _problem(error: Any, given: Mapping[str, Any]) -> Problem:
    """pydantic's error in our words, without its input."""
    path = tuple(p for p in error["loc"] if p != "[key]")
    field = ".".join(str(part) for part in path) or "steward.toml"
    there: Any = given
    for part in path:
        try:
            there = there[part]
        except (KeyError, IndexError, TypeError):
            there = None
            break
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_at(path[:-1]), n=1)
        return Problem(field, _kind(there), f"unknown key{f'; did you mean {near[0]}?' if near else ''}")
    if error["type"] == "missing":
        return Problem(field, "nothing", "is needed")
    return Problem(field, _kind(there), error["msg"].removeprefix("Value error, "))


def _keys_at(path: tuple[Any, ...]) -> list[str]:
    """The keys that the section at this place knows."""
    at: Any = Settings
    for part in path:
        if isinstance(at, type) and issubclass(at, BaseModel):
            info = at.model_fields.get(str(part))
            at = info.annotation if info else None
        elif get_origin(at) is dict:
            at = get_args(at)[1]
        if at is not None and get_origin(at) is not dict:
            at = next((a for a in (at, *get_args(at)) if isinstance(a, type) and issubclass(a, BaseModel)), None)
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []


def _kind(value: Any) -> str:
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "boolean"),
        (str, "text"),
        (int, "integer"),
        (float, "number"),
        (dict, "table"),
        (list, "list"),
        (type(None), "nothing"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
