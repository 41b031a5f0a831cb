"""A download ends: at the promised size, at a limit, when it is too slow, silent or long, when asked to; and leads
nowhere that nobody meant.
"""

import fcntl
import hashlib
import json
import threading
from contextlib import contextmanager

import fsspec
import pytest

from flux_assets.errors import LayerError, ManifestError, ReleaseError
from flux_assets.postgis.liveness import Stop
from flux_assets.release.http import _Reach
from flux_assets.release.release import Release
from flux_assets.release.stopping import stoppable
from flux_assets.release.stores import Limits
from flux_assets_tests.hostile_web import Host, certificate, content, hosting, redirect

NAME = "sites.csv.gz"
PATH = f"/v1/{NAME}"
PIECE = bytes(1 << 16)
BODY = b"0123456789" * 1000
# Far more than any test fetches, and far less than a host that goes on would send.
SENT = 64 << 20


@pytest.fixture
def host():
    with hosting() as host:
        yield host


def release(address, tmp_path, **limits):
    return Release(f"{address}/v1", None, tmp_path / "cache", limits=Limits(**limits), pause=0.001)


def fetched(some: Release) -> bytes:
    return some.fetch(some.resolve(NAME, "sites")).read_bytes()


def promise(host: Host, **entry) -> None:
    text = json.dumps({"files": [{"table": "sites", "file": NAME} | entry]})
    host.answers["/v1/manifest.json"] = content(text.encode())


def kept_bytes(tmp_path) -> int:
    return sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())


# How much.


def test_an_endless_manifest_is_given_up(host, tmp_path):
    host.answers["/v1/manifest.json"] = host.endless(b" " * (1 << 16))
    with pytest.raises(ManifestError, match=r"/v1/manifest.json: it is larger than 4 MB"):
        release(host.address, tmp_path).manifest()
    assert host.sent < SENT
    assert kept_bytes(tmp_path) == 0


@pytest.mark.parametrize("form", ["announced", "endless"])
def test_a_promised_size_is_not_passed(host, tmp_path, form):
    """With the size that the server announces nothing is fetched at all, without one not one byte more is kept."""
    promise(host, bytes=1000, sha256="a" * 64)
    host.answers[PATH] = content(PIECE * 1000) if form == "announced" else host.endless(PIECE)
    found = len(PIECE) * 1000 if form == "announced" else "more than 1000"
    with pytest.raises(ManifestError, match=rf"{NAME}: bytes is {found}, the manifest says 1000"):
        fetched(release(host.address, tmp_path))
    assert host.sent < SENT
    assert kept_bytes(tmp_path) < 10_000


@pytest.mark.parametrize("promised", [{}, {"bytes": 10**12}])
@pytest.mark.parametrize("length", [{}, {"Content_Length": 10**12}])
def test_a_file_has_a_limit_whatever_is_promised(host, tmp_path, promised, length):
    promise(host, **promised)
    host.answers[PATH] = host.endless(PIECE, **length)
    with pytest.raises(ReleaseError, match=rf"{NAME} is larger than 1.0 MB, .*raise FLUX_DOWNLOAD_LIMIT"):
        fetched(release(host.address, tmp_path, largest=10**6))
    assert host.sent < SENT
    assert kept_bytes(tmp_path) < 10_000


def test_a_file_of_just_the_limit_is_fetched(host, tmp_path):
    host.answers[PATH] = content(BODY)
    assert fetched(release(host.address, tmp_path, largest=len(BODY))) == BODY


def test_the_disk_is_not_filled(host, tmp_path):
    host.answers[PATH] = content(BODY)
    with pytest.raises(ReleaseError, match=r"MB are free under .*Make room, or set FLUX_HOME"):
        fetched(release(host.address, tmp_path, spare=1 << 60))
    assert kept_bytes(tmp_path) == 0


