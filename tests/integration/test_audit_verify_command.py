"""`steward audit verify` as an auditor runs it: in a process of its own, over what the role `audit` has written."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.cli import app
from infra.clickhouse.checkpoints import files_in
from infra.embedded import EmbeddedBroker
from schemas import events as e
from tests.integration.audit_fixtures import CLUSTER, PARTITIONS, Story, the_main_story
from tests.integration.stack import COMMAND
from tests.integration.test_audit_kafka import write

WITHIN_S = 120.0


@dataclass
class Place:
    """A broker with a story on it, a configuration, and nothing else."""

    directory: Path
    broker: EmbeddedBroker
    story: Story

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    own_process: bool = True  # False: in this one, which can't open another chDB

    def steward(self, *arguments: str) -> tuple[int, str, str]:
        given = ["--config", str(self.directory / "steward.toml"), *arguments]
        if not self.own_process:
            result = CliRunner().invoke(app, given)
            return result.exit_code, result.stdout, result.stderr
        ran = subprocess.run([*COMMAND, *given], capture_output=True, text=True, timeout=WITHIN_S)
        return ran.returncode, ran.stdout, ran.stderr

    def verdict(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, said, wrong = self.steward("audit", "verify", "--json", *arguments)
        assert said, wrong
        return code, json.loads(said)

    def audited(self, meanwhile: Callable[[], None]) -> None:
        """The role `audit`, until it has written its checkpoints."""
        command = [*COMMAND, "--config", str(self.directory / "steward.toml"), "run", "audit"]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            give_up_s = time.monotonic() + WITHIN_S
            while not files_in(self.checkpoints):
                assert process.poll() is None, (self.directory / "log").read_text()[-3000:]
                assert time.monotonic() < give_up_s, (self.directory / "log").read_text()[-3000:]
                time.sleep(0.1)
            meanwhile()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with EmbeddedBroker(prefix="audit.", partitions=PARTITIONS) as broker:
        story = the_main_story(gaps=False)
        write(broker.settings, story)
        (tmp_path / "steward.toml").write_text(
            f"""\
environment = "test"
[kafka]
bootstrap = "{broker.bootstrap}"
topic_prefix = "audit."
partitions = {PARTITIONS}
[clickhouse]
url = "chdb:table"
[audit]
checkpoints = "file:checkpoints"
[metrics]
observe = "127.0.0.1:0"
[clusters.{CLUSTER}]
alert_labels = {{ env = "{CLUSTER}" }}
pd = ["http://127.0.0.1:1"]
pd_cluster_id = 7
"""
        )
        yield Place(tmp_path, broker, story)


@pytest.mark.local
@pytest.mark.clickhouse
def test_what_the_audit_has_written_is_judged_without_asking_anybody_who_runs(place: Place) -> None:
    pytest.importorskip("chdb")

    def nobody_else_opens_it() -> None:
        code, said, wrong = place.steward("audit", "verify", "--direct")
        assert (code, said, "chDB is one process's" in wrong) == (3, "", True), wrong  # a 1 would say: broken

    place.audited(nobody_else_opens_it)
    count = len(place.story.all())

    code, said = place.verdict("--direct", "--from", "both")
    assert code == 0, said["text"]
    assert said["source"] == "kafka and clickhouse"
    assert (said["counts"]["records"], said["counts"]["lag"]) == (count, 0)
    assert said["counts"]["checkpoints"] >= 10

    later = Story(place.story.now_ms, gaps=False, links=place.story.links)
    for code_ in ("x", "y"):  # the log goes on, and nobody writes it into the table
        later.says("tickets", e.InputRejected(cluster_id=CLUSTER, code=code_, text="z"))
    write(place.broker.settings, later)
    code, text, _ = place.steward("audit", "verify", CLUSTER, "--direct", "--from", "both")
    assert code == 0, text
    assert "2 records not yet in the table" in text.splitlines()[0]

    (path,) = files_in(place.checkpoints)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*kept[:4], *kept[5:]]))
    code, said = place.verdict("--direct")
    assert (code, said["ok"]) == (1, False)
    assert [(b["kind"], b["topic"], b["offset"]) for b in said["breaks"]] == [("missing", "checkpoints", 5)]
    copy = place.directory / "copy"
    copy.mkdir()
    (copy / path.name).write_bytes(b"".join(kept))
    assert place.verdict("--checkpoints", str(copy))[0] == 0


@pytest.mark.local
def test_the_topics_alone_need_no_table_and_no_console(place: Place) -> None:
    place.own_process = False
    code, said = place.verdict("--direct", "--from", "kafka", "--checkpoints", str(place.directory))
    assert (code, [b["topic"] for b in said["breaks"]]) == (1, ["checkpoints"])  # none were ever written
    text = (place.directory / "steward.toml").read_text()
    (place.directory / "steward.toml").write_text(text.replace('checkpoints = "file:checkpoints"', ""))
    code, said = place.verdict("--direct", "--from", "kafka")
    assert (code, said["source"], said["counts"]["records"]) == (0, "kafka", len(place.story.all()))
    code, _, wrong = place.steward("audit", "verify", "prod-eu-77", "--direct", "--from", "kafka")
    assert code == 2
    assert "'prod-eu-77' is neither configured nor on record" in wrong


@pytest.mark.local
def test_what_cant_be_reached_is_named_and_the_exit_code_is_3(place: Place) -> None:
    place.own_process = False
    config = place.directory / "steward.toml"
    text = config.read_text()
    nowhere = str(place.directory / "nowhere")
    code, _, wrong = place.steward("audit", "verify", "--checkpoints", nowhere)
    assert (code, f"checkpoints: {nowhere}: Not a directory" in wrong) == (3, True), wrong
    config.write_text(text.replace('topic_prefix = "audit."', 'topic_prefix = "other."'))
    code, _, wrong = place.steward("audit", "verify", "--direct", "--from", "kafka")
    assert (code, "no topic of ours is there" in wrong) == (3, True), wrong
    config.write_text(text.replace('url = "chdb:table"', 'url = "http://127.0.0.1:1/steward"'))
    code, _, wrong = place.steward("audit", "verify", "--direct")
    assert (code, "127.0.0.1:1" in wrong) == (3, True), wrong
    config.write_text(text.replace(place.broker.bootstrap, "127.0.0.1:1"))
    code, _, wrong = place.steward("audit", "verify", "--direct", "--from", "kafka")
    assert (code, "Kafka at 127.0.0.1:1" in wrong) == (3, True), wrong
    config.write_text(text.replace('[clickhouse]\nurl = "chdb:table"\n', ""))
    code, _, wrong = place.steward("audit", "verify", "--direct")
    assert (code, "clickhouse.url" in wrong) == (2, True), wrong
