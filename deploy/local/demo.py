"""A tour in the terminal: a call, a stream, the entries they left, the spend, and the proof."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from deploy.local.client import StackClient
from deploy.local.errors import StackError
from deploy.local.state import StackInfo

POST_TIMEOUT_S = 30.0
POLL_S = 0.2
CALLS = 2
WIDTH = 78
# The stand-in answers at once unless its script says otherwise.
PACED_ANSWER = """ [[stand-in chunk_delay_ms=80 text="[local stand-in] A ledger is a list of \
entries that is only ever added to. Every entry says what was used and at which price. The sum of \
the entries is what was spent."]]"""


def run_demo(info: StackInfo, model: str) -> None:
    gateway = StackClient(info.gateway_url, info.demo_api_key)
    admin = StackClient(info.admin_url, info.admin_api_key)
    if info.provider_url:
        print("No provider key is set: the answers come from the scripted local stand-in.")
    earlier_ids = {entry["entry_id"] for entry in _entries(admin, info.demo_user_id)}

    _title("1. A chat call", f"POST {info.gateway_url}/v1/chat/completions  model={model}")
    answer = gateway.expect(
        "POST", "/v1/chat/completions", _chat(model, "In one sentence: what is a ledger?")
    )
    print(_wrap(answer["choices"][0]["message"]["content"]))
    print(
        f"tokens: {answer['usage']['prompt_tokens']} in, {answer['usage']['completion_tokens']} out"
    )

    _title("2. The same as a stream, shown as it arrives", "stream=true")
    question = "Now in three sentences." + (PACED_ANSWER if info.provider_url else "")
    body = {**_chat(model, question), "stream": True}
    for piece in _pieces(gateway.stream("/v1/chat/completions", body)):
        print(piece, end="", flush=True)
    print()

    _title("3. What the ledger says", f"GET {info.admin_url}/admin/usage/user/{info.demo_user_id}")
    for entry in _await_entries(admin, info.demo_user_id, earlier_ids):
        _show_entry(entry)

    _title("4. What the account has spent", f"GET /admin/accounts/{info.demo_user_id}")
    _show_account(admin.expect("GET", f"/admin/accounts/{info.demo_user_id}"))

    _title("5. The proof", "GET /admin/ledger/verify")
    proof = admin.expect("GET", "/admin/ledger/verify")
    if not proof["ok"]:
        raise StackError(f"the ledger does not add up: {proof['first_difference']}")
    print(f"ok: the entries of {proof['accounts']} account(s) come to")
    print(f"{_usd(proof['entries_total_usd'])}, which is what the accounts say, to the last digit")


def _chat(model: str, question: str) -> dict[str, Any]:
    return {
        "model": model,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": question}],
    }


def _pieces(chunks: Iterator[Any]) -> Iterator[str]:
    for chunk in chunks:
        if "error" in chunk:
            raise StackError(f"the stream broke off: {chunk['error']}")
        for choice in chunk["choices"]:
            yield choice["delta"].get("content") or ""


def _entries(admin: StackClient, user_id: str) -> list[dict[str, Any]]:
    answer = admin.expect("GET", f"/admin/usage/user/{user_id}?limit=20")
    entries: list[dict[str, Any]] = answer["data"]
    return entries


def _await_entries(admin: StackClient, user_id: str, earlier_ids: set[str]) -> list[dict[str, Any]]:
    """The entries of this tour, oldest first, once the worker has posted them."""
    deadline = time.monotonic() + POST_TIMEOUT_S
    while True:
        new = [e for e in _entries(admin, user_id) if e["entry_id"] not in earlier_ids]
        if len(new) >= CALLS:
            return new[::-1]
        if time.monotonic() > deadline:
            raise StackError(f"only {len(new)} of {CALLS} calls were posted to the ledger")
        time.sleep(POLL_S)


def _show_entry(entry: dict[str, Any]) -> None:
    suffix = ", streamed" if entry["stream"] else ""
    print(f"{entry['entry_id']}  {entry['model']}  {entry['status']}{suffix}")
    for line in entry["lines"]:
        rate = f"{_plain(line['rate_usd'])} USD per {line['per']:,}"
        print(
            f"  {line['item']:<14}{line['quantity']:>7} x {rate:<24}{_usd(line['amount_usd']):>18}"
        )
    print(f"  {'cost':<48}{_usd(entry['cost_usd']):>18}")


def _show_account(account: dict[str, Any]) -> None:
    budget, spend = account["budget"], account["spend"]
    rows = [("in all", spend["total_usd"])]
    if budget is not None:
        rows += [
            (f"in {spend['period']}", spend["period_usd"]),
            (f"{budget['period']} limit", budget["limit_usd"]),
            ("remaining", spend["remaining_usd"]),
        ]
    for label, amount in rows:
        print(f"  {label:<48}{_usd(amount):>18}")


def _title(text: str, detail: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}\n{detail}")


def _wrap(text: str) -> str:
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _usd(amount: Decimal | int) -> str:
    return f"{_plain(amount)} USD"


def _plain(number: Decimal | int) -> str:
    """Without an exponent and trailing zeros: not 1E-7, not 10.000000."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
