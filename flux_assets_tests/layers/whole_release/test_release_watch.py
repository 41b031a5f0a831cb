"""What a watched release has news for: folders and HTTP, whole and half-uploaded, seen by nobody but the watcher."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flux_assets.errors import ReleaseError
from flux_assets.layers.whole_release.watch import Loaded, Memory, News, check_release
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.release import Release
from flux_assets_tests.made_layers import ReleaseFolder, made_up, rows
from flux_assets_tests.web import Web, serving

POLES, WIRES = made_up("poles"), made_up("wires")
EXTRAS = made_up("extras", file="optional")
TABLES = (POLES, WIRES)
MINUTE = 60.0


@dataclass
class Watcher:
    """Looks again and again, a minute apart, and remembers as text what a look gives it to remember."""

    address: str
    cache: Path
    cursor: str | None = None
    now: float = 1_800_000_000.0
    loaded: dict[str, Loaded] = field(default_factory=dict)
    news: News | None = None
    pinned: set[str] = field(default_factory=set)
    mappings: dict[str, LayerMapping] = field(default_factory=dict)

    @property
    def release(self) -> Release:
        return Release(self.address, None, self.cache, pause=0, mappings=self.mappings)

    def look(self, minutes: float = 1) -> list[str]:
        """Names of the layers that are asked for."""
        self.now += minutes * MINUTE
        release = self.release
        memory = Memory.read(self.cursor, release.address, self.now)
        self.news = check_release(release, (*TABLES, EXTRAS), memory, self.loaded, self.now, pinned=self.pinned)
        self.cursor = self.news.memory.text()
        return list(self.news.wanted)

    @property
    def told(self) -> str:
        return " ".join(self.news.told)

    def load(self, *names: str) -> None:
        """The layers are loaded as they lie there."""
        for name in names:
            file = self.release.resolve(f"{name}.csv.gz", name)
            mapping = file.mapping.digest if file.mapping else ""
            self.loaded[name] = Loaded(sha256=file.sha256, at=self.now + 1, mapping=mapping)


@pytest.fixture
def folder(tmp_path: Path) -> ReleaseFolder:
    """Both layers that have to be there, without a manifest."""
    made = ReleaseFolder(tmp_path / "v1")
    for table in TABLES:
        made.write(table, rows(3))
    return made


@pytest.fixture
def watcher(folder: ReleaseFolder, tmp_path: Path) -> Watcher:
    return Watcher(str(folder.folder), tmp_path / "cache")


@pytest.fixture
def watched(watcher: Watcher) -> Watcher:
    """One that has seen both files, and both are loaded."""
    assert watcher.look() == []
    assert watcher.look() == ["poles", "wires"]
    watcher.load("poles", "wires")
    assert watcher.look() == []
    return watcher


def test_new_files_are_asked_for_once_when_they_have_stopped_changing(watcher, folder):
    assert watcher.look() == []
    assert "seen for the first time" in watcher.told
    folder.write(WIRES, rows(4))
    assert watcher.look() == ["poles"]
    assert "wires" in watcher.told
    assert watcher.look() == ["wires"]
    assert watcher.look() == []


def test_what_is_loaded_already_is_not_asked_for(watcher):
    watcher.load("poles")
    watcher.look()
    assert watcher.look() == ["wires"]


def test_just_the_changed_file_is_asked_for(watched, folder):
    folder.write(WIRES, rows(5))
    assert watched.look() == []
    assert watched.look() == ["wires"]
    assert watched.look() == []


def test_several_changes_between_two_looks_are_one(watched, folder):
    for count in (5, 6, 7):
        folder.write(POLES, rows(count))
        folder.write(WIRES, rows(count))
    assert [watched.look(), watched.look(), watched.look()] == [[], ["poles", "wires"], []]


def test_a_file_that_keeps_changing_is_waited_for(watched, folder):
    for count in range(5, 10):
        folder.write(POLES, rows(count))
        assert watched.look() == []
        assert "poles" in watched.told
    assert watched.look() == ["poles"]


def test_an_unchanged_file_is_not_read(watched, monkeypatch):
    monkeypatch.setattr("flux_assets.release.release.remembered_digest", None)
    assert watched.look() == []


def test_the_same_bytes_written_again_are_no_news(watched, folder):
    os.utime(folder.folder / POLES.file_name, (1, 1))
    assert [watched.look(), watched.look()] == [[], []]


def test_a_version_whose_load_failed_is_not_asked_for_again_until_the_file_changes(watched, folder):
    path = folder.write(POLES, rows(5))
    watched.look()
    assert watched.look() == ["poles"]
    os.utime(path, (1, 1))
    for _ in range(3):
        assert watched.look() == []
    assert "Asked for and not loaded since" in watched.told
    assert "poles" in watched.told
    folder.write(POLES, rows(6))
    watched.look()
    assert watched.look() == ["poles"]
    watched.load("poles")
    watched.look()
    assert watched.told == ""


def test_going_back_to_an_earlier_file_is_a_change_with_a_run_of_its_own(watched, folder):
    before, keys = (folder.folder / POLES.file_name).read_bytes(), set()
    for content in (b"", before, b"", before):
        folder.write_raw(POLES, content)
        watched.look()
        assert watched.look() == ["poles"]
        keys.add(watched.news.memory.run_key)
        watched.load("poles")
    assert len(keys) == 4


def test_a_repeated_look_gives_the_same_key(watched, folder):
    folder.write(POLES, rows(5))
    watched.look()
    before = watched.cursor
    watched.look()
    key, watched.cursor = watched.news.memory.run_key, before
    assert watched.look() == ["poles"], "the memory was lost on the way"
    assert watched.news.memory.run_key == key


def test_a_pinned_layer_is_not_asked_for_until_it_is_unpinned(watched, folder):
    watched.pinned = {"poles"}
    folder.write(POLES, rows(5))
    folder.write(WIRES, rows(6))
    watched.look()
    assert watched.look() == ["wires"]
    watched.load("wires")
    for _ in range(2):
        assert watched.look() == []
        assert watched.told == "Pinned, so not asked for until `flux-assets unpin`: poles."
    watched.pinned = set()
    assert watched.look() == ["poles"]
    watched.load("poles")
    assert (watched.look(), watched.told) == ([], "")


def test_a_layer_that_went_back_is_asked_for_once_unpinned_though_its_file_is_the_same(watched, folder):
    watched.pinned = {"poles"}
    watched.loaded["poles"] = Loaded(sha256="an earlier one", at=watched.now)
    assert watched.look() == []
    watched.pinned = set()
    assert watched.look() == ["poles"]


def test_a_layer_pinned_to_what_the_release_holds_is_not_asked_for_afterwards(watched):
    watched.pinned = {"poles"}
    assert watched.look() == []
    watched.pinned = set()
    assert (watched.look(), watched.told) == ([], "")


def test_what_is_pinned_is_left_at_the_first_look(watcher, folder):
    watcher.loaded["poles"] = Loaded(sha256="an earlier one", at=watcher.now)
    watcher.pinned = {"poles"}
    watcher.look()
    assert watcher.look() == ["wires"]
    watcher.load("wires")
    watcher.pinned = set()
    assert watcher.look() == ["poles"]


def test_a_layer_whose_file_is_missing_is_named_and_holds_up_nobody(watched, folder):
    (folder.folder / POLES.file_name).unlink()
    folder.write(WIRES, rows(5))
    watched.look()
    assert watched.look() == ["wires"]
    assert "Not in the release: poles" in watched.told


def test_another_address_is_another_release(watched, tmp_path, folder):
    other = ReleaseFolder(tmp_path / "v2")
    other.write_raw(POLES, (folder.folder / POLES.file_name).read_bytes())
    other.write(WIRES, rows(9))
    watched.address = str(other.folder)
    assert watched.look() == []
    assert watched.look() == ["wires"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"address": "x", "files": {"poles": {"colour": 1}}}'])
def test_a_memory_of_another_form_is_begun_anew(text):
    assert Memory.read(text, "here", 5.0) == Memory(address="here", began=5.0)


def test_there_must_be_a_folder(watcher):
    watcher.address += "/nowhere"
    with pytest.raises(ReleaseError, match="There is no folder"):
        watcher.look()


@pytest.mark.parametrize("loaded", [False, True])
def test_another_mapping_is_news_as_another_file_is(watched, loaded):
    for mappings in ({"wires": LayerMapping(ignore=("a",))}, {"wires": LayerMapping(ignore=("b",))}, {}):
        watched.mappings = mappings
        wanted = ["wires"] if loaded or mappings else []  # what is loaded all the while is no news
        assert [watched.look(), watched.look(), watched.look()] == [[], wanted, []]
        if loaded:
            watched.load("wires")


@pytest.fixture
def promised(folder: ReleaseFolder, watched: Watcher) -> Watcher:
    """The same with a manifest."""
    for table in TABLES:
        folder.promise(table)
    assert watched.look() == []
    return watched


def test_what_a_manifest_vouches_for_is_asked_for_at_once(promised, folder):
    folder.write(POLES, rows(5))
    folder.promise(POLES)
    assert promised.look() == ["poles"]
    assert promised.look() == []


def test_files_that_are_not_yet_as_the_manifest_says_hold_up_all(promised, folder):
    folder.write(POLES, rows(5))
    folder.write(WIRES, rows(5))
    folder.promise(POLES)
    folder.promise(WIRES)
    whole = (folder.folder / WIRES.file_name).read_bytes()
    for half in (whole[:50], None, whole[:-1] + b"?"):
        (folder.folder / WIRES.file_name).unlink(missing_ok=True)
        if half is not None:
            folder.write_raw(WIRES, half)
        assert promised.look() == []
        assert "not whole yet" in promised.told
        assert "wires" in promised.told
    folder.write_raw(WIRES, whole)
    assert promised.look() == ["poles", "wires"]
    assert promised.look() == []


def test_files_that_come_before_their_manifest_are_waited_for(promised, folder):
    """Of another size than the manifest says; of the same size but other bytes; and then the manifest comes."""
    folder.write(POLES, rows(5))
    assert promised.look() == []
    assert "bytes is" in promised.told
    folder.promise(POLES)
    assert promised.look() == ["poles"]


def test_another_mapping_is_news_though_the_manifest_is_the_same(promised):
    promised.mappings = {"poles": LayerMapping(z="drop")}
    assert [promised.look(), promised.look()] == [["poles"], []]


def test_half_a_manifest_is_waited_for(promised, folder):
    whole = (folder.folder / "manifest.json").read_text()
    folder.write(POLES, rows(5))
    (folder.folder / "manifest.json").write_text(whole[:40])
    assert promised.look() == []
    assert "not JSON" in promised.told


def test_a_manifest_that_is_gone_is_waited_for_while_files_change_and_an_hour_longer(promised, folder):
    (folder.folder / "manifest.json").unlink()
    assert promised.look() == []
    assert "manifest.json is gone" in promised.told
    folder.write(POLES, rows(5))
    assert promised.look(minutes=3600) == [], "it moved just now"
    assert promised.look(minutes=30) == []
    assert promised.look(minutes=31) == [], "no longer waited for, and seen to be the same once more"
    assert promised.look() == ["poles"]


def test_another_form_of_the_manifest_is_no_news(promised, folder):
    path = folder.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made": "today"}, indent=2))
    assert promised.look() == []


@pytest.fixture
def web(folder: ReleaseFolder) -> Iterator[Web]:
    with serving() as web:
        publish(web, folder)
        yield web


def publish(web: Web, folder: ReleaseFolder) -> None:
    """The folder's files as they are now."""
    web.files = {f"/v1/{path.name}": path.read_bytes() for path in folder.folder.iterdir() if path.is_file()}


