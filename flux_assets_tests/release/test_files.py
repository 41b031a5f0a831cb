"""Addresses: what is below them, and that nothing of them that is secret is ever shown."""

import pytest

from flux_assets.release.files import Address

SECRET = "https://me:p%40ss@host:8443/rel/v1?sv=1&sig=a%2Fb#part"


def test_secrets_are_neither_shown_nor_left_in_other_texts():
    address = Address(SECRET)
    assert address.shown == "https://host:8443/rel/v1"
    assert repr(address) == "Address('https://host:8443/rel/v1')"
    error = OSError(f"cannot open {SECRET} for me:p@ss, password p@ss, query sv=1&sig=a/b")
    for secret in ("p%40ss", "p@ss", "sig=", "a%2Fb", "a/b"):
        assert secret not in address.describe(error)
    assert "host:8443/rel/v1" in address.describe(error)


@pytest.mark.parametrize(
    ("prefix", "name", "below"),
    [
        (SECRET, "t.csv.gz", "https://me:p%40ss@host:8443/rel/v1/t.csv.gz?sv=1&sig=a%2Fb"),
        ("https://host/v1/", "a b#c?.gz", "https://host/v1/a%20b%23c%3F.gz"),
        ("s3://bucket/v1", "a b.gz", "s3://bucket/v1/a b.gz"),
        ("/data/v 1", "t.gz", "/data/v 1/t.gz"),
        ("file:///data/v%201/", "t.gz", "/data/v 1/t.gz"),
    ],
)
def test_a_file_lies_below_and_the_query_stays_at_the_end(prefix, name, below):
    assert Address(prefix).file(name).text == below