def test_a_store_of_fsspec_has_the_same_limit(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe_file("/limited/v1/" + NAME, BODY)
    with pytest.raises(ReleaseError, match=rf"{NAME} is larger than 0.0 MB"):
        fetched(release("memory://limited", tmp_path, largest=len(BODY) - 1))
    assert fetched(release("memory://limited", tmp_path, largest=len(BODY))) == BODY
    store.rm("/limited", recursive=True)


# How long.


def test_a_trickle_is_too_slow(host, tmp_path):
    host.answers[PATH] = host.endless(b"x", every=0.05)
    with pytest.raises(ReleaseError, match=r"comes too slowly: .* bytes in .* seconds.*Try again later"):
        fetched(release(host.address, tmp_path, window=0.5))


def test_a_trickle_over_many_connections_is_too_slow(host, tmp_path):
    """Each attempt brings a byte, so that the attempts themselves never run out."""

    def one_byte(request):
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        part = {"Content_Range": f"bytes {start}-{10**6 - 1}/{10**6}"} if start else {}
        request.head(206 if start else 200, ETag='"x"', Content_Length=10**6 - start, **part)
        request.wfile.write(b"x")

    host.answers[PATH] = one_byte
    with pytest.raises(ReleaseError, match="comes too slowly"):
        fetched(release(host.address, tmp_path, window=0.5))
    assert host.asked.count(PATH) > 5


def test_a_download_has_a_deadline(host, tmp_path):
    host.answers[PATH] = host.endless(b"x", every=0.05)
    with pytest.raises(ReleaseError, match="has not come within 1 seconds"):
        fetched(release(host.address, tmp_path, total=1, least_speed=0))


@pytest.mark.parametrize("path", ["/v1/manifest.json", PATH])
def test_a_silent_server_is_given_up(host, tmp_path, path):
    host.answers[path] = host.silent
    with pytest.raises(ReleaseError, match=r"no answer within 0.2 seconds|timed out"):
        fetched(release(host.address, tmp_path, silence=0.2))
    with pytest.raises(ReleaseError, match=r"no answer within 0.2 seconds|timed out"):
        release(host.address, tmp_path, silence=0.2).glance(NAME, "sites")


def test_a_trickle_of_headers_is_given_up(host, tmp_path):
    """Each byte comes within the time-out of the socket."""

    def answer(request):
        while not host.ended.wait(0.05):
            request.wfile.write(b"H")

    host.answers[PATH] = answer
    with pytest.raises(ReleaseError, match=r"no answer within 0.3 seconds"):
        fetched(release(host.address, tmp_path, silence=0.3))


class _Stuck(fsspec.get_filesystem_class("memory")):
    """A store that does not answer."""

    protocol = "stuck"
    waits = threading.Event()

    def info(self, path, **kwargs):
        _Stuck.waits.wait()


def test_a_silent_store_is_given_up(tmp_path):
    fsspec.register_implementation("stuck", _Stuck, clobber=True)
    with pytest.raises(ReleaseError, match=r"no answer within 0.2 seconds"):
        release("stuck://bucket", tmp_path, silence=0.2).glance(NAME, "sites")
    _Stuck.waits.set()


def test_a_file_that_somebody_else_fetches_is_not_waited_for_without_end(host, tmp_path):
    host.answers[PATH] = content(BODY)
    some = release(host.address, tmp_path, queue=0.3)
    fetched(some)
    (lock,) = (path for path in (tmp_path / "cache").rglob(f"{NAME}.lock"))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ReleaseError, match=rf"another process has been fetching it.*{lock}"):
            fetched(some)
    assert fetched(some) == BODY


@contextmanager
def asking_to_stop(stop: Stop, when: threading.Event):
    thread = threading.Thread(target=lambda: when.wait() and stop.request())
    thread.start()
    with stoppable(stop.check):
        yield
    thread.join()


@pytest.mark.parametrize("what", ["silent", "endless", "trickle"])
def test_a_stop_is_heard(host, tmp_path, what):
    """The limits are hours away: only the request to stop ends it."""
    stop, begun = Stop(), threading.Event()
    going_on = {"silent": host.silent, "endless": host.endless(PIECE, 0.01), "trickle": host.endless(b"x", 0.05)}[what]

    def answer(request):
        if request.command == "GET":
            begun.set()
        going_on(request)

    host.answers[PATH] = answer
    far = {"silence": 3600, "window": 3600, "total": 3600}
    with pytest.raises(LayerError, match="Stopped on request"), asking_to_stop(stop, begun):
        fetched(release(host.address, tmp_path, **far))


# Where to.


