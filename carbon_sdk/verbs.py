"""What each command of `carbon-sdk` does, `run` excepted: that starts its program before all this is loaded."""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from carbon_sdk.emission import Emission
from carbon_sdk.environment import environment
from carbon_sdk.log import Log, to_stream
from carbon_sdk.settings import from_environment


def demo(arguments: argparse.Namespace) -> int:
    from carbon_sdk.demo import drive  # noqa: PLC0415  # needs the extra `demo`

    from_environment()  # a setting that cannot be used is told before anything starts
    return drive.main(environment(), seconds=arguments.seconds, as_json=arguments.json, log=arguments.log)


def monitoring(arguments: argparse.Namespace) -> int:
    from carbon_sdk.monitoring import grafana, rules  # noqa: PLC0415  # no other command needs them

    sys.stdout.write(grafana.text() if arguments.what == "grafana" else rules.rules())
    return 0


def quickstart(arguments: argparse.Namespace) -> int:
    from carbon_sdk.demo import quickstart  # noqa: PLC0415  # needs the extras `demo` and `collector`

    from_environment()
    return quickstart.main(environment(), seconds=arguments.seconds, as_json=arguments.json, port=arguments.port)


def intensity(arguments: argparse.Namespace) -> int:
    from carbon_sdk.intensity import terminal  # noqa: PLC0415  # needs the extra `cli`
    from carbon_sdk.sources import intensity_chain  # noqa: PLC0415  # `demo` and `--help` do not wait for it

    settings = from_environment(**({} if arguments.zone is None else {"zone": arguments.zone}))
    to_stderr = to_stream(sys.stderr)

    def write(level: str, event: str, fields: Mapping[str, Any]) -> None:
        if arguments.json or not str(fields.get("fault")).startswith("intensity."):  # those stand below the table
            to_stderr(level, event, fields)

    log = Log(write)

    async def show() -> int:
        async with intensity_chain(settings, log) as (chain, place):
            log.flush()
            code = await terminal.show(
                chain, place, forecast=arguments.forecast, watch=arguments.watch, as_json=arguments.json
            )
            log.flush()
            return code

    return asyncio.run(show())


def explain(arguments: argparse.Namespace) -> int:
    from carbon_sdk import asked_record, told_records  # noqa: PLC0415  # `demo` and `--help` do not wait for it
    from carbon_sdk.explain import explain  # noqa: PLC0415

    if asked_record.is_key(arguments.record):
        record, repriced = asyncio.run(asked_record.ask(arguments.record, from_environment(), arguments.project))
        explanations = [explain(record, repriced=repriced)]
    else:
        explanations = [explain(record) for record in told_records.read(arguments.record)]
    if arguments.json:
        sys.stdout.writelines(json.dumps(one.to_object()) + "\n" for one in explanations)
    else:
        columns = shutil.get_terminal_size().columns
        sys.stdout.write("\n\n".join(one.text(columns) for one in explanations))
    return 0 if all(one.holds for one in explanations) else 1


def doctor(arguments: argparse.Namespace) -> int:
    settings = from_environment()
    if arguments.json:
        from carbon_sdk import doctor  # noqa: PLC0415  # the stations load for it

        return doctor.main(settings, sys.stdout)
    from carbon_sdk import doctor_table  # noqa: PLC0415  # needs the extra `cli`

    return doctor_table.main(settings)


def collector(arguments: argparse.Namespace) -> int:
    from carbon_sdk.collector import __main__ as collector  # noqa: PLC0415  # needs the extra `collector`

    return collector.main(arguments.words)


def report(arguments: argparse.Namespace) -> int:
    from carbon_sdk.collector.inventory import command  # noqa: PLC0415  # needs the extra `collector`
    from carbon_sdk.repricing import reprice  # noqa: PLC0415
    from carbon_sdk.sources import history_of  # noqa: PLC0415  # `demo` and `--help` do not wait for it

    def price_again(provider: str, records: Sequence[Emission]) -> list[Emission | None]:
        async def ask() -> list[Emission | None]:
            async with history_of(from_environment(), provider) as history:
                return [one.emission if one.changed else None for one in await reprice(records, history)]

        return asyncio.run(ask())

    return command.main(arguments.words, price_again)
