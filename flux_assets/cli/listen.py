"""`flux-assets listen`: a request for every change of a published table, until Ctrl-C."""

from __future__ import annotations

from functools import partial

import click

from flux_assets.cli.terminal import one_of, the_target

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
    complain = partial(click.echo, err=True)
    answers = changes(target, complain)
    chosen = ([change for change in found if not wanted or change.table in wanted] for found in answers)
    post_changes(chosen, hook, click.echo, complain)
