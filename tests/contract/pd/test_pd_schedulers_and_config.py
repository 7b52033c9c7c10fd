"""Sections 4 and 5 of pd-seen: schedulers, checkers, configuration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.pd.twin import Twin

pytestmark = pytest.mark.contract

EVICT = "evict-leader-scheduler"
LIST = f"/scheduler-config/{EVICT}/list"


@pytest.fixture
def evicting(writable_pd: Twin) -> Iterator[Twin]:
    """A PD whose evict-leader-scheduler is gone again afterwards."""
    yield writable_pd
    writable_pd.delete(f"/schedulers/{EVICT}")


def _evict(pd: Twin, store: int) -> tuple[int, bytes]:
    answer = pd.post("/schedulers", {"name": EVICT, "store_id": store})
    return answer.status_code, answer.content


def test_without_the_scheduler_its_list_is_404_text(pd: Twin) -> None:
    if EVICT in pd.get("/schedulers").json():
        pytest.skip("somebody evicts leaders on this PD now")
    answer = pd.get(LIST)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


def test_evicting_empties_the_store_and_removal_answers_null(evicting: Twin) -> None:
    pd, store = evicting, evicting.store_id()
    assert _evict(pd, store) == (200, b'"The scheduler is created."\n')
    assert EVICT in pd.get("/schedulers").json()
    assert pd.get(LIST).json() == {"store-id-ranges": {str(store): [{"start-key": "", "end-key": ""}]}, "batch": 3}
    assert pd.until(lambda: pd.leader_count(store) == 0, within_s=30)
    gone = pd.delete(f"/schedulers/{EVICT}-{store}")
    assert (gone.status_code, gone.content) == (200, b"null\n")
    again = pd.delete(f"/schedulers/{EVICT}-{store}")
    assert (again.status_code, again.content) == (404, b"null\n")
    assert pd.get(LIST).status_code == 404
    assert pd.until(lambda: pd.leader_count(store) > 0, within_s=30)


def test_repeating_an_eviction_or_adding_a_store_is_applied(evicting: Twin) -> None:
    first, second = (store["store"]["id"] for store in evicting.stores()[:2])
    _evict(evicting, first)
    assert _evict(evicting, first) == (200, b'"The scheduler has been applied to the store."\n')
    assert _evict(evicting, second) == (200, b'"The scheduler has been applied to the store."\n')
    assert set(evicting.get(LIST).json()["store-id-ranges"]) == {str(first), str(second)}


def test_an_unknown_store_is_refused_and_doubly_encoded_once_the_scheduler_exists(evicting: Twin) -> None:
    assert _evict(evicting, 999) == (500, b'"[PD:core:ErrStoreNotFound]store 999 not found"\n')
    _evict(evicting, evicting.store_id())
    assert _evict(evicting, 999) == (500, b'"\\"[PD:core:ErrStoreNotFound]store 999 not found\\"\\n"\n')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": EVICT}, "missing store id"),
        ({"name": EVICT, "store_id": "1"}, "missing store id"),
        ({"name": "nosuch"}, "unknown scheduler"),
        ({}, "missing scheduler name"),
    ],
)
def test_what_is_missing_is_named(pd: Twin, body: dict[str, object], message: str) -> None:
    answer = pd.post("/schedulers", body)
    assert (answer.status_code, answer.json()) == (400, message)


def test_removing_the_whole_scheduler(evicting: Twin) -> None:
    _evict(evicting, evicting.store_id())
    gone = evicting.delete(f"/schedulers/{EVICT}")
    assert (gone.status_code, gone.json()) == (200, "The scheduler is removed.")
    again = evicting.delete(f"/schedulers/{EVICT}")
    assert (again.status_code, again.json()) == (404, "[PD:scheduler:ErrSchedulerNotFound]scheduler not found")
    odd = evicting.delete(f"/schedulers/{EVICT}-abc")
    assert (odd.status_code, odd.content) == (404, b"null\n")


def test_a_granted_store_can_not_be_evicted(evicting: Twin) -> None:
    store = evicting.store_id()
    evicting.post("/schedulers", {"name": "grant-leader-scheduler", "store_id": store})
    refused = _evict(evicting, store)
    evicting.delete(f"/schedulers/grant-leader-scheduler-{store}")
    message = f"[PD:core:ErrPauseLeaderTransfer]store {store} is paused for leader transfer"
    assert refused == (500, f'"{message}"\n'.encode())


def test_an_existing_scheduler_without_arguments_is_refused(writable_pd: Twin) -> None:
    answer = writable_pd.post("/schedulers", {"name": "balance-leader-scheduler"})
    assert (answer.status_code, answer.json()) == (500, "[PD:scheduler:ErrSchedulerExisted]scheduler existed")


def test_a_pause_shows_with_its_times_and_0_resumes(writable_pd: Twin) -> None:
    pd, path = writable_pd, "/schedulers/balance-region-scheduler"
    assert pd.post(path, {"delay": 60}).json() == "Pause or resume the scheduler successfully."
    paused = pd.get("/schedulers?status=paused&timestamp").json()
    assert [set(each) for each in paused] == [{"name", "paused_at", "resume_at"}]
    assert pd.get("/schedulers?status=paused").json() == ["balance-region-scheduler"]
    pd.post(path, {"delay": 0})
    assert pd.get("/schedulers?status=paused").json() in ([], None)


def test_a_pause_needs_an_integer(writable_pd: Twin) -> None:
    path = "/schedulers/balance-region-scheduler"
    for bad in ("60", 1.9):
        answer = writable_pd.post(path, {"delay": bad})
        assert answer.status_code == 400
        assert answer.json()["code"] == "input"
    assert writable_pd.post(path, {}).json() == "missing pause time"
    unknown = writable_pd.post(f"/schedulers/{EVICT}-1", {"delay": 60})
    assert (unknown.status_code, unknown.json()) == (500, "[PD:scheduler:ErrSchedulerNotFound]scheduler not found")


def test_a_pause_ends_by_itself(writable_pd: Twin) -> None:
    pd = writable_pd
    pd.post("/schedulers/balance-region-scheduler", {"delay": 1})
    assert pd.until(lambda: pd.get("/schedulers?status=paused").json() in ([], None), within_s=5)


def test_a_checker_is_paused_resumed_and_there_is_no_all(writable_pd: Twin) -> None:
    pd = writable_pd
    assert pd.post("/checker/merge", {"delay": 60}).json() == "Pause the checker successfully."
    assert pd.get("/checker/merge").json() == {"paused": True}
    assert pd.post("/checker/merge", {"delay": 0}).json() == "Resume the checker successfully."
    answer = pd.post("/checker/all", {"delay": 60})
    assert (answer.status_code, answer.json()) == (500, "[PD:checker:ErrCheckerNotFound]checker not found")


def test_other_schedulers_have_no_diagnostic(pd: Twin) -> None:
    answer = pd.get("/schedulers/diagnostic/foo")
    assert answer.status_code == 500
    assert answer.json() == "[PD:diagnostic:ErrSchedulerUndiagnosable]foo hasn't supported diagnostic"


def test_the_evict_slow_list_is_its_own(pd: Twin) -> None:
    seen = pd.get("/scheduler-config/evict-slow-store-scheduler/list").json()
    assert {"evict-stores", "recovery-duration", "batch"} <= set(seen)


def test_config_wants_numbers_as_numbers_and_booleans_as_strings(writable_pd: Twin) -> None:
    pd = writable_pd
    assert pd.post("/config", {"leader-schedule-limit": "7"}).status_code == 400
    answer = pd.post("/config", {"enable-one-way-merge": False})
    assert answer.status_code == 400
    assert answer.json() == ("json: invalid use of ,string struct tag, trying to unmarshal unquoted value into bool")
    assert pd.post("/config", {}).status_code == 200
    assert pd.post("/config", {"nosuch": 1}).json() == "config item nosuch not found"


def test_config_is_set_and_read_back(writable_pd: Twin) -> None:
    pd = writable_pd
    old = pd.get("/config/schedule").json()["leader-schedule-limit"]
    assert pd.post("/config", {"schedule.leader-schedule-limit": old + 3}).json() == "The config is updated."
    assert pd.get("/config/schedule").json()["leader-schedule-limit"] == old + 3
    pd.post("/config", {"leader-schedule-limit": old})


def test_unknown_schedule_keys_pass_in_silence(writable_pd: Twin) -> None:
    assert writable_pd.post("/config/schedule", {"nosuch": 1}).status_code == 200


def test_no_replicas_is_refused(writable_pd: Twin) -> None:
    answer = writable_pd.post("/config", {"max-replicas": 0})
    assert (answer.status_code, answer.json()) == (
        400,
        "[PD:placement:ErrRuleContent]invalid rule content, invalid count 0",
    )


def test_a_temporary_value_never_shows_but_locks_the_permanent_key(writable_pd: Twin) -> None:
    pd, key = writable_pd, "schedule.leader-schedule-limit"
    old = pd.get("/config/schedule").json()["leader-schedule-limit"]
    assert pd.post("/config?ttlSecond=30", {key: 0}).json() == "The ttl config is updated."
    assert pd.get("/config/schedule").json()["leader-schedule-limit"] == old
    for path, name in (
        ("/config", "leader-schedule-limit"),
        ("/config", key),
        ("/config/schedule", "leader-schedule-limit"),
    ):
        locked = pd.post(path, {name: old})
        assert (locked.status_code, locked.json()) == (400, f"need to clean up TTL first for {key}")
    assert pd.post("/config", {"schedule.region-schedule-limit": 2048}).json() == "The config is updated."
    assert pd.post("/config?ttlSecond=0", {key: 0}).json() == "The ttl config is deleted."
    assert pd.post("/config", {"leader-schedule-limit": old}).status_code == 200


def test_a_temporary_key_needs_its_section_and_its_value_is_not_checked(writable_pd: Twin) -> None:
    pd = writable_pd
    answer = pd.post("/config?ttlSecond=5", {"leader-schedule-limit": 1})
    assert (answer.status_code, answer.json()) == (400, "unsupported ttl config leader-schedule-limit")
    assert pd.post("/config?ttlSecond=-5", {"schedule.leader-schedule-limit": 1}).status_code == 200


def test_a_temporary_limit_of_0_holds_an_eviction_until_it_ends(evicting: Twin) -> None:
    pd, store = evicting, evicting.store_id()
    pd.post("/config?ttlSecond=2", {"schedule.leader-schedule-limit": 0})
    before = pd.leader_count(store)
    _evict(pd, store)
    pd.sleep(1.0)
    assert pd.leader_count(store) == before
    assert pd.until(lambda: pd.leader_count(store) == 0, within_s=30)


def test_halted_scheduling_shows_and_admin_operators_run_all_the_same(breakable_pd: Twin) -> None:
    pd = breakable_pd
    pd.post("/config", {"halt-scheduling": "true"})
    assert pd.get("/config/schedule").json()["halt-scheduling"] == "true"
    region = pd.region()
    to = pd.follower(region)
    pd.post("/operators", {"name": "transfer-leader", "region_id": region["id"], "to_store_id": to})
    assert pd.until(lambda: pd.leader_of(region["id"]) == to)


def test_a_rate_limit_answers_429_text_without_retry_after(breakable_pd: Twin) -> None:
    pd = breakable_pd
    body = {"type": "path", "path": "/pd/api/v1/stores", "method": "GET", "qps": 1}
    set_ = pd.post("/service-middleware/config/rate-limit", body)
    assert (set_.status_code, set_.text) == (200, "Rate limiter is updated.")
    answers = [pd.get("/stores") for _ in range(3)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].text == "Too Many Requests\n"
    assert "retry-after" not in refused[0].headers
