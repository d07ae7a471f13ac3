"""`gatewayctl doctor`."""

from typing import Annotated

import typer

from gatewayctl.commands import CommandSession, session_of, verb
from gatewayctl.errors import end_wrong
from gatewayctl.values import Row
from gatewayctl.version import VERSION

_COLUMNS = ("area", "check", "verdict", "reason", "mend")
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def add_to(app: typer.Typer) -> None:
    verb(app, "doctor")(doctor)


def doctor(
    ctx: typer.Context,
    *,
    providers: Annotated[
        bool,
        typer.Option(
            "--providers/--no-providers", help="Have each provider count a few tokens as well."
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not ok.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for a warning too.")
    ] = False,
) -> None:
    """Look at everything that the gateway stands on, and say what mends what is wrong.

    MongoDB, Redis, the queue, spools, the proof, prices, the processes of the services with their
    versions and clocks, and the providers. Ends with 1 where something fails.
    """
    session = session_of(ctx)
    report = session.client.get("/admin/doctor")
    findings: list[Row] = [_version(report["version"]), *report["findings"]]
    if providers:
        provider_report = session.client.post("/admin/doctor/providers")
        findings += provider_report["findings"]
        if provider_report["more"]:
            session.terminal.say("gatewayctl: there are more providers than were asked.")
    verdicts = {finding["verdict"] for finding in findings}
    if quiet:
        findings = [finding for finding in findings if finding["verdict"] != "ok"]
    if session.output.is_table:
        _print(session, findings)
    else:
        session.output.rows(findings, _COLUMNS)
    if "fail" in verdicts or (strict and "warn" in verdicts):
        raise end_wrong()


def _version(admin: str) -> Row:
    finding: Row = {"area": "gatewayctl", "check": "version", "verdict": "ok", "reason": VERSION}
    if admin != VERSION:
        finding |= {"verdict": "warn", "reason": f"{VERSION}; the admin service is {admin}"}
    mend = None if admin == VERSION else "use the gatewayctl of the services' version"
    return {**finding, "mend": mend}


def _print(session: CommandSession, findings: list[Row]) -> None:
    from rich.text import Text

    from gatewayctl.tables import console
    from gatewayctl.terminal import printable

    rich_console = console(session.terminal)
    area = None
    order = list(dict.fromkeys(finding["area"] for finding in findings))
    for finding in sorted(findings, key=lambda row: order.index(row["area"])):
        if finding["area"] != area:
            area = finding["area"]
            rich_console.print(Text(printable(area), style="bold"))
        mark, style = _MARKS.get(finding["verdict"], ("?", "yellow"))
        text = printable(f"{finding['check']}: {finding['reason']}")
        rich_console.print(Text.assemble("  ", (mark, style), " ", text))
        if finding["mend"] and finding["verdict"] != "ok":
            rich_console.print(Text.assemble("      -> ", (printable(finding["mend"]), "cyan")))
    counts = dict.fromkeys(("fail", "warn", "unknown", "ok"), 0)
    for finding in findings:
        counts[finding["verdict"]] += 1
    session.output.done(", ".join(f"{count} {name}" for name, count in counts.items() if count))
