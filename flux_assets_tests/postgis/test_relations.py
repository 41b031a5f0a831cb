"""Names of a layer's versions: never the same for two layers, versions or schemas, never too long for PostgreSQL."""

from itertools import product

from flux_assets.postgis.relations import Layer
from flux_assets_tests.made_layers import made_up

LONG = "x" * 62
LAYERS = [
    Layer(schema, made_up(name)) for schema, name in product(("public", "maps", LONG), ("poles", "p", LONG, LONG + "y"))
]
VERSIONS = [("a" * 64, 1), ("a" * 64, 2), ("b" * 64, 1), ("a" * 64, 10**18)]


def test_names_of_versions_differ_and_fit() -> None:
    names = {layer.relation(version, lease) for layer in LAYERS for version, lease in VERSIONS}
    assert len(names) == len(LAYERS) * len(VERSIONS)
    assert max(len(name.encode()) for name in names) <= 63


def test_a_name_tells_schema_layer_version_and_lease() -> None:
    assert Layer("maps", made_up("poles")).relation("0123456789abcdef", 7) == "maps__poles__01234567_7"


def test_the_name_of_a_table_that_gave_way_is_one_that_postgresql_does_not_cut() -> None:
    for name in ("poles", LONG):
        old = Layer("maps", made_up(name)).old_name
        assert old.endswith("_before_flux")
        assert name.startswith(old.removesuffix("_before_flux"))
        assert len(old.encode()) <= 63
