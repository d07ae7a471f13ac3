"""Compares the ledger with the stand-in provider's own record of what it served."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import msgspec
import pymongo

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e import mixed_load

_NANO = Decimal(10) ** -9


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; a run passes when `faults` is empty."""

    served: int
    entries: Mapping[str, int]
    faults: Sequence[str]


def check(
    stack: LocalStack, whole_ids: Set[str] = frozenset(), *, no_pool_overrun: bool = False
) -> Findings:
    """Every call that the provider saw has one entry; no entry has a call that it did not see.

    `whole_ids` are the calls whose answers came to their last byte: what those used is posted. A
    pool cannot be overrun where no call begins without Redis.
    """
    calls: dict[str, dict[str, Any]] = {}
    served_calls = mixed_load.served(stack)
    faults = [] if served_calls else ["no call was served: nothing was put to the test"]
    for call in served_calls:
        if call["client_request_id"] in calls:
            faults.append(f"the provider saw {call['client_request_id']} twice")
        calls[call["client_request_id"]] = call
    entries = _entries(stack)
    by_id = Counter(entry["entry_id"] for entry in entries if entry.get("corrects") is None)
    faults += (f"{id_} has {n} entries" for id_, n in by_id.items() if n > 1)
    faults += (f"{id_} was served and has no entry" for id_ in calls.keys() - by_id.keys())
    for entry in entries:
        faults += _faults_of(entry, calls.get(entry["entry_id"]))
    faults += _faults_of_whole(whole_ids, entries)
    faults += _faults_of_sums(stack, entries)
    if no_pool_overrun:
        faults += _faults_of_pools(stack, entries)
    statuses = Counter(
        entry["status"] if entry.get("corrects") is None else entry["kind"] for entry in entries
    )
    return Findings(served=len(calls), entries=dict(statuses), faults=faults[:50])


def _entries(stack: LocalStack) -> list[dict[str, Any]]:
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        return list(client.get_default_database()["entries"].find())


def _faults_of(entry: Mapping[str, Any], call: Mapping[str, Any] | None) -> list[str]:
    id_, status = entry["entry_id"], entry["status"]
    if entry.get("corrects") is not None:
        return []
    if call is None:
        # Refused before it was forwarded, or its gateway died between admission and forwarding.
        unseen = status in ("refused", "abandoned", "upstream_error", "client_closed")
        return [] if unseen and entry["cost_nusd"] == 0 else [f"{id_} ({status}) was never served"]
    if status == "ok" and call["outcome"] == "served":
        cost = entry["cost_nusd"] * _NANO
        if cost != mixed_load.cost_usd(call):
            return [f"{id_} cost {cost}, and the provider served {call['tokens']}"]
    elif status == "ok":
        return [f"{id_} is ok, but the provider says {call['outcome']}"]
    return []


def _faults_of_whole(whole_ids: Set[str], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A call may be given up while its gateway is paused; its own event corrects that then."""
    ok = {entry["entry_id"] for entry in entries if entry["status"] == "ok"}
    mended = {entry["corrects"] for entry in entries if entry["kind"] == "late_event"}
    return [f"{id_} was answered, and its usage is not posted" for id_ in whole_ids - ok - mended]


def _faults_of_sums(stack: LocalStack, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    faults = []
    verified = admin.expect("GET", "/admin/ledger/verify?full=true")
    if not verified["ok"]:
        faults.append(f"verify: {verified['first_difference']}")
    totals = dict.fromkeys(user_ids(stack), 0)
    for entry in entries:
        totals[entry["user_id"]] += entry["cost_nusd"]
    for user_id, total in totals.items():
        account = admin.expect("GET", f"/admin/accounts/{user_id}")
        spend = account["spend"]
        if spend["total_usd"] != total * _NANO:
            faults.append(f"{user_id} spent {spend['total_usd']}, its entries sum to {total} nUSD")
        if spend["held_usd"] != 0:
            faults.append(f"{user_id} still holds {spend['held_usd']} USD")
    return faults


def _faults_of_pools(stack: LocalStack, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What calls used after their gateway was paused for longer than a hold lives comes on top."""
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    used: Counter[str] = Counter()
    for entry in entries:
        if entry["kind"] != "late_event":
            used[entry["user_id"]] += entry["cost_nusd"]
    return [
        f"{user_id} used {nusd} nUSD of a budget of {budget['limit_usd']} USD"
        for user_id, nusd in used.items()
        for budget in admin.expect("GET", f"/admin/accounts/{user_id}")["budgets"]
        if nusd * _NANO > budget["limit_usd"]
    ]


def user_ids(stack: LocalStack) -> list[str]:
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        return sorted(client.get_default_database()["accounts"].distinct("_id"))


def skip_an_increment(stack: LocalStack) -> None:
    """Undoes what one entry added to its account, as a lost `$inc` would: the check must see it."""
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        database = client.get_default_database()
        entry = database["entries"].find_one({"cost_nusd": {"$gt": 0}})
        assert entry is not None
        database["accounts"].update_one(
            {"_id": entry["user_id"]}, {"$inc": {"spent_nusd": -entry["cost_nusd"]}}
        )
