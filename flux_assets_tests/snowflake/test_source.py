"""A release in a folder, behind HTTP, and in a store of fsspec: the same files, verified, whatever the network does."""

import hashlib
import json
import os
import sys
import threading
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.registry import _registry as file_systems

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.release import Glance, Release
from flux_assets_tests.web import Web, serving

NAME = "sites.csv.gz"
CONTENT = bytes(range(256)) * 4000
OTHER = bytes(reversed(CONTENT))
PATH = f"/v1/{NAME}"


def sha(content):
    return hashlib.sha256(content).hexdigest()


def manifest(content=CONTENT, **changed):
    entry = {"table": "sites", "file": NAME, "rows": 5, "bytes": len(content), "sha256": sha(content)} | changed
    return json.dumps({"files": [{key: value for key, value in entry.items() if value is not None}]}).encode()


@pytest.fixture
def web():
    with serving() as web:
        web.files[PATH] = CONTENT
        yield web


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "releases" / "v1"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    return folder


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/v1/" + NAME, CONTENT)
    yield store
    store.rm("/bucket", recursive=True)


def release(address, tmp_path, tag=None):
    return Release(str(address), tag, tmp_path / "cache", pause=0.001)


def behind(web: Web, tmp_path, **how):
    return release(f"{web.address}/v1", tmp_path, **how)


def fetched(some: Release) -> bytes:
    return some.fetch(some.resolve(NAME, "sites")).read_bytes()


def kept(tmp_path):
    return sorted(
        path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and "digests" not in path.parts
    )


# A folder.


def test_a_folder_is_read_in_place(folder, tmp_path):
    some = release(folder, tmp_path)
    file = some.resolve(NAME, "sites")
    assert (file.table, file.file, file.sha256, file.bytes, file.rows) == (
        "sites",
        NAME,
        sha(CONTENT),
        len(CONTENT),
        None,
    )
    assert file.address == str(folder / NAME)
    assert some.fetch(file) == folder / NAME
    assert some.manifest() is None
    assert kept(tmp_path) == []


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
def test_forms_of_a_folder(folder, tmp_path, form):
    some = release(form.format(folder), tmp_path)
    assert some.tag == "v1"
    assert fetched(some) == CONTENT


def test_the_manifest_spares_the_digest(folder, tmp_path):
    (folder / "manifest.json").write_bytes(manifest(sha256="a" * 64))
    file = release(folder, tmp_path).resolve(NAME, "sites")
    assert (file.sha256, file.rows, file.bytes) == ("a" * 64, 5, len(CONTENT))


def test_the_manifest_names_the_file(folder, tmp_path):
    (folder / "layers").mkdir()
    (folder / NAME).rename(folder / "layers" / "s.gz")
    (folder / "manifest.json").write_bytes(manifest(file="layers/s.gz"))
    assert fetched(release(folder, tmp_path)) == CONTENT


def test_a_table_that_the_manifest_leaves_out_is_not_verified(folder, tmp_path):
    (folder / "manifest.json").write_bytes(manifest(table="others", file="others.csv.gz"))
    assert fetched(release(folder, tmp_path)) == CONTENT


def test_a_remembered_digest_follows_the_file(folder, tmp_path):
    some = release(folder, tmp_path)
    os.utime(folder / NAME, (1e9, 1e9))
    assert some.resolve(NAME, "sites").sha256 == some.resolve(NAME, "sites").sha256 == sha(CONTENT)
    (folder / NAME).write_bytes(OTHER)
    os.utime(folder / NAME, (1e9, 1e9))
    assert some.resolve(NAME, "sites").sha256 == sha(OTHER)


def test_a_file_that_changes_before_it_is_fetched_is_refused(folder, tmp_path):
    some = release(folder, tmp_path)
    file = some.resolve(NAME, "sites")
    (folder / NAME).write_bytes(OTHER)
    with pytest.raises(ReleaseError, match=f"has changed since it was identified: sha256 was {sha(CONTENT)}"):
        some.fetch(file)


