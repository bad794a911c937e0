"""ClickHouse's present version behind its HTTP interface, as far as the collector speaks it: chDB, the engine as a
library, in a process of its own. `python tests/peers/chdb_server.py PORT FOLDER`."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session


def serve(port: int, folder: str) -> None:
    """Answer one request after the other until the process is ended."""
    session, one = Session(folder), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, b"Ok.\n")

        def do_POST(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
            text = f"{asked['query']}\n{body}" if "query" in asked else body
            try:
                one.acquire()
                session.query(f"use {asked.get('database', 'default')}")
                session.query("set output_format_json_quote_64bit_integers = 0")
                result = session.query(text, "TabSeparated").bytes()
            except Exception as exc:
                self._answer(500, str(exc).encode())
            else:
                self._answer(200, result or b"")
            finally:
                one.release()

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
