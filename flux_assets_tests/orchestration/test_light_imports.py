"""dagster-snowflake is imported without Snowpark, and works: in processes of their own, that have imported nothing."""

import json
import subprocess
import sys

HEAVY = "[name for name in sys.modules if name.startswith(('snowflake.snowpark', 'snowflake.core'))]"


def python(code: str, *arguments: str) -> list:
    """What the code prints as JSON."""
    command = [sys.executable, "-c", f"import json, sys\n{code}", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_session_is_opened_without_snowpark(source_server):
    """The whole of it: sign-in, a query, the end."""
    code = f"""
from flux_assets.orchestration.resources import connect
host, port = sys.argv[1:]
arguments = {{"account": "a", "user": "u", "password": "p", "host": host, "port": int(port), "protocol": "http"}}
with connect(arguments) as connection:
    rows = connection.cursor().execute("SELECT 1").fetchall()
print(json.dumps([rows, {HEAVY}, type(connection).__module__]))
"""
    rows, heavy, kind = python(code, str(source_server.host), str(source_server.port))
    assert (rows, heavy) == ([[1]], [])
    assert kind == "snowflake.connector.connection"


def test_what_needs_snowpark_has_it():
    code = """
from flux_assets.orchestration.light_imports import light_imports
with light_imports():
    from dagster_snowflake import resources
import snowflake
beside = hasattr(snowflake, "snowpark")
try:
    resources.Root()
except TypeError as error:
    refused = str(error)
session = resources.snowpark.Session
from snowflake.core import Root
from snowflake.snowpark import Session
print(json.dumps([beside, refused, session is Session, isinstance(Root, type)]))
"""
    beside, refused, is_real, is_class = python(code)
    assert not beside
    assert "connection" in refused
    assert is_real
    assert is_class


def test_nothing_is_replaced_where_snowpark_is_there_already():
    code = """
import snowflake.core
from flux_assets.orchestration.light_imports import light_imports
with light_imports():
    from dagster_snowflake import resources
print(json.dumps([resources.Root is snowflake.core.Root]))
"""
    assert python(code) == [True]


def test_a_failed_import_leaves_nothing_behind():
    code = f"""
import gc
from flux_assets.orchestration.light_imports import light_imports
before = list(sys.meta_path)
try:
    with light_imports():
        import snowflake.core.database
        raise ZeroDivisionError
except ZeroDivisionError:
    print(json.dumps([{HEAVY}, sys.meta_path == before, gc.isenabled()]))
"""
    assert python(code) == [[], True, True]