@pytest.fixture
def remote(web: Web, tmp_path: Path) -> Watcher:
    return Watcher(f"{web.address}/v1", tmp_path / "cache")


def test_over_http_nothing_is_fetched_but_the_manifest(remote, web, folder):
    remote.look()
    assert remote.look() == ["poles", "wires"]
    folder.write(POLES, rows(5))
    publish(web, folder)
    remote.look()
    assert remote.look() == ["poles"]
    assert {path for method, path, _ in web.log if method == "GET"} == {"/v1/manifest.json"}


def test_over_http_a_file_that_was_fetched_and_is_loaded_is_known(remote, web):
    remote.load("poles")
    remote.look()
    assert remote.look() == ["wires"]


def test_over_http_a_rejected_file_is_not_asked_for_again_although_its_digest_is_known_by_now(remote):
    remote.look()
    assert remote.look() == ["poles", "wires"]
    remote.release.resolve(POLES.file_name, "poles")  # as the load did, which then refused it
    for _ in range(3):
        assert remote.look() == []
    assert "poles" in remote.told


def test_over_http_an_upload_of_the_same_size_is_asked_for_when_it_is_there(remote, web, folder):
    """The manifest comes first and promises what nobody can see from outside: the load fails, the file follows."""
    for table in TABLES:
        folder.promise(table)
    publish(web, folder)
    remote.load("poles", "wires")
    assert [remote.look(), remote.look()] == [[], []]
    old = web.files["/v1/poles.csv.gz"]
    new = old[:-1] + bytes([old[-1] ^ 1])
    folder.promise(POLES, sha256=hashlib.sha256(new).hexdigest())
    publish(web, folder)
    assert remote.look() == ["poles"]
    assert remote.look() == []
    web.files["/v1/poles.csv.gz"] = new
    assert remote.look() == ["poles"]
    assert remote.look() == []


