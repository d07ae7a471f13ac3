"""What `make bench-admin` asks for, by kind, each with the time that its answers may take."""

from datetime import datetime

import msgspec

from bench.ledger_seed import LedgerSeed, user_id_of

SUMS_MS, LISTS_MS = 50.0, 100.0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A path, with its query. `target_ms` is for the 95th percentile of its answers."""

    kind: str
    name: str
    path: str
    target_ms: float


def questions(seed: LedgerSeed) -> list[Question]:
    user = user_id_of(0)
    until = seed.until.date().isoformat()
    return [
        *_sums("summary", SUMMARIES, user, until),
        *_sums("series", SERIES, user, until),
        *(
            Question(
                kind="list", name=name or "all", path=f"/admin/usage?{name}", target_ms=LISTS_MS
            )
            for name in [*_filters(seed.until), *(f"user_id={user}&{f}" for f in LIST_FILTERS)]
        ),
        *(
            Question(kind="accounts", name=query or "first page", path=path, target_ms=LISTS_MS)
            for query in ACCOUNTS
            for path in (f"/admin/accounts?{query}",)
        ),
        Question(
            kind="statement",
            name="a month",
            path=f"/admin/accounts/{user}/statements/{until[:7]}",
            target_ms=LISTS_MS,
        ),
    ]


SUMMARIES = (
    "group_by=model",
    "group_by=account",
    "group_by=account,model",
    "group_by=day",
    "group_by=provider,status",
    "group_by=client_user",
    "group_by=model&compare=previous",
    "group_by=model&user_id={user}",
    "group_by=hour&user_id={user}",
    "group_by=key&user_id={user}&zone=Asia/Tokyo",
)
SERIES = (
    "interval=day",
    "interval=week&group_by=model&limit=5",
    "interval=day&user_id={user}",
    "interval=day&group_by=key&user_id={user}",
)
LIST_FILTERS = (
    "",
    "model=gpt-5.4",
    "model=team/gpt-5.4",
    "model=anthropic/claude-haiku-4-5",
    "model=that-nobody-asked-for",
    "provider=gemini",
    "provider=that-nobody-has",
    "deployment=openai-1",
    "status=refused",
    "error_code=abandoned_1",
    "kind=refund",
    "usage_source=none",
    "client_user=customer-7",
    "tag=team:3",
    "provider_request_id=req_64",
    "above_usd=0.08",
)
ACCOUNTS = ("", "limit=200", "q=Customer%2077", "sort=-created_at", "status=suspended")


def _filters(until: datetime) -> tuple[str, ...]:
    month = f"{until:%Y-%m}"
    return (*LIST_FILTERS, "key_id=key-0-1", f"period={month}", f"since={month}-02")


def _sums(kind: str, queries: tuple[str, ...], user: str, until: str) -> list[Question]:
    return [
        Question(
            kind=kind,
            name=query.format(user="1 account"),
            path=f"/admin/usage/{kind}?{query.format(user=user)}&until={until}",
            target_ms=SUMS_MS,
        )
        for query in queries
    ]
