"""The ledger: what waits to be posted, its proof, and the deliveries that could not be posted."""

import asyncio
from collections.abc import Mapping
from typing import Any

from htpy import Node, a, code, details, div, nav, p, summary

from libs.common.domain.audit_chain import Fault
from services.admin import dead_letters, ledger_health, proof
from services.admin.audit.proof import verify_audit
from services.admin.console.elements import (
    NOTHING,
    Column,
    badge,
    count_text,
    counted,
    facts,
    figure_tile,
    json_block,
    lasted,
    link,
    mono,
    panel,
    proof_badge,
    rows_table,
    size_text,
    usd,
    when,
)
from services.admin.console.forms import confirm_form
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, go_to, segment
from services.admin.dead_letters import Letters, LetterView
from services.admin.ledger_health import LedgerHealthView, SpoolView
from services.admin.proof import DifferenceView

_AT = "/console/ledger"
_LETTERS = (
    Column("Letter"), Column("Account"), Column("Came"), Column("Why"), Column("Times", "number"),
    Column("Bytes", "number"), Column("Do"),
)  # fmt: skip
_SPOOLS = (
    Column("Gateway"),
    Column("Since"),
    Column("Until"),
    Column("Size", "number"),
    Column("Said at"),
)
# What the page has of its own in its URL, and the list of letters has not.
_OWN = ("prove", "proved", "audit", "checked")


async def show_page(view: View) -> Shown:
    query = {name: text for name, text in view.query.items() if name not in _OWN}
    health, letters = await asyncio.gather(
        view.api.call(ledger_health.show_ledger_health),
        view.api.call(dead_letters.list_letters, query={"limit": "20", **query}),
    )
    return ConsolePage(
        name="Ledger",
        content=[
            _tiles(view, health),
            panel("What waits", *_waiting(view, health)),
            panel("Proof", *await _proof(view, health)),
            panel("Dead letters", *_dead_letters(view, letters)),
            panel("Audit log", *await _audit(view)),
        ],
    )


def _tiles(view: View, health: LedgerHealthView) -> Node:
    queue, spools, proved_at = health.queue, health.spools, health.proof.last_success_at
    lag = "not known" if queue is None else "nothing waits"
    if queue is not None and queue.shards_away:
        lag = f"not counted: {counted(queue.shards_away, 'shard', 'shards')} away"
    elif queue is not None and queue.oldest_at is not None:
        lag = f"the oldest for {lasted(view.now - queue.oldest_at)}"
    spooled = [each for each in spools or () if each.until is None]
    sizes = [each.size for each in spooled if each.size is not None]
    return div(".tiles")[
        figure_tile("Queue, jobs", NOTHING if queue is None else count_text(queue.jobs), lag),
        figure_tile(
            "Gateways that spool",
            NOTHING if spools is None else count_text(len(spooled)),
            size_text(sum(sizes)) if sizes else "as they say themselves",
        ),
        figure_tile(
            "Dead letters",
            count_text(health.dead_letters),
            "wait to be replayed" if health.dead_letters else "every delivery was posted",
        ),
        figure_tile(
            "Books",
            proof_badge(health.proof.ok),
            "not proved yet"
            if proved_at is None
            else f"all accounts proved {lasted(view.now - proved_at)} ago",
        ),
    ]


def _waiting(view: View, health: LedgerHealthView) -> list[Node]:
    queue = health.queue
    if queue is None:
        return [
            p[badge("Redis does not answer", "bad")],
            p["How long the queue is and what gateways spool is not known until it does. Usage of "
              "calls that end meanwhile is on the gateways' disks; entries are as they were."],
        ]  # fmt: skip
    note = p["No job waits: what reached the queue is posted, or is a dead letter."]
    if queue.oldest_at is not None:
        note = p[
            f"{counted(queue.jobs, 'job', 'jobs')} wait or run; the oldest came ",
            when(queue.oldest_at, view.zone, seconds=True),
            ". If they grow older, look whether a ledger worker runs, and whether MongoDB is slow.",
        ]
    away: Node = None
    if queue.shards_away:
        shards = counted(queue.shards_away, "shard does", "shards do")
        away = p[badge(f"{shards} not answer", "bad"), " What waits there is not counted."]
    if health.spools is None:
        return [away, note, p["What gateways spool is not known: the master that has it is away."]]
    table = rows_table(
        "Spools", _SPOOLS, [_spool(view, each) for each in health.spools],
        empty=p["No gateway reports usage waiting on its disk: Redis has taken all of it."],
    )  # fmt: skip
    return [away, note, table]


def _spool(view: View, each: SpoolView) -> list[Node]:
    return [
        mono(each.gateway),
        when(each.since, view.zone, seconds=True),
        badge("waits still", "warn")
        if each.until is None
        else when(each.until, view.zone, seconds=True),
        size_text(each.size),
        when(each.noted_at, view.zone, seconds=True),
    ]


async def _proof(view: View, health: LedgerHealthView) -> list[Node]:
    return [
        p["The sum of each account's entries is what it has spent, to the last digit. The workers "
          "prove it in rounds, from the checkpoints on that seal what was proved before."],
        _rounds(view, health),
        p[link(f"{_AT}?prove=new", "Prove it now"), " from the checkpoints on, or ",
          link(f"{_AT}?prove=all", "read every entry again"), "."],
        await _proof_result(view),
    ]  # fmt: skip


