"""`gatewayctl login`, `logout`, `whoami`, `profiles` and `version`: who calls which admin API."""

import re
from dataclasses import replace
from typing import Annotated

import typer

from gatewayctl.client import ApiClient
from gatewayctl.commands import CommandSession, session_of, verb
from gatewayctl.errors import CommandError, Misused
from gatewayctl.profiles import (
    PROFILE,
    URL,
    Connection,
    SavedProfiles,
    checked_url,
    file_of,
    read_profiles,
    write_profiles,
)
from gatewayctl.version import VERSION

DEFAULT_PROFILE = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BUILD = re.compile(r'^admin_build_info\{.*?version="([^"]*)"', re.MULTILINE)


def add_to(app: typer.Typer) -> None:
    """These have no noun: they are about the command line itself."""
    verb(app, "login")(login)
    verb(app, "logout")(logout)
    verb(app, "whoami")(whoami)
    verb(app, "profiles")(list_profiles)
    verb(app, "version")(version)


def login(
    ctx: typer.Context,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[-]", help="- reads the admin key from stdin; else it is asked for."
        ),
    ] = None,
) -> None:
    """Keep an admin key in a profile, which is readable by you alone.

    --url says where the admin API is, --profile which profile to write. The key is tried first, and
    is never an argument, because other users see those and the shell's history keeps them.
    """
    session = session_of(ctx)
    if key not in (None, "-"):
        raise Misused(
            "A key does not belong on the command line, whose history keeps it. It may have to "
            "be replaced now.",
            way_out="gatewayctl login, and type it; or send it on stdin",
        )
    terminal, options = session.terminal, session.options
    name = options.profile or terminal.environ.get(PROFILE) or DEFAULT_PROFILE
    if not _NAME.fullmatch(name):
        raise Misused(f"{name!r} is not a valid profile name: use letters, digits and . _ - only.")
    path = file_of(terminal.environ)
    profiles = read_profiles(path)
    saved = profiles.by_name.get(name)
    url = options.url or terminal.environ.get(URL) or (saved.url if saved else None)
    if url is None and terminal.can_ask:
        terminal.stderr.write("Address of the admin API, such as http://localhost:8001: ")
        terminal.stderr.flush()
        url = terminal.stdin.readline().strip()
    if not url:
        raise Misused("Where is the admin API?", way_out="give --url http://localhost:8001")
    address = checked_url(url)
    secret = terminal.read().strip() if key == "-" else terminal.secret("Admin key: ")
    if not secret:
        raise Misused("No key was given.")
    connection = Connection(url=address, key=secret, source=f"profile {name} of {path}")
    client = ApiClient(replace(connection, source="login"), terminal, timeout_s=options.timeout)
    try:
        me = client.get("/admin/people/me")
    finally:
        client.close()
    write_profiles(
        path, SavedProfiles(current=name, by_name={**profiles.by_name, name: connection})
    )
    terminal.say(f"Profile {name}: {me['name']} ({me['role']}) at {address}, kept in {path}.")


def logout(ctx: typer.Context) -> None:
    """Remove a profile. Its key stays valid."""
    session = session_of(ctx)
    path = file_of(session.terminal.environ)
    profiles = read_profiles(path)
    name = session.options.profile or session.terminal.environ.get(PROFILE) or profiles.current
    if name is None or name not in profiles.by_name:
        raise Misused(f"There is no profile {name!r} in {path}.")
    remaining = {other: one for other, one in profiles.by_name.items() if other != name}
    current = next(iter(remaining), None) if profiles.current == name else profiles.current
    write_profiles(path, SavedProfiles(current=current, by_name=remaining))
    session.terminal.say(f"Profile {name} was removed; the next one is {current or 'none'}.")


def whoami(ctx: typer.Context) -> None:
    """Show who you are for the admin API, and where it is."""
    session = session_of(ctx)
    me = session.client.get("/admin/people/me")
    connection = session.client.connection
    session.output.one({**me, "url": connection.url, "key_from": connection.source})


def list_profiles(
    ctx: typer.Context,
    use: Annotated[
        str | None, typer.Option("--use", metavar="NAME", help="Use this one from now on.")
    ] = None,
) -> None:
    """List the profiles, without their keys, or choose one."""
    session = session_of(ctx)
    path = file_of(session.terminal.environ)
    profiles = read_profiles(path)
    if use is not None:
        if use not in profiles.by_name:
            raise Misused(f"There is no profile {use!r} in {path}.")
        profiles = SavedProfiles(current=use, by_name=profiles.by_name)
        write_profiles(path, profiles)
    rows = [
        {"name": name, "url": connection.url, "current": name == profiles.current}
        for name, connection in profiles.by_name.items()
    ]
    session.output.rows(rows, ("name", "url", "current"), empty=f"There are none in {path}.")


def version(ctx: typer.Context) -> None:
    """Show the versions of this command and, where it can be reached, of the admin service."""
    session = session_of(ctx)
    session.output.one({"gatewayctl": VERSION, "admin": _admin_version(session)})


def _admin_version(session: CommandSession) -> str | None:
    try:
        metrics = session.client.get("/metrics")
    except CommandError as error:
        session.output.done(f"The admin service was not asked: {error.message}")
        return None
    match = _BUILD.search(metrics) if isinstance(metrics, str) else None
    return match[1] if match else None
