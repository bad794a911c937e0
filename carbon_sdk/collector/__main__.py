"""The command line of the collector: serve, token, backup, restore, import, retention, migrate, copy."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from carbon_sdk.collector import access, schema
from carbon_sdk.collector.access import OPEN_PROJECT, SCOPES, Tokens
from carbon_sdk.collector.app import REQUESTS_PER_SECOND
from carbon_sdk.collector.clickhouse_command import add_cluster, add_source, cluster_of, copy, migrate
from carbon_sdk.collector.clickhouse_store import ClickHouseStore, Pace
from carbon_sdk.collector.commands import KeptStore, commands, do, log_to_stderr, zone_named
from carbon_sdk.collector.dashboard.allowance import budgets_in
from carbon_sdk.collector.dashboard.site import EXEMPT, Site
from carbon_sdk.collector.dimensions import Limits
from carbon_sdk.collector.duckdb_open import FILE
from carbon_sdk.collector.duckdb_store import DuckDBStore, Sizes
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.folder import add_folder
from carbon_sdk.collector.intake import IntakeLimits
from carbon_sdk.collector.server import TOKENS, Serving, run, serve
from carbon_sdk.collector.store import StoreError

MEBIBYTE = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the collector.

    Args:
        argv: The words after `carbon-sdk collector`; the process's own when None.

    Returns:
        The exit code: 0, or 2 where the command could not do its work.
    """
    arguments = _parser().parse_args(argv)
    try:
        chosen: Callable[[argparse.Namespace], int] = arguments.run
        return chosen(arguments)
    except (StoreError, ValueError) as exc:
        sys.stderr.write(f"carbon-sdk collector: {exc}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    add_folder(common)
    parser = argparse.ArgumentParser(prog="carbon-sdk collector", description="One collector for all services.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", parents=[common], help="take records and answer questions"))

    token = commands.add_parser("token", help="make, list and revoke tokens").add_subparsers(required=True)
    make = token.add_parser("make", parents=[common], help="make a token; it is shown once")
    make.add_argument("--project", default=OPEN_PROJECT, help="the one project that it opens (%(default)s)")
    make.add_argument("--scope", action="append", choices=SCOPES, required=True, help="what it allows; may be repeated")
    make.set_defaults(run=_token_make)
    token.add_parser("list", parents=[common], help="list tokens, without their secrets").set_defaults(run=_token_list)
    revoke = token.add_parser("revoke", parents=[common], help="end a token")
    revoke.add_argument("token_id", help="its public part, as listed")
    revoke.set_defaults(run=_token_revoke)

    backup = commands.add_parser("backup", parents=[common], help="copy the store while it runs, or while it does not")
    backup.add_argument("file", type=Path, help="the new file")
    backup.set_defaults(run=_backup)
    restore = commands.add_parser("restore", parents=[common], help="put a backup in place of an absent store")
    restore.add_argument("file", type=Path, help="the backup")
    restore.set_defaults(run=_restore)

    history = commands.add_parser("import", help="bring a history in").add_subparsers(required=True)
    csv = history.add_parser("codecarbon", parents=[common], help="an emissions.csv; each row once however often")
    csv.add_argument("file", type=Path, help="the emissions.csv")
    csv.add_argument("--project", default=OPEN_PROJECT, help="under which project (%(default)s)")
    csv.add_argument("--tz", default="UTC", help="the time zone in which CodeCarbon ran; its times name none (UTC)")
    add_cluster(csv)
    csv.set_defaults(run=_import_codecarbon)
    retention = commands.add_parser("retention", parents=[common], help="apply the retention now")
    _add_retention(retention)
    add_cluster(retention)
    retention.set_defaults(run=_retention)
    tables = commands.add_parser("migrate", parents=[common], help="make the tables in ClickHouse, or bring them up")
    add_cluster(tables)
    tables.set_defaults(run=migrate)
    moved = commands.add_parser("copy", parents=[common], help="copy an embedded store's history into ClickHouse")
    add_source(moved)
    add_cluster(moved)
    moved.set_defaults(run=copy)
    return parser


def _add_number(parser: argparse.ArgumentParser, option: str, default: float, what: str) -> None:
    """A number that may be set; whole where its default is."""
    parser.add_argument(option, type=type(default), default=default, help=f"{what} (%(default)s)")


