"""Asking and reading: what all providers do alike with an HTTP answer.

A field that is missing or of another type is an `IntensityError` that names the provider and the field. Nothing here
has a default: what a source did not say stays unsaid.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.http import HTTP, HTTPError, Kind, Reply
from carbon_sdk.intensity.intensity import EmissionScope, RefusedCredentialsError

_NETWORK_REMEDIES: Mapping[Kind, str] = {
    "timeout": "Raise CARBON_SDK_HTTP_TIMEOUT_SECONDS if it is always so slow",
    "unreachable": "Let this host reach it, by CARBON_SDK_HTTP_PROXY if need be, or change CARBON_SDK_PROVIDER",
    "name": "Let this host resolve it, or ask by CARBON_SDK_HTTP_PROXY, or change CARBON_SDK_PROVIDER",
    "tls": "If a gateway of your own stands between, name its authority in CARBON_SDK_HTTP_CA_FILE",
}
_BLOCKED = "It blocks this address: share one answer with CARBON_SDK_INTENSITY_CACHE, or change CARBON_SDK_PROVIDER"
_PROXY_REFUSED = "The proxy asks for a password: write it into CARBON_SDK_HTTP_PROXY"
_TOO_OFTEN = "If many workers ask from one address, let them share one answer with CARBON_SDK_INTENSITY_CACHE"


async def ask(source: str, http: HTTP, url: str, **asked: Any) -> Reply:
    """One GET.

    Args:
        source: The provider's name.
        http: The client.
        url: Without query.
        asked: As for `HTTP.get`.

    Raises:
        IntensityError: No answer came.
    """
    try:
        return await http.get(url, **asked)
    except HTTPError as exc:
        remedy = _NETWORK_REMEDIES.get(exc.kind)
        raise IntensityError(source, str(exc), retry_after_seconds=exc.retry_after_seconds, remedy=remedy) from exc


def refuse(source: str, reply: Reply, *, credentials: tuple[int, ...] = (401, 403), key: str | None = None) -> NoReturn:
    """Raise what an answer other than 200 means.

    Args:
        source: The provider's name.
        reply: The answer.
        credentials: The statuses by which this source refuses a key.
        key: The setting that holds the key; None where this source has none.
    """
    problem = f"HTTP {reply.status} from {reply.where}: {reply.excerpt() or 'no body'}"
    wait = reply.retry_after_seconds
    if reply.status in credentials:
        remedy = _BLOCKED if key is None else f"Check {key}"
        raise RefusedCredentialsError(source, problem, retry_after_seconds=wait, remedy=remedy)
    remedies = {407: _PROXY_REFUSED, 429: _TOO_OFTEN}
    raise IntensityError(source, problem, retry_after_seconds=wait, remedy=remedies.get(reply.status))


def json_of(source: str, reply: Reply) -> "Record":
    """The JSON object in an answer; NaN and infinity are no JSON.

    Raises:
        IntensityError: It is not JSON, or not an object.
    """
    value = _parsed(source, reply)
    if not isinstance(value, Mapping):
        raise IntensityError(source, f"the answer is {_kind(value)}, not an object")
    return Record(source=source, path="", fields=value)


def required(setting: str, options: Mapping[str, str], name: str, remedy: str) -> str:
    """An option that a provider cannot work without.

    Args:
        setting: The setting's full name, `CARBON_SDK_EIA_KEY`.
        options: What was set.
        name: The option's name, `key`.
        remedy: Where to get it.

    Raises:
        SettingsError: It is missing or empty.
    """
    value = options.get(name, "").strip()
    if not value:
        raise SettingsError(setting, "is not set", remedy)
    return value


def scope_of(setting: str, options: Mapping[str, str]) -> EmissionScope:
    """The option `emission_scope`: lifecycle unless direct is chosen.

    Args:
        setting: The setting's full name.
        options: What was set.

    Raises:
        SettingsError: It is neither.
    """
    scope = options.get("emission_scope", "lifecycle").strip().lower()
    if scope == "lifecycle":
        return "lifecycle"
    if scope == "direct":
        return "direct"
    raise SettingsError(setting, f"is {scope[:40]!r}", "Choose lifecycle or direct")


def _parsed(source: str, reply: Reply) -> object:
    def no_number(text: str) -> NoReturn:
        raise ValueError(f"{text} is no number")

    try:
        value: object = json.loads(reply.body, parse_constant=no_number)
    except (ValueError, RecursionError) as exc:
        raise IntensityError(source, f"the answer is not JSON: {reply.excerpt(60) or 'empty'}") from exc
    return value


def _kind(value: object) -> str:
    return {type(None): "null", Mapping: "an object"}.get(type(value), type(value).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A JSON object whose fields are read by type.

    Args:
        source: The provider's name.
        path: Where in the answer it stands, `data[3].`.
        fields: The object.
    """

    source: str
    path: str
    fields: Mapping[str, Any]

    def number(self, name: str) -> float:
        """A number; not true, not a text."""
        value = self._present(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, value, "a number")
        try:
            return float(value)
        except OverflowError as exc:
            raise IntensityError(self.source, f"{self.path}{name} is beyond all numbers") from exc

    def text(self, name: str) -> str:
        """A text."""
        value = self._present(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._present(name)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def moment(self, name: str, *, naive_is_utc: bool = False) -> datetime:
        """An ISO 8601 time with its offset.

        Args:
            name: The field.
            naive_is_utc: The source writes UTC without saying so.
        """
        return moment(self.source, f"{self.path}{name}", self.text(name), naive_is_utc=naive_is_utc)

    def record(self, name: str) -> "Record":
        """An object within."""
        value = self._present(name)
        if not isinstance(value, Mapping):
            raise self._wrong(name, value, "an object")
        return Record(source=self.source, path=f"{self.path}{name}.", fields=value)

    def records(self, name: str) -> Iterator["Record"]:
        """A list of objects."""
        for index, value in enumerate(self.list(name)):
            if not isinstance(value, Mapping):
                raise self._wrong(f"{name}[{index}]", value, "an object")
            yield Record(source=self.source, path=f"{self.path}{name}[{index}].", fields=value)

    def list(self, name: str) -> Sequence[Any]:
        """A list of anything."""
        value = self._present(name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(name, value, "a list")
        return value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(name) is not None

    def _present(self, name: str) -> Any:
        if name not in self.fields:
            raise IntensityError(self.source, f"{self.path}{name} is missing")
        return self.fields[name]

    def _wrong(self, name: str, value: object, expected: str) -> IntensityError:
        return IntensityError(self.source, f"{self.path}{name} is {_kind(value)}, not {expected}")


def moment(source: str, name: str, text: str, *, naive_is_utc: bool = False) -> datetime:
    """An ISO 8601 time in UTC.

    Args:
        source: The provider's name.
        name: The field, for the message.
        text: What stands there.
        naive_is_utc: A time without offset is taken as UTC; else it is refused.

    Raises:
        IntensityError: It is no time, or has no offset.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as exc:
        raise IntensityError(source, f"{name} is no ISO 8601 time: {text[:40]!r}") from exc
    if value.tzinfo is None:
        if not naive_is_utc:
            raise IntensityError(source, f"{name} has no offset: {text[:40]!r}")
        value = value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        raise IntensityError(source, f"{name} lies outside the years 1 to 9999: {text[:40]!r}") from exc