def test_over_http_half_a_file_is_waited_for(remote, web, folder):
    for table in TABLES:
        folder.promise(table)
    publish(web, folder)
    remote.load("poles", "wires")
    remote.look()
    remote.look()
    whole = web.files.pop("/v1/poles.csv.gz")
    assert remote.look() == []
    assert "manifest names a file of poles" in remote.told
    web.files["/v1/poles.csv.gz"] = whole[:40]
    assert remote.look() == []
    assert "bytes is 40" in remote.told
    web.files["/v1/poles.csv.gz"] = whole
    assert remote.look() == []
    assert remote.told == ""


def test_a_server_that_refuses_is_an_error_and_nothing_is_forgotten(remote, web):
    remote.look()
    web.statuses = [503] * 20
    with pytest.raises(ReleaseError, match="cannot answer now"):
        remote.look()
    web.statuses = []
    assert remote.look() == ["poles", "wires"]


def test_an_optional_file_is_asked_for_when_it_comes_and_not_missed_before(watched, folder):
    watched.look()
    assert "extras" not in watched.told
    folder.write(EXTRAS, rows(4))
    watched.look()
    assert watched.look() == ["extras"]


def test_files_that_nobody_declares_are_named(watched, folder):
    watched.look()
    assert "not declared" not in watched.told
    folder.write(made_up("cables"), rows(1))
    watched.look()
    assert "In the release, and not declared, so not loaded: cables." in watched.told
    folder.promise(POLES)
    folder.promise(made_up("cables"))
    folder.folder.joinpath("cables.csv.gz").unlink()
    watched.look()
    assert "not declared, so not loaded: cables." in watched.told
