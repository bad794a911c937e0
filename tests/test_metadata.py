"""The cloud's metadata service: who is asked, what is believed, and what is said where nobody answers."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carbon_sdk.metadata import AGAIN_SECONDS, Metadata, MetadataError, ask, whom_to_ask
from carbon_sdk.meters.hardware import Cloud, look
from tests.clouds import AZURE, AZURE_TAG, DOCUMENT, EC2, GCE, GOOGLE, TOKEN, Answer, Service, dmi, serving

PLENTY_SECONDS = 20.0
"""The tests' machine may be busy."""


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that knows nothing yet."""
    with serving({}) as service:
        yield service


def told(service: Service, cloud: Cloud | None, answers: Mapping[str, Answer], *, patient: bool = False) -> Metadata:
    """What is learnt from these answers."""
    service.answers.update(answers)
    return asyncio.run(ask(cloud, address=service.address, patient=patient, seconds=PLENTY_SECONDS))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (EC2, Metadata(cloud="aws", region="eu-west-1", instance_type="m5.large")),
        (GCE, Metadata(cloud="gcp", region="europe-west1", instance_type="n2-standard-4")),
        (AZURE, Metadata(cloud="azure", region="westeurope", instance_type="Standard_D2s_v3")),
    ],
)
def test_each_cloud_tells_region_and_instance_type(
    service: Service, answers: Mapping[str, Answer], expected: Metadata, known: bool
) -> None:
    """The headers that each wants are sent, also where all three are asked because nothing says which it is."""
    assert told(service, expected.cloud if known else None, answers) == expected


def test_cloud_run_has_a_region_and_no_machine_type(service: Service) -> None:
    """And GKE hides the type: what is not told is unknown."""
    region = Answer("projects/1/regions/us-central1", headers=GOOGLE, needs=GOOGLE)

    found = told(service, "gcp", {"GET /computeMetadata/v1/instance/region": region})

    assert found == Metadata(cloud="gcp", region="us-central1", instance_type=None)


def test_googles_service_is_asked_once_more_after_some_seconds(service: Service) -> None:
    """It refuses for a while at a pod's start; only where nobody waits."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        service.answers.update(GCE)

    service.answers["GET /computeMetadata/v1/instance/zone"] = Answer(status=503, headers=GOOGLE)
    with pytest.raises(MetadataError, match="status 503"):
        asyncio.run(ask("gcp", address=service.address, patient=False, sleep=sleep))
    found = asyncio.run(ask("gcp", address=service.address, patient=True, sleep=sleep))

    assert (found.region, slept) == ("europe-west1", [AGAIN_SECONDS])


def test_another_service_at_googles_address_is_not_believed(service: Service) -> None:
    """Only Google's own marks its answers."""
    answer = Answer("projects/1/zones/europe-west1-b")
    with pytest.raises(MetadataError, match="is another"):
        told(service, "gcp", {"GET /computeMetadata/v1/instance/zone": answer})


def test_a_token_that_does_not_come_names_the_hop_limit(service: Service) -> None:
    """In a bridged container the answer is dropped on its way; the old protocol without a token is never tried."""
    service.free.clear()
    with pytest.raises(MetadataError, match="no session token in time") as failed:
        asyncio.run(ask("aws", address=service.address, seconds=0.5))

    assert failed.value.remedy is not None
    assert "hop limit to 2" in failed.value.remedy
    assert service.asked == ["PUT /latest/api/token"]


def test_nobody_there_is_said_and_not_guessed(service: Service) -> None:
    """A refused connection, a service that is shut, and no cloud at all."""
    with pytest.raises(MetadataError, match="cannot be asked"):
        asyncio.run(ask("azure", address="http://127.0.0.1:9"))
    with pytest.raises(MetadataError, match="status 403"):
        told(service, "aws", {"PUT /latest/api/token": Answer(status=403)})
    with pytest.raises(MetadataError, match="nothing says that this is a cloud"):
        told(service, None, {})


