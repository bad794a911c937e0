"""A real ZooKeeper, which replicas of ClickHouse need: Debian's, one process on loopback."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.collector.clickhouse import free_port

_JAR = Path("/usr/share/java/zookeeper.jar")
HERE = shutil.which("java") is not None and _JAR.exists()
MISSING = "ZooKeeper is not installed: apt-get install --no-install-recommends zookeeper"
_CONFIG = """tickTime=500
dataDir={folder}/data
clientPortAddress=127.0.0.1
clientPort={port}
admin.enableServer=false
"""


class ZooKeeper:
    """One server, made and started by its constructor.

    Args:
        folder: Where it keeps everything.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        config = folder / "zoo.cfg"
        config.write_text(_CONFIG.format(folder=folder, port=self.port))
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        self.process = subprocess.Popen(
            ["java", "-Xmx128m", "-cp", str(_JAR), main, str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            assert self.process.poll() is None, "ZooKeeper ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("ZooKeeper did not answer within 30 s")

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
