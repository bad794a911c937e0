"""A real ClickHouse: Debian's server, started on loopback with a configuration of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

PROGRAM = shutil.which("clickhouse-server")
"""None where it is not installed: Debian's package is `clickhouse-server`."""
LIBRARY = os.environ.get("CLICKHOUSE") == "chdb"
"""The present version as a library (the session `clickhouse` of nox) instead of Debian's server."""
HERE = LIBRARY or PROGRAM is not None
MISSING = "clickhouse-server is not installed: apt-get install --no-install-recommends clickhouse-server"
_CONFIG = """<?xml version="1.0"?>
<yandex>
    <logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
    <http_port>{port}</http_port>
    <tcp_port>{native}</tcp_port>
    <listen_host>127.0.0.1</listen_host>
    <mark_cache_size>67108864</mark_cache_size>
    <path>{folder}/data/</path>
    <tmp_path>{folder}/tmp/</tmp_path>
    <user_files_path>{folder}/files/</user_files_path>
    <users_config>{folder}/users.xml</users_config>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <timezone>UTC</timezone>
    <merge_tree><parts_to_delay_insert>1000</parts_to_delay_insert></merge_tree>
    {more}
</yandex>
"""
_REPLICA = """
    <zookeeper>
        <node><host>127.0.0.1</host><port>{keeper}</port></node><session_timeout_ms>2000</session_timeout_ms>
    </zookeeper>
    <macros><shard>{shard}</shard><replica>{replica}</replica></macros>
    <interserver_http_host>127.0.0.1</interserver_http_host><interserver_http_port>{port}</interserver_http_port>
"""
_HTTPS = """
    <https_port>{port}</https_port>
    <openSSL><server>
        <certificateFile>{certificate}</certificateFile><privateKeyFile>{key}</privateKeyFile>
        <verificationMode>none</verificationMode>
    </server></openSSL>
"""
_USERS = """<?xml version="1.0"?>
<yandex>
    <profiles><default><max_threads>2</max_threads><log_queries>0</log_queries></default></profiles>
    <users><default>
        <password>{password}</password><networks><ip>127.0.0.1</ip></networks>
        <profile>default</profile><quota>default</quota>
    </default></users>
    <quotas><default></default></quotas>
</yandex>
"""
PASSWORD = "watt's in it"


def replica_of(shard: str, replica: str, keeper: int) -> str:
    """Configuration of a server that shares its rows with the others of its shard.

    Args:
        shard: Which shard.
        replica: Which of its servers.
        keeper: Port of the ZooKeeper.
    """
    return _REPLICA.format(keeper=keeper, shard=shard, replica=replica, port=free_port())


def https_on(port: int, certificate: Path, key: Path) -> str:
    """Configuration of a server that listens to https as well; both files are PEM."""
    return _HTTPS.format(port=port, certificate=certificate, key=key)


class ClickHouse:
    """One server, made and started by its constructor; `start` starts it again.

    Args:
        folder: Where it keeps everything.
        before: Words before its command line: a command that ends by becoming it.
        more: Further configuration.
    """

    def __init__(self, folder: Path, before: Sequence[str] = (), *, more: str = "") -> None:
        self.folder = folder
        self._before = before
        folder.mkdir(parents=True, exist_ok=True)
        self.port, native = free_port(), free_port()
        (folder / "config.xml").write_text(_CONFIG.format(folder=folder, port=self.port, native=native, more=more))
        (folder / "users.xml").write_text(_USERS.format(password=PASSWORD))
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = [str(PROGRAM), f"--config-file={self.folder / 'config.xml'}"]
        if LIBRARY:
            program = [sys.executable, "tests/peers/chdb_server.py", str(self.port), str(self.folder / "data")]
        self.process = subprocess.Popen(
            [*self._before, *program],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=None if LIBRARY else self.folder,
        )
        for _ in range(300):
            assert self.process.poll() is None, "ClickHouse ended; its folder has the errors"
            try:
                if httpx.get(self.url, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("ClickHouse did not answer within 30 s")

    def query(self, text: str) -> str:
        """The answer to a statement."""
        answer = httpx.post(self.url, content=text.encode(), auth=("default", PASSWORD), trust_env=False, timeout=60.0)
        assert answer.status_code == 200, answer.text
        return answer.text.strip()

    def kill(self) -> None:
        """End it as a power cut does to a process."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, where it still runs; nobody wants its data any more."""
        if self.process.poll() is None:
            self.kill()


def free_port() -> int:
    """A port of loopback that nobody listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
