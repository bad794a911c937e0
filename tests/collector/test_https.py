"""ClickHouse over https: who is trusted is said, and no secret is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from carbon_sdk.collector.__main__ import main
from tests.collector import clickhouse
from tests.collector.clickhouse import PASSWORD, ClickHouse, free_port, https_on
from tests.collector.service import Collector, emission


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A server that speaks https.

    Args:
        words: A collector's command line, without whom it trusts.
        trusted: File of the authority that vouches for the server.
        stranger: File of one that does not.
    """

    words: list[str]
    trusted: Path
    stranger: Path


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """One shard whose certificate an authority of the test's own has given out."""
    if clickhouse.LIBRARY or not clickhouse.HERE:
        pytest.skip(clickhouse.MISSING)
    authority, stranger, port = trustme.CA(), trustme.CA(), free_port()
    given = authority.issue_cert("localhost")
    given.private_key_pem.write_to_path(tmp_path / "key.pem")
    given.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    (tmp_path / "password").write_text(PASSWORD)
    server = ClickHouse(tmp_path / "one", more=https_on(port, tmp_path / "certificate.pem", tmp_path / "key.pem"))
    words = ["--clickhouse", f"https://localhost:{port}", "--clickhouse-password-file", str(tmp_path / "password")]
    yield Secured(words=words, trusted=tmp_path / "trusted.pem", stranger=tmp_path / "stranger.pem")
    server.stop()


def test_a_server_whose_authority_is_named_is_written_and_read(
    start: Callable[..., Collector], secured: Secured
) -> None:
    """By the command line alone."""
    words = [*secured.words, "--clickhouse-ca", str(secured.trusted)]
    assert main(["migrate", *words]) == 0
    collector = start(*words)
    assert collector.send([emission(0)])["stored"] == 1
    assert collector.total("records") == 1
    collector.stop()

    assert PASSWORD not in str(collector.log)


def test_a_server_that_nobody_known_vouches_for_is_refused_and_the_setting_is_named(
    secured: Secured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether another authority is named, none, or a file that is none; nothing is sent, no password is shown."""
    (tmp_path / "empty.pem").write_text("")
    for given, problem in (
        (["--clickhouse-ca", str(secured.stranger)], "TLS refused"),
        ([], "TLS refused"),
        (["--clickhouse-ca", str(tmp_path / "empty.pem")], "cannot be read"),
        (["--clickhouse-ca", str(tmp_path / "none.pem")], "cannot be read"),
    ):
        assert main(["migrate", *secured.words, *given]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert "--clickhouse-ca" in told
        assert PASSWORD not in told


def test_a_running_collector_says_so_too(start: Callable[..., Collector], secured: Secured) -> None:
    """In its log and in the answer; records are acknowledged all the same, and wait."""
    collector = start(*secured.words, "--clickhouse-ca", str(secured.stranger))
    assert collector.send([emission(0)])["stored"] == 1
    answer = collector.client.get("/v1/projects")
    collector.stop()
    (failing,) = [line for line in collector.log if line["event"] == "collector_store_failing"]

    assert answer.status_code == 503
    assert "--clickhouse-ca" in answer.json()["error"]
    assert "--clickhouse-ca" in failing["problem"]
    assert PASSWORD not in str(collector.log) + answer.text
