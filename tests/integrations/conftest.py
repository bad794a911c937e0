"""Brokers that run for the tests."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own, as host and port of its address."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not here: apt-get install redis-server")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    while not listens(port):
        assert process.poll() is None, "redis-server has ended"
        time.sleep(0.02)
    yield f"redis://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ of the tests' own, as its address; its port mapper (epmd) ends with it."""
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on the PATH changes to a user of its own
    if not program.exists():
        pytest.skip("rabbitmq-server is not here: apt-get install rabbitmq-server")
    folder = tmp_path_factory.mktemp("rabbitmq")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_NODENAME": f"tests{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen([str(program)], env=environment, stdout=output, stderr=output)
    while not listens(port):
        assert process.poll() is None, (folder / "output.txt").read_text()
        time.sleep(0.1)
    yield f"amqp://127.0.0.1:{port}"
    process.terminate()
    process.wait()
    subprocess.run(["epmd", "-kill"], env=environment, stdout=subprocess.DEVNULL, check=False)
