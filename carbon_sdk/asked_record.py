"""A record by its key at a collector, with its second price if it has one."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from carbon_sdk.emission import Emission, grams
from carbon_sdk.errors import SettingsError, WireError
from carbon_sdk.http import HTTP, HTTPError
from carbon_sdk.repricing import Repriced
from carbon_sdk.settings import Settings
from carbon_sdk.wire import from_object

KEY = re.compile(r"[A-Za-z0-9_.-]{1,80}/\d{1,18}")


def is_key(word: str) -> bool:
    """Whether it reads as `INSTANCE/SEQUENCE`, and is no file."""
    return KEY.fullmatch(word) is not None and not Path(word).exists()


async def ask(key: str, settings: Settings, project: str | None = None) -> tuple[Emission, Repriced | None]:
    """Ask the collector of the settings.

    Args:
        key: `INSTANCE/SEQUENCE`.
        settings: Hold the collector's address, and a token with the scope `read` where it wants one.
        project: The project, where the token does not say it.

    Raises:
        SettingsError: There is no address of a collector.
        WireError: It has no such record, or gives no answer.
    """
    options = settings.options("collector")
    url = options.get("url", "").rstrip("/")
    if not url:
        raise SettingsError(
            "CARBON_SDK_COLLECTOR_URL", f"it is not set, and {key} is no file", "Give the collector's address"
        )
    token = options.get("token")
    http = HTTP()
    try:
        reply = await http.get(
            f"{url}/v1/records/{key}",
            params={} if project is None else {"project": project},
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            secrets=() if token is None else (token,),
        )
    except HTTPError as exc:
        raise WireError(f"the collector gives no answer: {exc}") from exc
    finally:
        await http.aclose()
    try:
        told: Any = json.loads(reply.body)
        if reply.status != 200:
            raise WireError(f"the collector answers {reply.status}: {told.get('detail') or reply.excerpt()}")
        record = from_object(told["record"])
        return record, _repriced(record, told["repriced"])
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise WireError(f"the collector answers {reply.status} with no record: {reply.excerpt()}") from exc


def _repriced(record: Emission, second: Any) -> Repriced | None:
    """The record as its newest repricing weighs it; None without one."""
    if second is None:
        return None
    g_per_kwh, source, made_at = float(second["g_per_kwh"]), str(second["source"]), str(second["made_at"])
    weight = grams(1.0, g_per_kwh, record.pue) * (record.wall_factor or 1.0)
    return Repriced(
        emission=replace(
            record,
            emissions_g=None if record.energy_joules is None else record.energy_joules * weight,
            intensity_g_per_kwh=g_per_kwh,
            intensity_source=source,
            intensity_quality="measured",
            intensity_observed_at=None,
            intensity_valid_until=None,
            mixed=False,
        ),
        before=record,
        reason=f"priced again at {made_at} by {source}",
    )