def test_a_reader_that_compares_the_digest_is_given_the_file_unread(folder, tmp_path):
    (folder / "manifest.json").write_bytes(manifest(sha256="a" * 64))
    some = release(folder, tmp_path)
    file = some.resolve(NAME, "sites")
    assert some.at_hand(file) == [folder / NAME]
    (folder / NAME).write_bytes(OTHER + b"more")
    with pytest.raises(ManifestError, match=f"bytes is {len(OTHER) + 4}, the manifest says {len(CONTENT)}"):
        some.at_hand(file)


def test_what_a_folder_lacks(folder, tmp_path):
    with pytest.raises(ReleaseError, match=r"There is no .*/none.csv.gz. Check FLUX_RELEASE"):
        release(folder, tmp_path).resolve("none.csv.gz", "none")
    with pytest.raises(ReleaseError, match=r"There is no folder .*/nowhere. Set FLUX_RELEASE"):
        release(folder / "nowhere", tmp_path).resolve(NAME, "sites")
    assert release(folder, tmp_path).manifest() is None
    (folder / "manifest.json").mkdir()
    with pytest.raises(ReleaseError, match=r"manifest.json is not a regular file"):
        release(folder, tmp_path).manifest()


# A mismatch with the manifest, wherever the release lies.


@pytest.fixture(params=["folder", "http", "memory"])
def placed(request, tmp_path):
    """Puts a manifest beside the file, and opens the release."""
    store = request.getfixturevalue({"folder": "folder", "http": "web", "memory": "memory"}[request.param])

    def place(content: bytes) -> Release:
        if isinstance(store, Path):
            (store / "manifest.json").write_bytes(content)
            return release(store, tmp_path)
        if isinstance(store, Web):
            store.files["/v1/manifest.json"] = content
            return behind(store, tmp_path)
        store.pipe_file("/bucket/v1/manifest.json", content)
        return release("memory://bucket/v1", tmp_path)

    return place


def test_a_file_as_promised_is_given(placed):
    some = placed(manifest())
    assert fetched(some) == CONTENT
    assert some.tag == "v1"
    assert some.glance(NAME, "sites").sha256 == sha(CONTENT)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sha256": "b" * 64}, f"sha256 is {sha(CONTENT)}, the manifest says {'b' * 64}"),
        ({"bytes": 9}, f"bytes is {len(CONTENT)}, the manifest says 9"),
        ({"bytes": 9, "sha256": None}, f"bytes is {len(CONTENT)}, the manifest says 9"),
    ],
)
def test_a_mismatch_names_both_values_and_keeps_nothing(placed, tmp_path, changed, said):
    some = placed(manifest(**changed))
    with pytest.raises(ManifestError) as caught:
        fetched(some)
    assert f"{NAME}: {said}" in str(caught.value)
    assert "if the file is right, rewrite the manifest" in caught.value.remedy
    assert [name for name in kept(tmp_path) if name.startswith(NAME) and not name.endswith(".lock")] in (
        [],
        [NAME, f"{NAME}.json"],
    )
    with pytest.raises(ManifestError):
        fetched(some)


def test_a_malformed_manifest_is_refused(placed):
    with pytest.raises(ManifestError, match=r"v1/manifest.json: this is not JSON"):
        placed(b"{").resolve(NAME, "sites")


def test_a_fetched_file_is_whole(placed):
    some = placed(manifest())
    path = some.fetch(some.resolve(NAME, "sites"))
    assert path.stat().st_size == len(CONTENT)
    assert path.read_bytes() == CONTENT


# HTTP.


def test_a_file_is_fetched_once(web, tmp_path):
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert web.fetched(PATH) == [None]


def test_a_changed_file_is_fetched_again(web, tmp_path):
    some = behind(web, tmp_path)
    first = some.resolve(NAME, "sites")
    before = some.glance(NAME, "sites")
    assert before.sha256 == sha(CONTENT), "the digest of a file that was fetched is known"
    web.files[PATH] = OTHER
    after = some.glance(NAME, "sites")
    assert after.stamp != before.stamp
    assert after.sha256 is None
    assert some.resolve(NAME, "sites").sha256 == sha(OTHER) != first.sha256
    with pytest.raises(ReleaseError, match="has changed since it was identified"):
        some.fetch(first)


