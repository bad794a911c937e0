"""The cloud's metadata service, asked for region and instance type where the user wants it, and never waited for.

Each cloud answers on a link-local address that nothing outside the machine can reach. Elsewhere a request may hang
until its time is up, so DMI's strings and the environment say first which cloud this is, or that it is none.

AWS: Instance Metadata Service version 2 alone, a session token first, then the instance identity document (AWS user
guide, "Instance identity documents"). GCP: header `Metadata-Flavor`, in the answer too ("View and query VM metadata").
Azure: header `Metadata` ("Azure Instance Metadata Service"). No proxy, no redirect, 64 kB at most; of the answers only
region and instance type are read, and only where they look like one.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.http import HTTP, HTTPError, Reply
from carbon_sdk.meters.hardware import Cloud, Hardware

ADDRESS = "http://169.254.169.254"
CONNECT_SECONDS = 0.3
KNOWN_SECONDS = 2.0
"""For all of it, where it is known which cloud this is."""
GUESS_SECONDS = 0.3
"""For all of it, where nothing says whether this is a cloud."""
AGAIN_SECONDS = 5.0
"""GCP's service refuses for a while at a pod's start, and in maintenance: it is asked once more."""
WITHOUT_SERVICE = ("AWS_LAMBDA_FUNCTION_NAME", "WEBSITE_SITE_NAME")
"""Set by Lambda, and by Azure App Service and Functions, whose variables tell the region."""
TURNED_OFF = "AWS_EC2_METADATA_DISABLED"
"""What AWS's own libraries obey."""
GCP_MARKS = ("K_SERVICE", "CLOUD_RUN_JOB")
"""Set by Cloud Run, where DMI's folder is absent."""
MAXIMUM_BODY_BYTES = 64 * 1024
SESSION_SECONDS = "60"
_REGION = re.compile(r"[a-z0-9-]{2,40}")
_INSTANCE_TYPE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EC2_REMEDY = (
    "In a container the answer may be dropped on its way: set the instance's metadata hop limit to 2, "
    "or set CARBON_SDK_CLOUD_PROVIDER, CARBON_SDK_CLOUD_REGION and CARBON_SDK_INSTANCE_TYPE"
)


class MetadataError(CarbonSDKError):
    """No cloud has told what this machine is.

    Args:
        reason: Why.
        remedy: What somebody could do about it; None where this seems to be no cloud.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason if remedy is None else f"{reason}. {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a cloud says of this machine.

    Args:
        cloud: Which.
        region: Its own name of the region; None where it did not say.
        instance_type: Its own name of this kind of machine; None where it did not say.
    """

    cloud: Cloud
    region: str | None
    instance_type: str | None


def whom_to_ask(hardware: Hardware, environment: Mapping[str, str]) -> Cloud | None:
    """Which cloud's service to ask; None where nothing says whether there is one.

    Args:
        hardware: The machine.
        environment: The process's variables.

    Raises:
        MetadataError: There is none, so nobody is to be asked.
    """
    for mark in WITHOUT_SERVICE:
        if environment.get(mark):
            raise MetadataError(f"{mark} is set: there is no metadata service here")
    if environment.get(TURNED_OFF, "").lower() == "true":
        raise MetadataError(f"{TURNED_OFF} is true")
    if hardware.cloud is not None:
        return hardware.cloud
    if any(environment.get(mark) for mark in GCP_MARKS):
        return "gcp"
    strings = (hardware.system_vendor, hardware.product_name)
    if any(strings):
        raise MetadataError(f"DMI says {' '.join(filter(None, strings))!r}: no cloud that is known here")
    return None