@pytest.mark.parametrize(
    "to", ["https://192.0.2.1/x", "https://10.0.0.1/x", "http://192.0.2.1/x", "file:///etc/passwd"]
)
def test_this_machine_leads_nowhere_else(host, tmp_path, to):
    host.answers[PATH] = redirect(to)
    with pytest.raises(ReleaseError, match=rf"{NAME}: it redirects (from this machine to another one|to an address)"):
        fetched(release(host.address, tmp_path))


def test_redirections_are_counted(host, tmp_path):
    host.answers[PATH] = redirect(PATH)
    with pytest.raises(ReleaseError, match="it redirects more than 5 times"):
        fetched(release(host.address, tmp_path))
    assert host.asked.count(PATH) == 6


def test_the_body_of_a_redirection_is_not_read(host, tmp_path):

    def endless(request):
        request.head(302, Location="/there")
        while not host.ended.is_set():
            request.wfile.write(PIECE)

    host.answers[PATH] = endless
    host.answers["/there"] = content(BODY)
    assert fetched(release(host.address, tmp_path)) == BODY


@pytest.fixture
def far_and_near(tmp_path, monkeypatch):
    """Two hosts with TLS; `far` counts as one on the internet, `near` as what a parametrised test says."""
    path = certificate(tmp_path, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    seen = {"127.0.0.2": _Reach.PUBLIC, "127.0.0.3": _Reach.PRIVATE}
    reach_of = _Reach.of
    monkeypatch.setattr(_Reach, "of", lambda address: seen.get(address) or reach_of(address))
    with hosting("127.0.0.2", path) as far, hosting("127.0.0.3", path) as private, hosting("127.0.0.1", path) as near:
        for each in (far, private, near):
            each.answers["/file"] = content(BODY)
        yield far, private, near


def test_what_lies_elsewhere_leads_no_closer(far_and_near, tmp_path):
    far, private, near = far_and_near
    for start, to, said in (
        (far, near, "it redirects to this machine"),
        (far, private, "it redirects to a private network"),
        (private, near, "it redirects to this machine"),
        (near, far, "it redirects from this machine to another one"),
    ):
        start.answers[PATH] = redirect(f"{to.address}/file")
        with pytest.raises(ReleaseError, match=said):
            fetched(release(start.address, tmp_path))
        assert "/file" not in to.asked
    for start, to in ((far, far), (private, private), (private, far), (near, near)):
        start.answers[PATH] = redirect(f"{to.address}/file")
        assert fetched(release(start.address, tmp_path)) == BODY


def test_what_is_encrypted_stays_so(far_and_near, host, tmp_path):
    far, *_ = far_and_near
    host.answers["/file"] = content(BODY)
    for to in (f"{host.address}/file", f"http://{far.address.partition('//')[2]}/file"):
        far.answers[PATH] = redirect(to)
        with pytest.raises(ReleaseError, match="it redirects to"):
            fetched(release(far.address, tmp_path))
    assert host.asked == []


def test_a_proxy_is_not_asked_for_this_machine(host, tmp_path, monkeypatch):
    """It would see user and password in the clear."""
    host.answers[PATH] = content(BODY)
    with hosting() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert fetched(release(host.address.replace("//", "//me:secret@"), tmp_path)) == BODY
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("127.0.0.9", _Reach.MACHINE),
        ("::1", _Reach.MACHINE),
        ("::ffff:127.0.0.1", _Reach.MACHINE),
        ("0.0.0.0", _Reach.MACHINE),
        ("10.1.2.3", _Reach.PRIVATE),
        ("169.254.169.254", _Reach.PRIVATE),
        ("100.64.0.1", _Reach.PRIVATE),
        ("fe80::1%eth0", _Reach.PRIVATE),
        ("fd00::1", _Reach.PRIVATE),
        ("8.8.8.8", _Reach.PUBLIC),
        ("2606:4700::1111", _Reach.PUBLIC),
    ],
)
def test_the_reach_of_an_address(address, found):
    assert _Reach.of(address) is found


@pytest.mark.parametrize("address", ["ftp://example.org/v1", "simplecache::https://example.org/v1"])
def test_no_other_way_to_read_unencrypted(address, tmp_path):
    with pytest.raises(ReleaseError, match=r"would be read unencrypted|is a chain of addresses"):
        Release(address, None, tmp_path)


def test_a_file_is_still_verified(host, tmp_path):
    promise(host, bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    host.answers[PATH] = content(BODY)
    assert fetched(release(host.address, tmp_path)) == BODY
