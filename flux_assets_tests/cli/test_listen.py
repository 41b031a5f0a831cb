"""`flux-assets listen`, as a user starts and ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.receiver import receiving

PATIENCE = 60
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))


def environment(cluster, database: str) -> dict[str, str]:
    return os.environ | {"FLUX_POSTGRES_URL": cluster.tcp_url(database)}


@pytest.mark.bare
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_posts_until_it_is_stopped(cluster, database, target, tmp_path, stop, code):
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up("substations"), rows(3))
    loader.load(made_up(), rows(3))
    with receiving() as receiver:
        command = [PROGRAM, "listen", "--post", f"{receiver.address}/s3cr3t", "--table", "substations"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment(cluster, database), **streams) as process:
            try:
                assert process.stdout.readline().endswith("substations: missed\n")
                loader.load(made_up("substations"), rows(4))
                assert process.stdout.readline().endswith("substations: published\n")
                process.send_signal(stop)
                assert process.communicate(timeout=PATIENCE) == ("", "")
            finally:
                process.kill()
    assert process.returncode == code
    assert [message["kind"] for message in receiver.got] == ["missed", "published"]


@pytest.mark.bare
def test_an_address_from_the_environment_is_neither_an_argument_nor_in_a_message(cluster, database, target, tmp_path):
    Loader(target, ReleaseFolder(tmp_path / "v1")).load(made_up(), rows(3))
    with receiving() as receiver:
        receiver.status = 404
        within = environment(cluster, database) | {"FLUX_POST_URL": f"{receiver.address}/s3cr3t"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([PROGRAM, "listen", "--post"], env=within, **streams) as process:
            try:
                told = process.stderr.readline()
                process.send_signal(signal.SIGINT)
                told += "".join(process.communicate(timeout=PATIENCE))
            finally:
                process.kill()
    assert receiver.paths
    assert told.startswith("poles was not posted: The receiver answers 404. Check FLUX_POST_URL")
    assert "s3cr3t" not in told


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Give --post URL, or set FLUX_POST_URL"),
        (["--post", "--table", "substations"], "Give --post URL, or set FLUX_POST_URL"),
        (["--post", "somewhere"], "https://host/path"),
        (["--post", "http://maps.example/flush"], "unencrypted"),
        (["--post", "http://127.0.0.1:1", "--table", "substation"], "Did you mean substations"),
    ],
)
def test_what_it_is_given_wrongly_is_named(cluster, database, arguments, word):
    command, within = [PROGRAM, "listen", *arguments], environment(cluster, database)
    done = subprocess.run(command, env=within, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode in {1, 2}
    assert word in " ".join(done.stderr.split())
