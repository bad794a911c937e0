"""A metadata service on a real socket: what a cloud answers inside its machines, or does not."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCUMENT = (
    '{"accountId":"123456789012","architecture":"x86_64","availabilityZone":"eu-west-1b","imageId":"ami-0",'
    '"instanceId":"i-0","instanceType":"m5.large","privateIp":"10.0.0.1","region":"eu-west-1","version":"2017-09-30"}'
)
COMPUTE = (
    '{"azEnvironment":"AzurePublicCloud","location":"westeurope","vmSize":"Standard_D2s_v3","zone":"","tags":"x:y"}'
)
GOOGLE = {"Metadata-Flavor": "Google"}
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
TOKEN = "secret-token"


@dataclass(frozen=True)
class Answer:
    """What a path gives.

    Args:
        body: Text.
        status: HTTP status.
        headers: Besides the length.
        needs: Headers that the request must have; 401 without.
    """

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)


EC2 = {
    "PUT /latest/api/token": Answer(TOKEN, needs={"x-aws-ec2-metadata-token-ttl-seconds": "60"}),
    "GET /latest/dynamic/instance-identity/document": Answer(DOCUMENT, needs={"x-aws-ec2-metadata-token": TOKEN}),
}
GCE = {
    "GET /computeMetadata/v1/instance/zone": Answer(
        "projects/123456789012/zones/europe-west1-b", headers=GOOGLE, needs=GOOGLE
    ),
    "GET /computeMetadata/v1/instance/machine-type": Answer(
        "projects/123456789012/machineTypes/n2-standard-4", headers=GOOGLE, needs=GOOGLE
    ),
}
AZURE = {"GET /metadata/instance/compute": Answer(COMPUTE, needs={"metadata": "true"})}


class Service:
    """One machine's metadata service.

    Args:
        answers: By method and path.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.free = threading.Event()
        """Cleared, every answer waits until it is set."""
        self.free.set()
        self.address = ""


@contextmanager
def serving(answers: Mapping[str, Answer]) -> Iterator[Service]:
    """A service that listens on 127.0.0.1."""
    service = Service(answers)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked = f"{self.command} {urlsplit(self.path).path}"
            service.asked.append(asked)
            service.free.wait()
            answer = service.answers.get(asked, Answer(status=404, headers=GOOGLE))
            missing = any(self.headers.get(name) != value for name, value in answer.needs.items())
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            try:
                self.send_response(401 if missing else answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(0 if missing else len(body)))
                self.end_headers()
                self.wfile.write(b"" if missing else body)
            except OSError:  # whoever asked has gone
                self.close_connection = True

        do_GET = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.free.set()
        server.shutdown()
        thread.join()
        server.server_close()


def dmi(sysfs_root: Path, **strings: str) -> Path:
    """A /sys whose DMI says so."""
    folder = sysfs_root / "class/dmi/id"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in strings.items():
        (folder / name).write_text(f"{text}\n")
    return sysfs_root