def _add_retention(parser: argparse.ArgumentParser) -> None:
    kept = Retention()
    _add_number(parser, "--raw-days", kept.raw_days, "days that single records are kept")
    _add_number(parser, "--fine-days", kept.fine_days, "days that quarter-hour sums are kept")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    limits, sizes, serving = IntakeLimits(), Sizes(), Serving()
    parser.add_argument(
        "--host", default=serving.host, help="address to listen on; beyond loopback only with tokens (%(default)s)"
    )
    _add_number(parser, "--port", serving.port, "port; 0 for any that is free")
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM file of the certificate")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file of its key")
    _add_number(parser, "--body-mib", limits.body_bytes // MEBIBYTE, "longest body, as it comes")
    _add_number(parser, "--unpacked-mib", limits.unpacked_bytes // MEBIBYTE, "longest body, unpacked")
    _add_number(parser, "--head-seconds", serving.head_seconds, "until a request's head came")
    _add_number(parser, "--body-seconds", limits.body_seconds, "until its body came")
    _add_number(parser, "--batch-records", limits.records, "most records of one batch")
    _add_number(parser, "--requests-per-second", REQUESTS_PER_SECOND, "of one caller")
    _add_number(parser, "--accounts", Limits().accounts, "different endpoints, jobs and spans of one service")
    _add_number(parser, "--memory-mib", sizes.duckdb_bytes // MEBIBYTE, "memory of the database")
    _add_number(parser, "--threads", sizes.threads, "threads of a query")
    _add_number(parser, "--waiting-records", sizes.waiting_records, "most records that wait to be loaded")
    parser.add_argument(
        "--budgets", type=Path, metavar="FILE", help="TOML of budgets that the dashboard shows, each with its service"
    )
    _add_retention(parser)
    add_cluster(parser)
    parser.set_defaults(run=_serve)


def _retention_of(arguments: argparse.Namespace) -> Retention:
    return Retention(
        raw_days=arguments.raw_days,
        fine_days=arguments.fine_days,
        instance_days=max(arguments.raw_days, Retention().instance_days),
    )


def _store(arguments: argparse.Namespace, log: Callable[..., object]) -> KeptStore:
    limits = Limits(accounts=arguments.accounts)
    cluster = cluster_of(arguments)
    if cluster is not None:
        pace = Pace(waiting_records=arguments.waiting_records, raw_days=arguments.raw_days)
        return ClickHouseStore(arguments.data, cluster, limits=limits, pace=pace, log=log)
    sizes = Sizes(
        waiting_records=arguments.waiting_records,
        duckdb_bytes=arguments.memory_mib * MEBIBYTE,
        threads=arguments.threads,
    )
    return DuckDBStore(arguments.data, limits=limits, sizes=sizes, retention=_retention_of(arguments), log=log)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        budgets = None if arguments.budgets is None else budgets_in(arguments.budgets)
    except ValueError as exc:
        raise StoreError(str(exc)) from exc
    log = log_to_stderr()
    store = _store(arguments, log)
    serving = Serving(
        host=arguments.host,
        port=arguments.port,
        limits=IntakeLimits(
            body_bytes=arguments.body_mib * MEBIBYTE,
            unpacked_bytes=arguments.unpacked_mib * MEBIBYTE,
            records=arguments.batch_records,
            body_seconds=arguments.body_seconds,
        ),
        head_seconds=arguments.head_seconds,
        requests_per_second=arguments.requests_per_second,
        tls_certificate=arguments.tls_certificate,
        tls_key=arguments.tls_key,
    )
    routes = Site(store, Tokens(arguments.data / TOKENS), budgets).routes()
    run(serve(store, arguments.data, serving, commands=commands(store), log=log, routes=routes, exempt=EXEMPT))
    return 0


def _token_make(arguments: argparse.Namespace) -> int:
    token = Tokens(arguments.data / TOKENS).make(arguments.project, arguments.scope)
    sys.stdout.write(f"{token}\n")
    sys.stderr.write("This is shown once. From now on every request to this collector needs a token.\n")
    return 0


def _token_list(arguments: argparse.Namespace) -> int:
    for token in Tokens(arguments.data / TOKENS).all():
        state = f"revoked {token.revoked_at}" if token.revoked_at else "good"
        sys.stdout.write(f"{token.token_id}  {token.project}  {'+'.join(token.scopes)}  {token.made_at}  {state}\n")
    return 0


def _token_revoke(arguments: argparse.Namespace) -> int:
    if not Tokens(arguments.data / TOKENS).revoke(arguments.token_id):
        raise StoreError(f"there is no good token {arguments.token_id}; see `carbon-sdk collector token list`")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    do(arguments.data, "backup", file=str(arguments.file.absolute()))
    sys.stdout.write(f"{arguments.file}: {arguments.file.stat().st_size} bytes\n")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    target = arguments.data / FILE
    if target.exists() or any((arguments.data / "journal").glob("*")):
        raise StoreError(f"{arguments.data} holds a store; move it away first, or name an empty folder with --data")
    try:
        with duckdb.connect(str(arguments.file), read_only=True) as connection:
            version = schema.version_of(connection)
    except duckdb.Error as exc:
        raise StoreError(f"{arguments.file} is no backup of a collector: {exc}") from exc
    if not 1 <= version <= schema.VERSION:
        raise StoreError(f"{arguments.file} has version {version}, this collector knows 1 to {schema.VERSION}")
    arguments.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_suffix(".part")
    shutil.copyfile(arguments.file, draft)
    draft.chmod(0o600)
    with draft.open("rb") as copied:
        os.fsync(copied.fileno())
    draft.replace(target)
    sys.stdout.write(f"{target} holds the backup; start the collector with --data {arguments.data}\n")
    return 0


def _import_codecarbon(arguments: argparse.Namespace) -> int:
    access.project_name(arguments.project)
    zone_named(arguments.tz)
    done = do(
        arguments.data,
        "import_codecarbon",
        cluster=cluster_of(arguments),
        file=str(arguments.file.absolute()),
        project=arguments.project,
        tz=arguments.tz,
    )
    sys.stdout.write(f"{done['stored']} rows stored, {done['known']} known already, {len(done['refused'])} refused\n")
    for reason in done["refused"][:20]:
        sys.stderr.write(f"{reason}\n")
    return 0


def _retention(arguments: argparse.Namespace) -> int:
    do(arguments.data, "retain", retention=_retention_of(arguments), cluster=cluster_of(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
