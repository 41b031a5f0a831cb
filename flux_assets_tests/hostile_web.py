"""An HTTP or HTTPS server on a loopback address whose answers never end, hardly come, or lead elsewhere."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """What an answer is written to; `ended` is set once the test is over."""

    protocol_version = "HTTP/1.0"  # an answer without a length ends with its connection
    host: Host

    def do_GET(self) -> None:
        self.host.asked.append(self.path)
        answer = self.host.answers.get(self.path)
        with suppress(OSError):  # a client that goes away is the point of most tests
            return answer(self) if answer else self.head(404)

    do_HEAD = do_GET  # noqa: N815 - the name that the library asks for

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Host:
    """Answers by path, and the paths asked for. `sent` counts the bytes of bodies that went out."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.ended = Event()
        self.sent = 0
        self.address = ""

    def endless(self, piece: bytes, every: float = 0, **headers: object) -> Answer:
        """A body that goes on, `piece` by `piece`, until the client has gone."""

        def answer(request: Request) -> None:
            request.head(**headers)
            while request.command == "GET" and not self.ended.wait(every):
                request.wfile.write(piece)
                self.sent += len(piece)

        return answer

    def silent(self, request: Request) -> None:
        """Nothing at all."""
        self.ended.wait()


def content(body: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.head(Content_Length=len(body))
        request.wfile.write(body if request.command == "GET" else b"")

    return answer


def redirect(to: str) -> Answer:
    return lambda request: request.head(302, Location=to, Content_Length=0)


@contextmanager
def hosting(address: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[Host]:
    """A host for the length of the block; over TLS with a certificate."""
    host = Host()
    server = ThreadingHTTPServer((address, 0), type("Request", (Request,), {"host": host}))
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host.address = f"{'https' if certificate else 'http'}://{address}:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        host.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder: Path, *addresses: str) -> Path:
    """A file with a key and a certificate for these addresses, which is its own authority."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    today = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