def test_a_damaged_cache_is_not_believed(web, tmp_path):
    some = behind(web, tmp_path)
    file = some.resolve(NAME, "sites")
    some.fetch(file).write_bytes(OTHER)
    assert some.fetch(file).read_bytes() == CONTENT


def test_a_dropped_connection_is_gone_on_with(web, tmp_path):
    web.breaks = [100_000, 300_000, 1]
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert web.fetched(PATH) == [None, "bytes=100000-", "bytes=400000-", "bytes=400001-"]


def test_the_next_process_goes_on_too(web, tmp_path):
    web.breaks = [100_000, *[0] * 9]
    with pytest.raises(ReleaseError, match=r"broke off after 100000 of 1024000 bytes. Try again later"):
        fetched(behind(web, tmp_path))
    web.breaks, web.log = [], []
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert web.fetched(PATH) == ["bytes=100000-"]


def test_attempts_that_bring_something_never_run_out(web, tmp_path):
    web.breaks = [50_000] * 15
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert len(web.fetched(PATH)) == 16


def test_a_server_that_ignores_ranges_starts_over(web, tmp_path):
    web.ranges, web.breaks = False, [100_000]
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert web.fetched(PATH) == [None, "bytes=100000-"]


@pytest.mark.parametrize("honour", [True, False])
def test_a_file_that_changes_between_parts_starts_over(web, tmp_path, honour):
    """Also where the server sends a part of the new file as if it went on with the old one."""
    web.breaks, web.change_after, web.honour_if_range = [100_000], OTHER, honour
    assert fetched(behind(web, tmp_path)) == OTHER


def test_a_file_that_becomes_shorter_starts_over(web, tmp_path):
    web.breaks, web.change_after, web.honour_if_range = [100_000], b"short", False
    assert fetched(behind(web, tmp_path)) == b"short"


def test_without_a_mark_nothing_is_gone_on_with(web, tmp_path):
    web.marks, web.breaks = False, [100_000]
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert web.fetched(PATH) == [None, None]


def test_a_busy_server_is_asked_again(web, tmp_path):
    web.statuses = [503, 429]
    assert fetched(behind(web, tmp_path)) == CONTENT
    assert len(web.fetched(PATH)) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_server_that_stays_busy_is_an_error(web, tmp_path, status):
    web.statuses = [status] * 9
    with pytest.raises(ReleaseError, match=rf"the server cannot answer now \(HTTP {status}.*Try again later"):
        behind(web, tmp_path).resolve(NAME, "sites")
    assert len(web.fetched(PATH)) == 5


@pytest.mark.parametrize(("status", "said"), [(403, "denies access"), (401, "denies access"), (400, "refuses")])
def test_a_refusal_is_not_asked_again(web, tmp_path, status, said):
    web.statuses = [status] * 9
    with pytest.raises(ReleaseError, match=said) as caught:
        behind(web, tmp_path).resolve(NAME, "sites")
    assert f"HTTP {status}" in str(caught.value)
    assert len(web.fetched(PATH)) == 1


def test_what_the_server_lacks(web, tmp_path):
    some = behind(web, tmp_path)
    for ask in (some.resolve, some.glance):
        with pytest.raises(ReleaseError, match=rf"There is no {web.address}/v1/none.csv.gz. Check FLUX_RELEASE"):
            ask("none.csv.gz", "none")
    assert some.manifest() is None


def test_an_unreachable_host_is_named(tmp_path):
    with serving() as web:
        address = web.address
    with pytest.raises(ReleaseError, match=rf"{address}/v1/.*: the host cannot be reached .*Check FLUX_RELEASE"):
        release(f"{address}/v1", tmp_path).resolve(NAME, "sites")


def test_an_unknown_host_is_named(tmp_path):
    with pytest.raises(ReleaseError, match=r"https://none.invalid/v1/manifest.json: the host.*Check FLUX_RELEASE"):
        release("https://none.invalid/v1", tmp_path).resolve(NAME, "sites")