def test_neither_proxy_nor_redirect_is_followed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy would answer for the cloud."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert told(service, "azure", AZURE).region == "westeurope"

    elsewhere = Answer(status=302, headers={"Location": f"{service.address}/metadata/instance/compute"})
    with pytest.raises(MetadataError, match="status 302"):
        told(service, "aws", {"PUT /latest/api/token": elsewhere})


@pytest.mark.parametrize(
    "body",
    [
        "<html>sign in</html>",
        "[]",
        "[" * 100_000,
        '{"location": 3, "vmSize": null}',
        '{"location": "west europe", "vmSize": "a b"}',
        '{"location": "west\\neurope"}',
        '{"location": "' + "x" * 41 + '"}',
        '{"location": "westeurope", "tags": "' + "x" * 70_000 + '"}',
        b"\xff\xfe",
        "",
    ],
)
def test_what_does_not_look_like_an_answer_is_none(service: Service, body: str | bytes) -> None:
    """Answers are input from the network, and become labels."""
    with pytest.raises(MetadataError):
        told(service, "azure", {"GET /metadata/instance/compute": Answer(body)})


@given(token=st.binary(max_size=40), document=st.binary(max_size=80) | st.just(DOCUMENT.encode()))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_breaks_anything(service: Service, token: bytes, document: bytes) -> None:
    """Whatever the bytes, there is an answer or one error of ours."""
    answers = {
        "PUT /latest/api/token": Answer(token),
        "GET /latest/dynamic/instance-identity/document": Answer(document),
    }
    with suppress(MetadataError):
        assert told(service, "aws", answers).region == "eu-west-1"


def test_no_error_shows_the_token(service: Service) -> None:
    """It opens more than the region."""
    refused = Answer(f"no {TOKEN}", status=500)
    with pytest.raises(MetadataError) as failed:
        told(service, "aws", EC2 | {"GET /latest/dynamic/instance-identity/document": refused})

    assert TOKEN not in str(failed.value)
    assert TOKEN not in str(failed.value.__cause__)


@pytest.mark.parametrize(
    ("strings", "environment", "expected"),
    [
        ({"sys_vendor": "Amazon EC2", "product_name": "t3.small"}, {}, "aws"),
        ({"sys_vendor": "Xen", "bios_version": "4.11.amazon"}, {}, "aws"),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, {}, "gcp"),
        ({"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": AZURE_TAG}, {}, "azure"),
        ({}, {"K_SERVICE": "shop"}, "gcp"),
        ({}, {}, None),
    ],
)
def test_dmi_says_whom_to_ask(
    tmp_path: Path, strings: dict[str, str], environment: dict[str, str], expected: Cloud | None
) -> None:
    """One look at files; None is a guess."""
    assert whom_to_ask(look(sysfs_root=dmi(tmp_path, **strings)), environment) == expected


@pytest.mark.parametrize(
    ("strings", "environment", "words"),
    [
        ({"sys_vendor": "Dell Inc.", "product_name": "PowerEdge R740"}, {}, "'Dell Inc. PowerEdge R740'"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, {}, "no cloud that is known"),
        ({"sys_vendor": "Amazon EC2"}, {"AWS_LAMBDA_FUNCTION_NAME": "f"}, "AWS_LAMBDA_FUNCTION_NAME is set"),
        ({}, {"WEBSITE_SITE_NAME": "shop"}, "WEBSITE_SITE_NAME is set"),
        ({"sys_vendor": "Amazon EC2"}, {"AWS_EC2_METADATA_DISABLED": "true"}, "AWS_EC2_METADATA_DISABLED is true"),
    ],
)
def test_where_there_is_no_service_nobody_is_asked(
    tmp_path: Path, strings: dict[str, str], environment: dict[str, str], words: str
) -> None:
    """A laptop, a plain server, somebody's Hyper-V, a function."""
    with pytest.raises(MetadataError, match=words):
        whom_to_ask(look(sysfs_root=dmi(tmp_path, **strings)), environment)
