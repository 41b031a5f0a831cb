"""Commands that tell other programs of the tables until Ctrl-C: listen at every change, metrics when asked."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import click

from flux_assets.cli.terminal import Commands, one_of, the_target

COMMANDS = click.Group()


def _callable(_context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    from flux_assets.settings import Settings

    try:
        if url:
            Settings.check_web_address(url, https_over_network=True)
    except ValueError as error:
        raise click.BadParameter(f"the address {error}.", param=parameter) from None
    return url


@COMMANDS.command("listen")
@click.option(
    "--post",
    "url",
    metavar="[URL]",
    is_flag=False,
    flag_value="",
    callback=_callable,
    help="Where to POST each change; without URL to FLUX_POST_URL, which no list of processes shows.",
)
@click.option("--table", "names", multiple=True, metavar="TABLE", help="Only of this table; may be repeated.")
def _listen(url: str | None, names: tuple[str, ...]) -> None:
    """POST every change of a published table to URL.

    For the caches of tile servers and applications, at every publish, rollback and sync that changed rows.
    The JSON is that of the notification flux_published, with published_at. Every table is posted once at the start, and
    after the database was away those that changed meanwhile, as kind `missed`. A request that fails is repeated, until
    it succeeds or a newer change of the table takes its place. Ends with Ctrl-C (exit code 130). The address is in no
    message; one that holds a secret belongs into FLUX_POST_URL, for others see the arguments of a command.

    \b
    Examples:
      flux-assets listen --post http://127.0.0.1:3000/flush
      FLUX_POST_URL=https://maps.example.com/hooks/s3cr3t flux-assets listen --post --table substations
    """
    from pydantic import SecretStr

    from flux_assets.alerting.listening import changes, post_changes
    from flux_assets.alerting.webhook import Webhook
    from flux_assets.settings import load_settings

    address = SecretStr(url) if url else load_settings().flux_post_url
    if address is None:
        raise click.UsageError("Give --post URL, or set FLUX_POST_URL.")
    target = the_target()
    wanted = {one_of(target.declared, "table", name).name for name in names}
    hook = Webhook(address, title="The receiver", setting="--post" if url else "FLUX_POST_URL", form="what it expects")
    answers = changes(target, Commands.log)
    chosen = ([change for change in found if not wanted or change.table in wanted] for found in answers)
    post_changes(chosen, hook, click.echo, Commands.log)


@COMMANDS.command("metrics")
@click.option("--port", type=click.IntRange(1, 65535), default=9808, show_default=True, help="Port to listen on.")
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Whoever reaches it may read the names and sizes of the tables.",
)
@click.option("--once", is_flag=True, help="Print one scrape and end, for the textfile collector of node_exporter.")
def _metrics(port: int, address: str, once: bool) -> None:
    """Tell Prometheus how every table is, over HTTP or once.

    Told are age, lag, rows, failures, durations by step, the publish's lock, bytes on disk and versions kept.

    Each scrape asks the database, at most once in five seconds; the readers' role may read all that it asks for.
    Where the database is away flux_up is 0, and the exit code of --once is 0 all the same. An embedded PostGIS is
    never started. Ends with Ctrl-C (exit code 130).

    \b
    Examples:
      flux-assets metrics
      flux-assets metrics --once > /var/lib/node_exporter/flux.prom.new
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from flux_assets.errors import SettingError, TargetError
    from flux_assets.ledger.metrics import Exporter
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    settings = load_settings()
    find = partial(postgis_target, settings, start=False)
    with suppress(TargetError):  # what it takes no setting to put right may be over at a later scrape
        find()
    exporter = Exporter(find=find, log=Commands.log, utility=settings.flux_utility)
    if once:
        click.echo(exporter.text(), nl=False)
        return
    registry = CollectorRegistry()
    registry.register(exporter)
    try:
        _, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise SettingError(
            f"Port {port} of {address} cannot be listened on: {error.strerror or error}.",
            f"Choose another: flux-assets metrics --port {port + 1}",
        ) from None
    Commands.log(f"Metrics are on http://{address}:{port}/metrics until Ctrl-C.")
    thread.join()