async def ask(
    cloud: Cloud | None,
    *,
    address: str | None = None,
    patient: bool = True,
    seconds: float | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Metadata:
    """Ask the metadata service, once.

    Args:
        cloud: Which cloud this is; None where nothing says: then all are asked at once, for a moment only.
        address: Of the metadata services, if not the usual one.
        patient: Ask GCP once more after some seconds.
        seconds: For all of it; two where the cloud is known and 0.3 where it is a guess when None.
        sleep: How to wait for that.

    Raises:
        MetadataError: Nobody told; once and for all.
    """
    address = (address or ADDRESS).rstrip("/")
    if seconds is None:
        seconds = GUESS_SECONDS if cloud is None else KNOWN_SECONDS
    http = HTTP(
        timeout_seconds=seconds,
        connect_timeout_seconds=CONNECT_SECONDS,
        max_body_bytes=MAXIMUM_BODY_BYTES,
        attempts=1,
    )
    try:
        http.open()
        if cloud is None:
            return await _guess(http, address, seconds)
        try:
            return await _within(seconds, _ASK[cloud](http, address, seconds))
        except MetadataError:
            if cloud != "gcp" or not patient:
                raise
        await sleep(AGAIN_SECONDS)
        return await _within(seconds, _gcp(http, address, seconds))
    finally:
        await http.aclose()


async def _guess(http: HTTP, address: str, seconds: float) -> Metadata:
    asked = [_within(seconds, one(http, address, seconds)) for one in _ASK.values()]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Metadata):
            return answer
        if not isinstance(answer, MetadataError):
            raise answer
    raise MetadataError(f"nothing says that this is a cloud, and {address} did not answer")


async def _within(seconds: float, answer: Awaitable[Metadata]) -> Metadata:
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError as exc:
        raise MetadataError(f"the metadata service did not answer within {seconds:g} s") from exc
    except HTTPError as exc:
        raise MetadataError(f"the metadata service cannot be asked: {exc.problem}") from exc


async def _aws(http: HTTP, address: str, seconds: float) -> Metadata:
    try:
        async with asyncio.timeout(seconds / 2):
            token = await http.send(
                "PUT",
                f"{address}/latest/api/token",
                headers={"x-aws-ec2-metadata-token-ttl-seconds": SESSION_SECONDS},
            )
    except TimeoutError as exc:
        raise MetadataError("EC2's metadata service gave no session token in time", _EC2_REMEDY) from exc
    secret = _usable(token, "EC2").text.strip()
    if not secret.isascii() or not secret.isprintable():
        raise MetadataError("EC2's metadata service gave no session token")
    reply = await http.get(
        f"{address}/latest/dynamic/instance-identity/document",
        headers={"x-aws-ec2-metadata-token": secret},
        secrets=(secret,),
    )
    document = _object(_usable(reply, "EC2"), "EC2")
    return _metadata("aws", document.get("region"), document.get("instanceType"))


async def _gcp(http: HTTP, address: str, _seconds: float) -> Metadata:
    async def told(name: str) -> str | None:
        url = f"{address}/computeMetadata/v1/instance/{name}"
        reply = await http.get(url, headers={"metadata-flavor": "Google"})
        if reply.status == 404:  # GKE hides the machine type, Cloud Run has no zone
            return None
        if reply.headers.get("metadata-flavor") != "Google":
            raise MetadataError("what answers for Google's metadata service is another")
        return _usable(reply, "Google").text.strip().rpartition("/")[2]

    zone, machine_type = await asyncio.gather(told("zone"), told("machine-type"))
    region = await told("region") if zone is None else zone.rpartition("-")[0]
    return _metadata("gcp", region, machine_type)


async def _azure(http: HTTP, address: str, _seconds: float) -> Metadata:
    reply = await http.get(
        f"{address}/metadata/instance/compute",
        params={"api-version": "2021-02-01", "format": "json"},
        headers={"metadata": "true"},
    )
    compute = _object(_usable(reply, "Azure"), "Azure")
    return _metadata("azure", compute.get("location"), compute.get("vmSize"))


_ASK: Mapping[Cloud, Callable[[HTTP, str, float], Awaitable[Metadata]]] = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def _usable(reply: Reply, who: str) -> Reply:
    if reply.status != 200:
        raise MetadataError(f"{who}'s metadata service answers with status {reply.status}")
    return reply


def _object(reply: Reply, who: str) -> dict[str, Any]:
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError) as exc:
        raise MetadataError(f"{who}'s metadata service answers with no JSON") from exc
    if not isinstance(found, dict):
        raise MetadataError(f"{who}'s metadata service answers with no object")
    return found


def _metadata(cloud: Cloud, region: object, instance_type: object) -> Metadata:
    """Answers are input from the network: they become labels, so each is checked."""
    told = Metadata(
        cloud=cloud,
        region=region if isinstance(region, str) and _REGION.fullmatch(region) else None,
        instance_type=instance_type
        if isinstance(instance_type, str) and _INSTANCE_TYPE.fullmatch(instance_type)
        else None,
    )
    if told.region is None and told.instance_type is None:
        raise MetadataError(f"the metadata service of {cloud} names neither region nor instance type")
    return told