def _rounds(view: View, health: LedgerHealthView) -> Node:
    state = health.proof
    under_way = state.proved_until and ["proved up to account ", mono(state.proved_until)]
    return facts(
        [
            ("Last round", proof_badge(state.ok)),
            ("All proved", when(state.last_success_at, view.zone, seconds=True)),
            ("Round under way", under_way or NOTHING),
            (
                "Sealed",
                f"{count_text(state.sealed_accounts)} of {count_text(state.accounts)} accounts",
            ),
        ]
    )


async def _proof_result(view: View) -> Node:
    extent = view.query.get("prove")
    if extent not in ("new", "all"):
        return None
    found = await view.api.call(
        proof.verify_ledger,
        query={"full": str(extent == "all").lower(), "cursor": view.query.get("proved")},
    )
    pairs: list[tuple[str, Node]] = [
        ("Result", badge("it agrees", "good") if found.ok else badge("it differs", "bad")),
        ("Accounts", count_text(found.accounts)),
        ("Entries", count_text(found.entries)),
        ("Their sum", usd(found.entries_total_usd)),
        ("Accounts that differ", count_text(found.drifting_accounts)),
        ("When", when(found.checked_at, view.zone, seconds=True)),
    ]
    more = found.next_cursor and view.with_query(proved=found.next_cursor)
    return [
        facts(pairs),
        _difference(found.first_difference),
        more and p[link(more, "Go on with the rest")],
    ]


def _difference(difference: DifferenceView | None) -> Node:
    if difference is None:
        return None
    return p[
        "The first that differs is ",
        link(f"/console/accounts/{segment(difference.user_id)}", difference.user_id),
        f", in {difference.where}. Something wrote past the ledger; the entries are the truth. "
        "docs/operations.md, The proof, says what to do.",
    ]


def _dead_letters(view: View, letters: Letters) -> list[Node]:
    replayed = view.query.get("state") == "replayed"
    may = view.api.may(dead_letters.replay_letters)
    empty = (
        p["None: what was put back has been posted."]
        if replayed
        else p["None: every delivery was posted. One that cannot be waits here to be replayed."]
    )
    rows = [_letter(view, each, may=may and not replayed) for each in letters.data]
    table = rows_table("Dead letters", _LETTERS, rows, empty=empty)
    return [
        _states(replayed=replayed),
        table,
        view.pager(letters),
        _replay_all(view, letters.count) if may and letters.count and not replayed else None,
    ]


def _states(*, replayed: bool) -> Node:
    def one(path: str, name: str, *, here: bool) -> Node:
        return a(href=path, aria_current="true" if here else None)[name]

    return nav(".pages", aria_label="Which letters")[
        one(_AT, "Waiting", here=not replayed),
        one(f"{_AT}?state=replayed", "Put back on the queue", here=replayed),
    ]


def _letter(view: View, each: LetterView, *, may: bool) -> list[Node]:
    account = each.user_id and link(f"/console/accounts/{segment(each.user_id)}", each.user_id)
    inner: list[Node] = [
        p["It is too long, or no JSON, to be shown."]
        if each.content is None
        else json_block(each.content)
    ]
    if each.cut_off:
        inner.append(p["Its end was lost, so it cannot be replayed."])
    elif may:
        inner.append(
            confirm_form(
                f"{_AT}/replay", view.session.csrf, submit="Replay this letter",
                asks="The worker tries it again; what fails comes back here.",
                hidden={"letter_id": each.letter_id}, danger=False,
            )
        )  # fmt: skip
    return [
        [code(title=each.letter_id)[each.letter_id[:12]], f" ({each.kind})"],
        account or NOTHING,
        when(each.buried_at, view.zone),
        each.reason,
        count_text(each.times),
        count_text(each.size),
        details[summary["Show"], inner],
    ]


def _replay_all(view: View, waiting: int) -> Node:
    return confirm_form(
        f"{_AT}/replay", view.session.csrf, submit="Put them all back on the queue",
        asks=f"The worker tries {counted(waiting, 'delivery', 'deliveries')} again, a thousand at "
        "a time; what fails comes back here. First fix what made them fail.",
        danger=False,
    )  # fmt: skip


async def _audit(view: View) -> list[Node]:
    if not view.api.may(verify_audit):
        return []
    if "audit" not in view.query:
        check = link(f"{_AT}?audit=verify", "Check that no record was changed or removed")
        return [p["Each record holds the hash of the one before it. ", check, "."]]
    found = await view.api.call(verify_audit, query={"cursor": view.query.get("checked")})
    more = found.next_cursor and view.with_query(checked=found.next_cursor)
    return [
        facts(
            [
                ("Chain", badge("unbroken", "good") if found.ok else badge("broken", "bad")),
                ("Records", count_text(found.records)),
                ("Head", mono(f"{found.head.seq}: {found.head.hash}")),
                ("Fault", _fault(found.fault)),
            ]
        ),
        more and p[link(more, "Go on with the rest")],
    ]


def _fault(fault: Fault | None) -> Node:
    return NOTHING if fault is None else f"record {fault.seq}: {fault.problem}"


async def replay(view: View) -> Shown:
    """One letter, where the form names it; else all."""
    letter_id = view.typed.get("letter_id")
    body: dict[str, Any] = {"ids": [letter_id]} if letter_id else {"all": True}
    answer = await view.api.call(dead_letters.replay_letters, body=body)
    return go_to(f"{_AT}?state=replayed" if answer.replayed else _AT)


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    _AT: {"GET": show_page},
    f"{_AT}/replay": {"POST": replay},
}