def test_where_head_is_refused_a_byte_tells_the_stamp(web, tmp_path):
    some = behind(web, tmp_path)
    usual = some.glance(NAME, "sites")
    web.heads = False
    stamp = f'{len(CONTENT)} "{hashlib.md5(CONTENT).hexdigest()}"'
    assert some.glance(NAME, "sites") == usual == Glance(None, stamp, len(CONTENT), (NAME,))


def test_a_redirection_is_followed_without_the_password(web, tmp_path):
    with serving() as front:
        front.redirect = web.address
        seen = release(f"{front.address.replace('//', '//me:pass@')}/v1", tmp_path)
        assert fetched(seen) == CONTENT


def test_user_and_password_are_sent_and_never_shown(web, tmp_path):
    web.password = "Basic bWU6dDBwc2VjcmV0"
    address = f"{web.address.replace('//', '//me:t0psecret@')}/v1?sig=s1gnature"
    some = release(address, tmp_path)
    file = some.resolve(NAME, "sites")
    assert some.fetch(file).read_bytes() == CONTENT
    web.password = "another"
    with pytest.raises(ReleaseError, match="denies access") as caught:
        some.resolve(NAME, "sites")
    notes = "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.json"))
    for shown in (repr(some), repr(file), some.address, some.tag, str(caught.value), notes, str(some.fetch(file))):
        assert "t0psecret" not in shown
        assert "s1gnature" not in shown
        assert "me:" not in shown


def test_a_name_leads_nowhere_else(web, tmp_path):
    web.files["/v1/manifest.json"] = manifest(file="%2e%2e/secret")
    with pytest.raises(ReleaseError, match="There is no"):
        fetched(behind(web, tmp_path))
    assert [path for _, path, _ in web.log][-1] == "/v1/%252e%252e/secret"


def test_a_release_on_this_machine_is_read_through_no_proxy(web, tmp_path, monkeypatch):
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        fetched(behind(web, tmp_path))
        assert proxy.log == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.evil.test/v1", "would be read unencrypted"),
        ("http://example.org/v1", "would be read unencrypted. Set FLUX_RELEASE to the https://"),
        ("https:///v1", "names no host"),
    ],
)
def test_an_address_that_cannot_be(address, said, tmp_path):
    with pytest.raises(ReleaseError, match=said):
        release(address, tmp_path)


@pytest.mark.parametrize(
    ("address", "tag"),
    [
        ("https://host/a/v1.0/", "v1.0"),
        ("https://me:pw@host/a/v%201?x=/y", "v 1"),
        ("s3://bucket", "bucket"),
        ("s3://bucket/x/2024", "2024"),
        ("/data/releases/v2/", "v2"),
        ("/data/v#2?x", "v#2?x"),
    ],
)
def test_the_tag_is_the_last_segment(address, tag, tmp_path):
    assert release(address, tmp_path).tag == tag
    assert release(address, tmp_path, tag="mine").tag == "mine"


