"""The commands: each a few lines that call the register or start the server."""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from rollbook import __version__
from rollbook.greeting import greet
from rollbook.logs import logger
from rollbook.observations import ErasurePutOff, Observe, all_of
from rollbook.printing import print_json, show, table
from rollbook.progress import Progress
from rollbook.register import beginnings, checks, copies, keys, sites, upkeep, users
from rollbook.register.callers import PERMISSIONS
from rollbook.settings import SettingError, Settings
from rollbook.storage.database import Database
from rollbook.storage.faults import StorageError
from rollbook.storage.migrate import bring_up_to_date, require_up_to_date
from rollbook.storage.opening import open_database
from rollbook.storage.transactions import Snapshot

BEGAN = time.perf_counter()

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


class Command(click.Group):
    """The group of all commands; says what is wrong in a sentence, and exits with 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that are no text, whatever the command."""
        if any("\ud800" <= letter <= "\udfff" for letter in "".join(args)):
            raise click.UsageError("An argument is not text in UTF-8.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that a person can mend is told without a traceback."""
        try:
            return super().invoke(ctx)
        except (StorageError, SettingError, sites.SiteRefused, keys.KeyRefused, users.UserRefused) as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="rollbook %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Rollbook, a self-hosted contacts server that speaks JSON:API.

    `rollbook serve` is all it takes to begin. Settings come from the environment: ROLLBOOK_DATABASE names
    the database (default sqlite:///rollbook.db), PORT and HOST where to listen; docs/settings.md has all.
    The other commands may be used while a server runs.
    """
    ctx.obj = Settings.read(os.environ)


@main.command()
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Server processes that share the port; more than one needs PostgreSQL.",
)
@click.pass_obj
def serve(settings: Settings, workers: int) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Creates and migrates the database. On an empty one it makes a site and a key, and prints the key's
    secret once, with curl lines to paste.
    """
    # The server's libraries are half of the program; no other command should wait for them.
    from rollbook.api.server import PortError, bind, serve  # noqa: PLC0415

    database = _opened(settings)
    if workers > 1 and not database.engine.serves_many:
        raise click.ClickException(
            "One file has one server process. For more, move to PostgreSQL: set ROLLBOOK_DATABASE to "
            "postgresql://<user>:<password>@<host>/<database>."
        )
    observe = logger(settings.log_level, settings.log_format)
    try:
        bound = bind(settings.host, settings.port, shared=workers > 1)
        database.engine.prepare()
        database.engine.lock_for_server()
        observers = [observe, *_metrics(settings, bound.getsockname()[1])] if workers == 1 else [observe]
    except PortError as error:
        raise click.ClickException(str(error)) from None
    is_migrated = bring_up_to_date(database)
    upkeep.prepare_to_serve(database, is_migrated, lambda error: observe(ErasurePutOff(str(error))))
    upkeep.recount(database)
    owner = {"owner_name": settings.owner_name, "owner_email": settings.owner_email}
    beginning = database.do(lambda transaction: beginnings.begin(transaction, **owner))
    host, port = bound.getsockname()[:2]
    greet(settings.base_url(port), f"{host}:{port}", beginning)
    if workers == 1:
        serve(settings, database, bound, all_of(observers), describe, BEGAN)
    else:
        from rollbook.api.crew import CrewEnded, serve_together  # noqa: PLC0415

        database.close()
        try:
            serve_together(replace(settings, port=port), workers, observe, _opened, _metrics, describe, BEGAN)
        except CrewEnded as error:
            raise click.ClickException(str(error)) from None


@main.group()
def db() -> None:
    """Create, migrate and check the database."""


@db.command("upgrade")
@click.pass_obj
def upgrade_database(settings: Settings) -> None:
    """Create the database, or migrate its schema to this program's; `serve` does so by itself."""
    with contextlib.closing(_opened(settings)) as database:
        before = database.revision()
        bring_up_to_date(database)
        upkeep.finish(database)
        click.echo(
            f"The schema of {database.engine.name} is {database.revision()} (it was {before or 'none'})."
        )


@db.command("check")
@click.pass_obj
def check_database(settings: Settings) -> None:
    """Prove that ROLLBOOK_DATABASE is whole: its pages, references, keys, counts, tags, consent and ids."""
    found = 0
    with _reading(settings) as (database, snapshot):
        name = database.engine.name
        for fault in itertools.chain(database.faults(), checks.faults(snapshot)):
            click.echo(fault)
            found += 1
    if found:
        raise click.ClickException(f"{found:,} faults in {name}. {database.engine.remedy}")
    click.echo(f"{name} is whole.")


@db.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.pass_obj
def copy_database(settings: Settings, source: str, target: str) -> None:
    """Copy the register in FROM into TO, and prove that they are alike; both are database URLs.

    From SQLite to PostgreSQL, back, or to the same kind. TO is empty, or an interrupted copy of FROM, which
    is completed. Stop the server of FROM first: what it stores meanwhile is not copied.
    """
    unlike = []
    with (
        contextlib.closing(_opened(settings, source)) as opened,
        contextlib.closing(_opened(settings, target)) as to,
    ):
        try:
            with contextlib.closing(copies.copy(opened, to, Progress(sys.stderr))) as proofs:
                for proof in proofs:
                    click.echo(f"{proof.table}: {proof.copy[0]:,} rows, SHA-256 {proof.copy[1]}")
                    unlike += [] if proof.is_alike else [proof.table]
        except KeyboardInterrupt:
            raise click.ClickException("Interrupted. The same command again completes the copy.") from None
        if unlike:
            raise click.ClickException(
                f"{', '.join(unlike)}: not what {opened.engine.name} holds. Either that changed after an "
                "interrupted copy, or the copy is damaged. No server serves the copy: stop that of FROM, "
                "remove the copy, and begin anew."
            )
        click.echo(f"{to.engine.name} holds all that {opened.engine.name} does.")


@main.group("sites")
def sites_group() -> None:
    """Make and list sites."""


@sites_group.command("create")
@click.option("--title", help="What people call the site.  [default: Site <id>]")
@click.option("--subdomain", help="A short name of a-z, 0-9 and -.  [default: made from the title]")
@click.option("--id", "site_id", type=int, help="Keep an id that comes from elsewhere.  [default: a new one]")
@as_json
@click.pass_obj
def create_site(
    settings: Settings, title: str | None, subdomain: str | None, site_id: int | None, as_json: bool
) -> None:
    """Make a site. Keys that see all sites see it at the server's next request."""
    wanted: dict[str, Any] = {"title": title, "subdomain": subdomain, "site_id": site_id}
    with _register(settings) as database:
        site = database.do(lambda transaction: sites.create(transaction, **wanted))
    show(_site(site), as_json, f"Made the site {site.id}: {site.title} ({site.subdomain}).")


@sites_group.command("list")
@as_json
@click.pass_obj
def list_sites(settings: Settings, as_json: bool) -> None:
    """List all sites."""
    with _reading(settings) as (_, snapshot):
        found = sites.everything(snapshot)
    show([_site(each) for each in found], as_json, table("id subdomain title", map(_site, found)))


@main.group("keys")
def keys_group() -> None:
    """Make, list, rotate and delete API keys."""


@keys_group.command("create")
@click.option("--name", default="API key", show_default=True, help="What the key is for.")
@click.option(
    "--site",
    "site_ids",
    type=int,
    multiple=True,
    help="A site that it sees; repeat for more.  [default: all]",
)
@click.option(
    "--permission",
    "permissions",
    type=click.Choice(PERMISSIONS),
    multiple=True,
    help="What it may do on its sites; repeat for more.  [default: everything]",
)
@as_json
@click.pass_obj
def create_key(
    settings: Settings, name: str, site_ids: tuple[int, ...], permissions: tuple[str, ...], as_json: bool
) -> None:
    """Make a key, and print its client id and secret; the secret is shown this once."""
    wanted: dict[str, Any] = {"name": name, "site_ids": site_ids, "permissions": permissions}
    with _register(settings) as database:
        key = database.do(lambda transaction: keys.create(transaction, **wanted))
    _show_secret(key, as_json)


@keys_group.command("list")
@as_json
@click.pass_obj
def list_keys(settings: Settings, as_json: bool) -> None:
    """List all keys, without their secrets."""
    with _reading(settings) as (_, snapshot):
        found = [_key(each) for each in keys.everything(snapshot)]
    show(found, as_json, table("id client_id name sites permissions", found))


@keys_group.command("rotate")
@click.argument("key")
@as_json
@click.pass_obj
def rotate_key(settings: Settings, key: str, as_json: bool) -> None:
    """Give KEY (its id or client id) a new secret; its tokens are dead at the server's next request."""
    with _register(settings) as database:
        rotated = database.do(lambda transaction: keys.rotate(transaction, key))
    _show_secret(rotated, as_json)


@keys_group.command("delete")
@click.argument("key")
@as_json
@click.pass_obj
def delete_key(settings: Settings, key: str, as_json: bool) -> None:
    """Delete KEY (its id or client id); its tokens are dead at the server's next request."""
    with _register(settings) as database:
        removed = database.do(lambda transaction: keys.remove(transaction, key))
    show(_key(removed), as_json, f"Deleted the key {removed.id}: {removed.name} ({removed.client_id}).")


@main.group("users")
def users_group() -> None:
    """List users and set their passwords."""


@users_group.command("list")
@as_json
@click.pass_obj
def list_users(settings: Settings, as_json: bool) -> None:
    """List all users."""
    with _reading(settings) as (_, snapshot):
        found = [_user(each) for each in users.everything(snapshot)]
    rows = [each | {"has_password": "yes" if each["has_password"] else "no"} for each in found]
    show(found, as_json, table("id email name role_level has_password", rows))


@users_group.command("password")
@click.argument("email")
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the password from one line of standard input."
)
@as_json
@click.pass_obj
def set_password(settings: Settings, email: str, from_stdin: bool, as_json: bool) -> None:
    """Set the password of the user with EMAIL, of 12 characters or more; asks for it twice.

    Tokens that were got by the old one are dead at the server's next request. The server takes passwords
    where ROLLBOOK_PASSWORD_GRANT is on.
    """
    from rollbook.register import passwords  # noqa: PLC0415 - argon2 is for this command alone

    with _register(settings) as database:
        with database.snapshot() as snapshot:
            passwords.user(snapshot, email)
        password_hash = passwords.hash_of(_new_password(from_stdin))
        user = database.do(lambda transaction: passwords.change(transaction, email, password_hash))
    show(_user(user), as_json, f"Set the password of {user.email}.")


@main.command()
@as_json
def version(as_json: bool) -> None:
    """Print the version of this program."""
    show({"version": __version__}, as_json, f"rollbook {__version__}")


@main.command()
@click.pass_obj
def openapi(settings: Settings) -> None:
    """Print the description of the API: OpenAPI 3.1, as JSON."""
    print_json(describe(settings.base_url(settings.port)))


def describe(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI description of a server with this base URL."""
    from rollbook.api.description import describe_api  # noqa: PLC0415 - seldom asked for

    return describe_api(base_url)


def _opened(settings: Settings, url: str | None = None, *, only_reads: bool = False) -> Database:
    prepares = settings.prepared_statements == "on"
    return open_database(url or settings.database, prepares=prepares, only_reads=only_reads)


@contextlib.contextmanager
def _register(settings: Settings) -> Iterator[Database]:
    """Open the database of the settings, with its schema up to date."""
    with contextlib.closing(_opened(settings)) as database:
        bring_up_to_date(database)
        yield database


@contextlib.contextmanager
def _reading(settings: Settings) -> Iterator[tuple[Database, Snapshot]]:
    """Open the database of the settings as it is, for reading alone."""
    with contextlib.closing(_opened(settings, only_reads=True)) as database:
        require_up_to_date(database)
        with database.snapshot() as snapshot:
            yield database, snapshot


def _metrics(settings: Settings, port: int) -> list[Observe]:
    if not settings.metrics_port:
        return []
    if settings.metrics_port == port:
        raise SettingError(f"ROLLBOOK_METRICS_PORT is {port}, the port of the API: choose another.")
    from rollbook.metrics import serve_metrics  # noqa: PLC0415 - off by default

    return [serve_metrics(settings.host, settings.metrics_port, __version__)]


def _site(site: sites.Site) -> dict[str, Any]:
    return {"id": str(site.id), "title": site.title, "subdomain": site.subdomain}


def _key(key: keys.Key) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": str(key.id), "name": key.name, "client_id": key.client_id}
    if key.client_secret is not None:
        shown["client_secret"] = key.client_secret
    return shown | {"sites": [str(each) for each in key.sites], "permissions": list(key.permissions)}


def _user(user: users.User) -> dict[str, Any]:
    shown = {"id": str(user.id), "email": user.email, "name": user.name, "role_level": user.role_level}
    return shown | {"has_password": user.password_hash is not None}


def _new_password(from_stdin: bool) -> str:
    if from_stdin:
        line = sys.stdin.buffer.readline().decode("utf-8", "surrogateescape")
        return line.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask at; give the password with --stdin.")
    password: str = click.prompt("New password", hide_input=True, confirmation_prompt="Once more", err=True)
    return password


def _show_secret(key: keys.Key, as_json: bool) -> None:
    show(
        _key(key),
        as_json,
        f"The key {key.id}: {key.name}. Its secret is shown this once.\n"
        f"  client_id      {key.client_id}\n"
        f"  client_secret  {key.client_secret}",
    )
