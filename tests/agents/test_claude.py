"""Every way a model's answer can go wrong, over a real socket: each leaves an abstention with its code, in time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from agents.claude import Claude
from agents.diagnose import Diagnose
from agents.thinking import ModelTimedOut, Request, ThinkingFailed
from schemas.events import DiagnosisAbstained, DiagnosisMade
from tests.agents.cases import alert, asked, facts, store
from tests.agents.lane import FakeLane, FixedFacts, of_kind
from tests.agents.messages_api import Play, drips, fails, hangs, hangs_up, messages_api, raw, says

pytestmark = pytest.mark.local

KEY = "sk-the-key-of-this-test"
SLOW = facts(store(4, slow_score=84))
ALERT = alert("PD_cluster_slow_tikv_nums", instance="10.0.9.1:2379")
GOOD = {
    "cause": "slow_store",
    "confidence": 0.9,
    "summary": "disk stall, store 4",
    "cited": ["E1", "E8"],
    "ruled_out": [{"what": "store down", "evidence": ["E2"]}],
}


class WallLane(FakeLane[Any]):
    """Sleeps and tells the time for real: there is a real socket at the other end."""

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep_until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0, at_ms - self.now_ms()) / 1000)


def reply(**changed: Any) -> str:
    return json.dumps({**GOOD, **changed})


def diagnosed(play: Play, within_s: float = 20, url: str = "") -> tuple[Any, Any, float]:
    """(the answer, the server, seconds) of one ask by the model against a server that plays this."""
    with messages_api(play) as api:

        async def run() -> tuple[Any, float]:
            claude = Claude("claude-of-the-configuration", KEY, url or api.url)
            lane = WallLane(Diagnose(FixedFacts(SLOW), claude))
            await claude._connected()  # its import is not what is measured
            started = time.monotonic()
            lane.give(asked(ALERT, family="slow_store", by="model", deadline_ms=lane.now_ms() + round(1000 * within_s)))
            while lane.works.owed(lane.state):
                await lane.works.work(lane, False)
            took_s = time.monotonic() - started
            await claude.aclose()
            return lane.said[-1], took_s

        answer, took_s = asyncio.run(run())
    return answer, api, took_s


def test_a_good_reply_becomes_a_diagnosis() -> None:
    made, api, _ = diagnosed(says(reply()))
    assert isinstance(made, DiagnosisMade)
    assert (made.cause, made.confidence, made.by) == ("slow_store", 0.9, "model")
    assert made.cited == ("E1", "E8")
    assert made.ruled_out[0].evidence == ("E2",)
    assert made.model == "claude-of-the-test"
    assert made.prompt_version == "diagnosis-2"
    assert len(made.prompt_sha256) == 64
    body = api.bodies[0]
    assert body["model"] == "claude-of-the-configuration"
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert "temperature" not in body
    assert "<untrusted>" in body["messages"][0]["content"]
    assert KEY in api.headers[0]["authorization"]


def test_unknown_is_an_answer() -> None:
    abstained, _, _ = diagnosed(says(reply(cause="unknown", cited=[], summary="the store's log would tell")))
    assert (abstained.code, abstained.reason) == ("model_unsure", "the store's log would tell")


BAD: dict[str, tuple[Play, str]] = {
    "refusal": (says("I can't help with that", "refusal"), "model_refused"),
    "refusal_without_text": (says("", "refusal", content=[]), "model_refused"),
    "truncation": (says(reply()[:40], "max_tokens"), "model_truncated"),
    "a_truncation_that_parses": (says(reply(), "max_tokens"), "model_truncated"),
    "context_window": (says(reply(), "model_context_window_exceeded"), "model_truncated"),
    "tool_use": (says(reply(), "tool_use"), "model_said_junk"),
    "no_stop_reason": (says(reply(), stop_reason=None), "model_said_junk"),  # type: ignore[arg-type]
    "rate_limit": (fails(429, "rate_limit_error", retry_after="3600"), "model_rate_limited"),
    "overloaded": (fails(529, "overloaded_error"), "model_overloaded"),
    "unavailable": (fails(503, "api_error"), "model_overloaded"),
    "server_error": (fails(500, "api_error"), "model_broken"),
    "bad_key": (fails(401, "authentication_error"), "model_denied"),
    "bad_key_said_aloud": (fails(401, f"no such key {KEY}"), "model_denied"),
    "bad_request": (fails(400, "invalid_request_error"), "model_denied"),
    "hangs_up": (hangs_up, "model_unreachable"),
    "html": (raw(200, b"<html>Sign in</html>", "text/html"), "model_said_junk"),
    "half_a_json": (raw(200, b'{"id": "msg_1", "content"'), "model_said_junk"),
    "another_json": (raw(200, b'{"hello": "world"}'), "model_said_junk"),
    "a_list": (raw(200, b"[1, 2]"), "model_said_junk"),
    "empty_body": (raw(200, b""), "model_said_junk"),
    "no_text": (says("", content=[]), "model_said_junk"),
    "text_of_a_wrong_type": (says("", content=[{"type": "text", "text": 7}]), "model_said_junk"),
    "junk_json": (says("Sure! Here is the JSON: {}"), "reply_not_json"),
    "wrong_schema": (says('{"cause": "slow_store"}'), "reply_wrong_shape"),
    "one_field_too_many": (says(reply(extra=1)), "reply_wrong_shape"),
    "a_cause_of_its_own": (says(reply(cause="gremlins")), "reply_wrong_shape"),
    "evidence_that_is_not_there": (says(reply(cited=["E1", "E99"])), "reply_cites_unknown_evidence"),
    "ruled_out_by_nothing": (
        says(reply(ruled_out=[{"what": "x", "evidence": ["E77"]}])),
        "reply_cites_unknown_evidence",
    ),
    "no_evidence": (says(reply(cited=[])), "reply_cites_nothing"),
    "confidence_over_1": (says(reply(confidence=1.01)), "reply_out_of_bounds"),
    "confidence_under_0": (says(reply(confidence=-0.1)), "reply_out_of_bounds"),
    "confidence_nan": (says(reply(confidence=float("nan"))), "reply_out_of_bounds"),
    "summary_too_long": (says(reply(summary="x" * 301)), "reply_out_of_bounds"),
    "too_many_ids": (says(reply(cited=["E1"] * 33)), "reply_out_of_bounds"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_leaves_an_abstention_with_its_code(name: str) -> None:
    play, code = BAD[name]
    abstained, api, took_s = diagnosed(play)
    assert isinstance(abstained, DiagnosisAbstained)
    assert abstained.code == code, abstained.reason
    assert abstained.reason
    assert abstained.evidence, "what was seen stays on record"
    assert abstained.prompt_version == "diagnosis-2"
    assert len(api.bodies) == 1, "never asked twice"
    assert took_s < 5
    assert KEY not in abstained.model_dump_json()


@pytest.mark.parametrize("play", [hangs, drips], ids=["hangs", "drips"])
def test_an_answer_that_does_not_come_is_given_up_before_the_deadline(play: Play) -> None:
    abstained, api, took_s = diagnosed(play, within_s=1.6)
    assert abstained.code == "model_timed_out"
    assert took_s < 1.6
    assert len(api.bodies) == 1


@pytest.mark.parametrize("play", [hangs, drips], ids=["hangs", "drips"])
def test_the_wire_keeps_the_deadline_by_itself(play: Play) -> None:
    """Whoever asks may have no clock of its own; and each byte that drips in is in time for the SDK."""
    with messages_api(play) as api:

        async def run() -> float:
            claude = Claude("claude", KEY, api.url)
            await claude._connected()
            started = time.monotonic()
            with pytest.raises(ModelTimedOut):
                await claude.ask(Request("diagnosis", "diagnosis-1", "system", "user", '{"type":"object"}', 0.5))
            took_s = time.monotonic() - started
            await claude.aclose()
            return took_s

        assert 0.4 < asyncio.run(run()) < 2


@pytest.mark.parametrize("key", ["", "two words", "line\nend", "k\u00e9y"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_told(key: str) -> None:
    with pytest.raises(ValueError, match=r"model\.api_key") as refused:
        Claude("claude", key, "http://127.0.0.1:1")
    assert not key or key not in str(refused.value)


def test_a_retry_after_of_an_hour_is_told_and_not_obeyed() -> None:
    abstained, _, took_s = diagnosed(fails(429, "rate_limit_error", retry_after="3600"))
    assert "3600" in abstained.reason
    assert took_s < 2


def test_nobody_listening_is_an_abstention() -> None:
    with messages_api(hangs) as gone:
        url = gone.url
    abstained, _, _ = diagnosed(hangs, url=url)
    assert abstained.code == "model_unreachable"


def test_the_playbook_answers_while_the_model_hangs() -> None:
    with messages_api(hangs) as api:

        async def run() -> list[Any]:
            claude = Claude("claude", KEY, api.url)
            lane = WallLane(Diagnose(FixedFacts(SLOW), claude))
            await claude._connected()
            until = lane.now_ms() + 1800
            lane.give(asked(ALERT, family="slow_store", by="model", ask_id="A-m", deadline_ms=until))

            async def ask_the_playbook() -> None:
                await asyncio.sleep(0.3)
                lane.give(asked(ALERT, family="slow_store", ask_id="A-p", deadline_ms=until))

            await asyncio.gather(lane.works.work(lane, False), ask_the_playbook())
            await claude.aclose()
            return of_kind(lane.said, DiagnosisMade) + of_kind(lane.said, DiagnosisAbstained)

        made, abstained = asyncio.run(run())
    assert (made.ask_id, made.by) == ("A-p", "playbook")
    assert (abstained.ask_id, abstained.code) == ("A-m", "model_timed_out")


def test_anthropic_is_imported_only_when_a_question_is_asked() -> None:
    code = "import sys, agents.claude, agents.propose; print([m for m in sys.modules if 'anthropic' in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def known(play: Play, key: str = KEY, model: str = "claude-of-the-configuration") -> tuple[str, Any]:
    """What `doctor` hears of a server that plays this, and the server."""
    with messages_api(play) as api:

        async def run() -> str:
            claude = Claude(model, key, api.url)
            try:
                return await claude.known(5)
            except ThinkingFailed as failed:
                return str(failed)
            finally:
                await claude.aclose()

        return asyncio.run(run()), api


def test_doctor_asks_whether_the_model_is_there_and_nothing_else() -> None:
    model = {"id": "claude-of-the-test", "type": "model", "display_name": "x", "created_at": "2026-01-01T00:00:00Z"}
    said, api = known(raw(200, json.dumps(model).encode()))

    assert said == "claude-of-the-test"
    assert api.asked == ["/v1/models/claude-of-the-configuration"]
    assert api.bodies == []


def test_doctor_hears_of_a_wrong_key_an_unknown_model_and_of_what_is_no_model() -> None:
    assert known(fails(401, f"no such key {KEY}"))[0].startswith("model_denied: 401")
    assert KEY not in known(fails(401, f"no such key {KEY}"))[0]
    assert known(fails(404, "not_found_error"))[0].startswith("model_denied: 404")
    assert known(raw(200, b"<html>Sign in</html>", "text/html"))[0].startswith("model_said_junk")
