"""The words of the command line that say where ClickHouse is; the commands that make its tables and fill them."""

import argparse
import asyncio
import dataclasses
import sys
from pathlib import Path

from carbon_sdk.collector import clickhouse_copy, clickhouse_schema
from carbon_sdk.collector.clickhouse_server import DATABASE, USER, Cluster, Shard
from carbon_sdk.collector.commands import log_to_stderr
from carbon_sdk.collector.store import StoreError


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Let a command be told where ClickHouse is."""
    parser.add_argument(
        "--clickhouse",
        action="append",
        metavar="URL[,URL]",
        help="records are in ClickHouse, not in the folder: one shard, its replicas with commas; may be repeated",
    )
    parser.add_argument("--clickhouse-database", default=DATABASE, metavar="NAME", help="its database (%(default)s)")
    parser.add_argument("--clickhouse-user", default=USER, metavar="NAME", help="its user (%(default)s)")
    parser.add_argument(
        "--clickhouse-password-file", type=Path, metavar="FILE", help="file that holds the password, mode 0600"
    )
    parser.add_argument("--clickhouse-ca", metavar="FILE", help="PEM file of the authorities to trust for https")
    parser.add_argument(
        "--clickhouse-replicated", action="store_true", help="tables are replicated by ClickHouse; needs its Keeper"
    )


def cluster_of(arguments: argparse.Namespace) -> Cluster | None:
    """Where ClickHouse is; None where it is not used.

    Raises:
        StoreError: It is not said so that it could be found.
    """
    if not arguments.clickhouse:
        return None
    password = ""
    if arguments.clickhouse_password_file is not None:
        try:
            password = arguments.clickhouse_password_file.read_text().strip()
        except OSError as exc:
            raise StoreError(f"{arguments.clickhouse_password_file}: {exc.strerror}") from exc
    return Cluster.parse(
        arguments.clickhouse,
        database=arguments.clickhouse_database,
        user=arguments.clickhouse_user,
        password=password,
        ca_file=arguments.clickhouse_ca,
        replicated=arguments.clickhouse_replicated,
    )


def migrate(arguments: argparse.Namespace) -> int:
    """Make the tables on every server, or bring them to the present version."""
    cluster = cluster_of(arguments)
    if cluster is None:
        raise StoreError("name the shards with --clickhouse; the embedded store migrates itself")
    asyncio.run(_migrate(cluster))
    return 0


async def _migrate(cluster: Cluster) -> None:
    for number, urls in enumerate(cluster.shards):
        for url in urls:
            alone = (*cluster.shards[:number], (url,), *cluster.shards[number + 1 :])
            server = Shard(dataclasses.replace(cluster, shards=alone), number)
            try:
                found = await clickhouse_schema.migrate(server, cluster)
            finally:
                await server.aclose()
            told = "made" if not found else f"had version {found}, has {clickhouse_schema.VERSION}"
            sys.stdout.write(f"{server.name}: {told}\n")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Let a command be told what to copy."""
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="duckdb:FILE",
        help="a backup, or a stopped collector's file",
    )


def copy(arguments: argparse.Namespace) -> int:
    """Copy an embedded store's history into ClickHouse, and say whether the totals agree."""
    cluster = cluster_of(arguments)
    kind, _, name = arguments.source.partition(":")
    if cluster is None or kind != "duckdb" or not Path(name).is_file():
        raise StoreError("write --from duckdb:FILE, a file that is there, and the shards with --clickhouse")
    totals = asyncio.run(clickhouse_copy.copy(Path(name), cluster, log_to_stderr()))
    for one in totals:
        (in_file, in_cluster), joules = one.records, one.energy_joules
        told = "the same" if one.same else "not the same: another history of this project is there, or it still grows"
        sys.stdout.write(
            f"{one.project}: {in_file} records and {joules[0]:.6g} J in the file, {in_cluster} records and "
            f"{joules[1]:.6g} J in ClickHouse: {told}\n"
        )
    return 0 if all(one.same for one in totals) else 2
