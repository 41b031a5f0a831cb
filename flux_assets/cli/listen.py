"""`flux-assets listen`: a request for every change of a published table, until Ctrl-C."""

from __future__ import annotations

from functools import partial

import click

from flux_assets.cli.terminal import one_of, the_target

COMMANDS = click.Group()


def _callable(_context: click.Context, parameter: click.Parameter, url: str) -> str:
    from flux_assets.settings import Settings

    try:
        Settings.check_web_address(url, https_over_network=True)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param=parameter) from None
    return url


@COMMANDS.command("listen")
@click.option("--post", "url", metavar="URL", required=True, callback=_callable, help="Where to POST each change.")
@click.option("--table", "names", multiple=True, metavar="TABLE", help="Only of this table; may be repeated.")
def _listen(url: str, names: tuple[str, ...]) -> None:
    """POST every publish, rollback and sync of a table to URL, for the caches of tile servers and applications.

    The JSON is that of the notification flux_published, with published_at. Every table is posted once at the start, and
    after the database was away those that changed meanwhile, as kind `missed`. A request that fails is repeated, until
    it succeeds or a newer change of the table takes its place. Ends with Ctrl-C (exit code 130).

    \b
    Examples:
      flux-assets listen --post http://127.0.0.1:3000/flush
      flux-assets listen --post https://maps.example.com/hooks/flux --table substations
    """
    from pydantic import SecretStr

    from flux_assets.alerting.listening import changes, post_changes
    from flux_assets.alerting.webhook import Webhook

    target = the_target()
    wanted = {one_of(target.declared, "table", name).name for name in names}
    hook = Webhook(SecretStr(url), title="The receiver", setting="--post", form="what it expects")
    complain = partial(click.echo, err=True)
    answers = changes(target, complain)
    chosen = ([change for change in found if not wanted or change.table in wanted] for found in answers)
    post_changes(chosen, hook, click.echo, complain)
