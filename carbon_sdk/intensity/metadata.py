"""The cloud's metadata service, asked for the region only where the user wants it.

Each cloud answers on a link-local address that nothing outside the machine can reach; elsewhere nobody answers there.
AWS: Instance Metadata Service version 2, a session token first. GCP: header `Metadata-Flavor`. Azure: `Metadata`.
"""

import asyncio
import json

from carbon_sdk.http import HTTP, HTTPError

ADDRESS = "http://169.254.169.254"
SESSION_SECONDS = "60"


async def cloud_region(http: HTTP, *, address: str = ADDRESS) -> tuple[str, str] | None:
    """The cloud and its region, for `locate`.

    Args:
        http: A client with a short time limit; nobody may be there.
        address: Of the metadata services.

    Returns:
        `("aws", "eu-west-1")`; None where no cloud answers.
    """
    answers = await asyncio.gather(_aws(http, address), _gcp(http, address), _azure(http, address))
    return next((answer for answer in answers if answer is not None), None)


async def _aws(http: HTTP, address: str) -> tuple[str, str] | None:
    lifetime = {"x-aws-ec2-metadata-token-ttl-seconds": SESSION_SECONDS}
    try:
        token = await http.send("PUT", f"{address}/latest/api/token", headers=lifetime)
        if token.status != 200:
            return None
        reply = await http.get(
            f"{address}/latest/meta-data/placement/region",
            headers={"x-aws-ec2-metadata-token": token.text},
            secrets=(token.text,),
            attempts=1,
        )
    except HTTPError:
        return None
    return _named("aws", reply.text) if reply.status == 200 else None


async def _gcp(http: HTTP, address: str) -> tuple[str, str] | None:
    try:
        reply = await http.get(
            f"{address}/computeMetadata/v1/instance/zone", headers={"metadata-flavor": "Google"}, attempts=1
        )
    except HTTPError:
        return None
    zone = reply.text.rpartition("/")[2]  # projects/123/zones/europe-west1-b
    return _named("gcp", zone.rpartition("-")[0]) if reply.status == 200 else None


async def _azure(http: HTTP, address: str) -> tuple[str, str] | None:
    try:
        reply = await http.get(
            f"{address}/metadata/instance/compute",
            params={"api-version": "2021-02-01", "format": "json"},
            headers={"metadata": "true"},
            attempts=1,
        )
        location = json.loads(reply.body)["location"] if reply.status == 200 else ""
    except (HTTPError, ValueError, KeyError, TypeError):
        return None
    return _named("azure", location) if isinstance(location, str) else None


def _named(provider: str, region: str) -> tuple[str, str] | None:
    region = region.strip()
    return (provider, region) if region and len(region) <= 40 and region.isprintable() else None
