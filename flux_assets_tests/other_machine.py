"""PostgreSQL as if on another machine: this one's own network address, and a server that speaks TLS.

Here: the relay that carries connections from that address to a server and notes what is sent, and certificates.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import sql

from flux_assets.sample.cluster import Cluster


@dataclass
class Relay:
    """Where it listens, and the bytes that clients have sent."""

    host: str
    upstream: int
    port: int = 0
    seen: bytearray = field(default_factory=bytearray)

    def carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.upstream)) as server:
            back = threading.Thread(target=self._pipe, args=(server, client, bytearray()), daemon=True)
            back.start()
            self._pipe(client, server, self.seen)
            back.join()

    def _pipe(self, source: socket.socket, sink: socket.socket, seen: bytearray) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                seen += piece
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def own_address() -> str:
    """An address of this machine that is none of loopback, or one that is not taken for it. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, suppress(OSError):
        asked.connect(("192.0.2.77", 9))
        return str(asked.getsockname()[0])
    return "0.0.0.0"


@contextmanager
def relaying(upstream: int) -> Iterator[Relay]:
    """A relay to the server at this port of 127.0.0.1, for as long as the block lasts."""
    relay = Relay(host=own_address(), upstream=upstream)
    with socket.create_server((relay.host, 0)) as listener:
        relay.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=relay.carry, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield relay
        # Closing alone does not wake the thread that waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)


def turn_on_tls(cluster: Cluster, certificate: Path) -> None:
    """Give the server a certificate for `own_address`, signed by itself, which is also written to the path."""
    public, private = _certificate()
    certificate.write_text(public)
    with cluster.admin_session() as admin:
        for name, text in (("server.crt", public), ("server.key", private)):
            lines = sql.SQL("COPY (SELECT unnest(string_to_array({}, chr(10)))) TO PROGRAM {}")
            admin.execute(lines.format(text.strip(), f"umask 077; cat > {name}"))
        admin.execute("ALTER SYSTEM SET ssl = on")
        admin.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while not _speaks_tls(cluster):
        assert time.monotonic() < deadline, cluster.log.read_text()[-2000:]
        time.sleep(0.05)


def _speaks_tls(cluster: Cluster) -> bool:
    with cluster.admin_session() as admin:
        return admin.execute("SHOW ssl").fetchone() == ("on",)


def _certificate() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flux_assets test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(own_address()))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
