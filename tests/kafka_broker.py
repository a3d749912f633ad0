"""A real Apache Kafka broker in KRaft mode on 127.0.0.1, from the jars of Maven Central.

The jars are fetched once, into .cache/kafka. `python -m tests.kafka_broker` fetches them and runs a
broker until Ctrl-C.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.bridge_process import free_port, wait_for

VERSION = "4.1.1"
JARS = Path(__file__).resolve().parent.parent / ".cache" / "kafka" / VERSION
CLUSTER = "YnJpZGdlLXRlc3QtMDAwMQ"  # any 16 bytes in base64
PATIENCE = 90.0  # seconds until a broker answers, on a busy machine

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bridge</groupId><artifactId>kafka-broker</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""

PROPERTIES = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=300
"""


LIFELINE = '"$@" < /dev/null & broker=$!; cat > /dev/null; kill $broker; wait $broker'


class Missing(Exception):
    """There is no broker to be had here; the message says what is missing."""


def fetch() -> str:
    """The class path of the broker. Raises Missing."""
    if not JARS.is_dir():
        if not shutil.which("mvn"):
            raise Missing("Maven (mvn) is not installed, and the broker's jars are not in .cache")
        with tempfile.TemporaryDirectory(dir=JARS.parent) as folder:
            (Path(folder) / "pom.xml").write_text(POM)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/jars"]
            command = ["mvn", "-q", "-B", *goal, "-DincludeScope=runtime"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise Missing(f"Maven could not fetch the broker's jars: {done.stdout[-500:]}")
            (Path(folder) / "jars").rename(JARS)  # at once, so that half of them never counts
    return f"{JARS}/*"


class Broker:
    """A broker with its data in `folder`; stopped and started at will on the same port."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("java"):
            raise Missing("Java is not installed")
        self._classes = fetch()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        port = free_port()
        self.servers = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        self._properties.write_text(
            PROPERTIES.format(port=port, controller=free_port(), folder=folder)
        )
        arguments = ["format", "--cluster-id", CLUSTER, "--config", str(self._properties)]
        subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments), check=True, capture_output=True
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "broker.log").open("ab") as output:
            # The shell ends the broker when its standard input ends: also when this process is
            # killed.
            self._process = subprocess.Popen(
                ["sh", "-c", LIFELINE, "broker", *self._java("kafka.Kafka", str(self._properties))],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(self._answers, "the broker answers", PATIENCE)

    def stop(self) -> None:
        """End it as an operator would; forcibly when that takes too long."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Missing(f"the broker ended: {(self._folder / 'broker.log').read_text()[-2000:]}")
        client = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False

    def _java(self, program: str, *arguments: str) -> list[str]:
        options = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN"]
        return ["java", *options, "-cp", self._classes, program, *arguments]


@contextmanager
def running_broker() -> Iterator[Broker]:
    """A broker, ended on leaving."""
    # Beside the jars: /tmp may be in memory, where being durable costs nothing.
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=JARS.parent, prefix="broker-", ignore_cleanup_errors=True
    ) as folder:
        broker = Broker(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@cache
def shared_broker() -> Broker:
    """One for the whole test run. Skips the test where there can be none."""
    context = running_broker()
    try:
        broker = context.__enter__()
    except Missing as missing:
        pytest.skip(f"no Apache Kafka broker: {missing}")
    atexit.register(context.__exit__, None, None, None)
    return broker


if __name__ == "__main__":
    with running_broker() as running:
        sys.stdout.write(f"a broker listens on {running.servers}; Ctrl-C ends it\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()
