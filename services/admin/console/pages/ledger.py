"""The ledger: its proof, and the deliveries that could not be posted."""

from collections.abc import Mapping

from htpy import Node, p

from services.admin import dead_letters, proof
from services.admin.audit.proof import verify_audit
from services.admin.console.elements import (
    Column,
    badge,
    count,
    facts,
    link,
    mono,
    panel,
    rows_table,
    usd,
    when,
)
from services.admin.console.forms import confirm_form
from services.admin.console.page import Handler, Page, Shown, View, go_to
from services.admin.proof import DifferenceView

_COLUMNS = (Column("Letter"), Column("Came"), Column("Why"), Column("Bytes", "number"))


async def show_page(view: View) -> Shown:
    letters = await view.api.call(dead_letters.list_letters, query={"limit": 20})
    rows = [
        [mono(each.letter_id), when(each.buried_at, view.zone), each.reason, count(each.size)]
        for each in letters.data
    ]
    replay = confirm_form(
        "/console/ledger/replay", view.session.csrf, submit="Put them all back on the queue",
        asks=f"The worker tries {letters.count:,} deliveries again; what fails comes back here.",
    )  # fmt: skip
    may = letters.count and view.api.may(dead_letters.replay_letters)
    return Page(
        name="Ledger",
        content=[
            panel("Proof", *await _proof(view)),
            panel(
                f"Dead letters: {letters.count:,}",
                rows_table(
                    "Dead letters", _COLUMNS, rows, empty=p["None: every delivery was posted."]
                ),
                replay if may else None,
            ),
            panel("Audit log", *await _audit(view)),
        ],
    )


async def _proof(view: View) -> list[Node]:
    wanted = view.query.get("prove")
    if wanted is None:
        return [
            p["The sum of each account's entries is what it has spent, to the last digit."],
            p[link("/console/ledger?prove=new", "Prove it"), " since the worker's last proof, or ",
              link("/console/ledger?prove=all", "read every entry again"), "."],
        ]  # fmt: skip
    found = await view.api.call(
        proof.verify_ledger,
        query={"full": str(wanted == "all").lower(), "cursor": view.query.get("cursor")},
    )
    pairs: list[tuple[str, Node]] = [
        ("Verdict", badge("it agrees", "good") if found.ok else badge("it differs", "bad")),
        ("Accounts", count(found.accounts)),
        ("Entries", count(found.entries)),
        ("Their sum", usd(found.entries_total_usd)),
        ("Accounts that differ", count(found.drifting_accounts)),
        ("When", when(found.checked_at, view.zone, seconds=True)),
    ]
    more = (
        found.next_cursor
        and p[
            link(
                f"/console/ledger?prove={wanted}&cursor={found.next_cursor}", "Go on with the rest"
            )
        ]
    )
    return [facts(pairs), _difference(found.first_difference), more]


def _difference(difference: DifferenceView | None) -> Node:
    if difference is None:
        return None
    return p[
        "The first that differs is ",
        link(f"/console/accounts/{difference.user_id}", difference.user_id),
        f", in {difference.where}.",
    ]


async def _audit(view: View) -> list[Node]:
    if not view.api.may(verify_audit):
        return []
    if view.query.get("prove") != "audit":
        return [p[link("/console/ledger?prove=audit", "Check that no record was changed")]]
    found = await view.api.call(verify_audit)
    verdict = badge("unbroken", "good") if found.ok else badge("broken", "bad")
    return [facts([("Chain", verdict), ("Records", count(found.records))])]


async def replay(view: View) -> Shown:
    await view.api.call(dead_letters.replay_letters, body={"all": True})
    return go_to("/console/ledger")


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/ledger": {"GET": show_page},
    "/console/ledger/replay": {"POST": replay},
}