def test_threads_that_want_the_same_file_fetch_it_once(web, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetched(behind(web, tmp_path)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 6
    assert web.fetched(PATH) == [None]


def _in_a_process(address, folder, answers):
    some = Release(address, None, folder, pause=0.001)
    answers.put(sha(some.fetch(some.resolve(NAME, "sites")).read_bytes()))


def test_processes_that_want_the_same_file_fetch_it_once(web, tmp_path):
    context = get_context("spawn")
    answers = context.Queue()
    work = (f"{web.address}/v1", tmp_path / "cache", answers)
    processes = [context.Process(target=_in_a_process, args=work) for _ in range(2)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == [sha(CONTENT)] * 2
    for process in processes:
        process.join()
    assert web.fetched(PATH) == [None]


def test_a_cache_that_cannot_be_written_is_named(web, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ReleaseError, match=r"cannot keep fetched files.*FLUX_HOME"):
        behind(web, tmp_path).resolve(NAME, "sites")


# Other stores.


def test_a_store_of_fsspec(memory, tmp_path):
    some = release("memory://bucket/v1", tmp_path)
    assert some.manifest() is None
    assert fetched(some) == CONTENT
    before = some.glance(NAME, "sites")
    memory.pipe_file("/bucket/v1/" + NAME, OTHER)
    assert some.glance(NAME, "sites") != before
    assert fetched(some) == OTHER
    with pytest.raises(ReleaseError, match=r"There is no memory://bucket/v1/none.csv.gz"):
        some.resolve("none.csv.gz", "none")


class _Flaky(fsspec.get_filesystem_class("memory")):
    """A store whose connection drops, and whose files may change while they are read."""

    protocol = "flaky"
    drops = 0
    reads: ClassVar[list[int]] = []
    change: bytes | None = None

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        _Flaky.reads.append(start)
        if _Flaky.drops:
            _Flaky.drops -= 1
            raise ConnectionResetError("dropped")
        part = super().cat_file(path, start=start, end=end, **kwargs)
        if _Flaky.change is not None:
            self.pipe_file(path, _Flaky.change)
            _Flaky.change = None
        return part


@pytest.fixture
def flaky(monkeypatch):
    monkeypatch.setattr("flux_assets.release.stores._PART", 400_000)
    fsspec.register_implementation("flaky", _Flaky, clobber=True)
    store = fsspec.filesystem("flaky")
    store.pipe_file("/bucket/v1/" + NAME, CONTENT)
    _Flaky.drops, _Flaky.reads, _Flaky.change = 0, [], None
    yield _Flaky
    store.rm("/bucket", recursive=True)


def test_a_store_of_fsspec_is_gone_on_with(flaky, tmp_path):
    flaky.drops = 2
    assert fetched(release("flaky://bucket/v1", tmp_path)) == CONTENT
    assert flaky.reads == [0, 0, 0, 400_000, 800_000]


def test_a_file_of_a_store_that_changes_while_it_is_read(flaky, tmp_path):
    flaky.change = OTHER
    assert fetched(release("flaky://bucket/v1", tmp_path)) == OTHER


@pytest.fixture
def s3(web, monkeypatch):
    """The real S3 client, pointed at the test's server, where keys are paths below the bucket's."""
    for name, value in {"ENDPOINT_URL": web.address, "DEFAULT_REGION": "x", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    system = fsspec.get_filesystem_class("s3")
    system.clear_instance_cache()
    web.files["/bucket/v1/" + NAME] = CONTENT
    yield web
    system.clear_instance_cache()


def test_a_bucket_is_read(s3, tmp_path):
    some = release("s3://bucket/v1", tmp_path)
    assert fetched(some) == CONTENT
    assert some.glance(NAME, "sites").stamp == f'{len(CONTENT)} "{hashlib.md5(CONTENT).hexdigest()}"'


def test_a_bucket_that_denies_access_is_named(s3, tmp_path):
    s3.statuses = [403] * 20
    with pytest.raises(ReleaseError, match=rf"s3://bucket/v1/{NAME}: access is denied .*Check the credentials"):
        release("s3://bucket/v1", tmp_path).glance(NAME, "sites")


def test_credentials_that_are_missing_are_named(s3, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ReleaseError, match=r"s3://bucket/v1/manifest.json: cannot sign in .*Check the credentials"):
        release("s3://bucket/v1", tmp_path).resolve(NAME, "sites")


@pytest.mark.parametrize(
    ("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gs"), ("abfs", "adlfs", "abfs")]
)
def test_a_plug_in_that_is_missing_is_named(monkeypatch, tmp_path, scheme, module, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(file_systems, scheme, raising=False)
    with pytest.raises(ReleaseError, match=rf"`pip install 'flux_assets\[{extra}\]'`"):
        release(f"{scheme}://container/v1", tmp_path).resolve(NAME, "sites")


def test_an_unknown_scheme_is_named(tmp_path):
    with pytest.raises(ReleaseError, match="gopher:// addresses are not supported"):
        release("gopher://host/v1", tmp_path).resolve(NAME, "sites")
