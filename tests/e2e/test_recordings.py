"""What a key records, from the client's call to the administrator's look at it."""

from typing import Any
from urllib.parse import quote

import pytest

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.support.polling import eventually_in_thread

SECRET = "sk-proj-Ab12_Cd34-Ef56Gh78Ij90"
PATHS = {
    "chat": ("/v1/chat/completions", "openai/gpt-4.1-mini"),
    "messages": ("/v1/messages", "anthropic/claude-haiku-4-5"),
    "responses": ("/v1/responses", "openai/gpt-4.1-mini"),
}


class RecordedAccount:
    """An account whose key records, or does not."""

    def __init__(self, stack: LocalStack, user_id: str, recording: Any) -> None:
        self.admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
        self.user_id = user_id
        self.admin.expect("POST", "/admin/accounts", {"user_id": user_id})
        key = self.admin.expect("POST", "/admin/keys", {"user_id": user_id, "recording": recording})
        self.key_path = f"/admin/keys/{key['key_id']}"
        self.secret = key["api_key"]
        self.client = StackClient(stack.gateway_urls[0], self.secret)

    def body(self, name: str, text: str, **fields: Any) -> dict[str, Any]:
        prompt = f"{text} My keys are {SECRET} and {self.secret}."
        if name == "responses":
            return {"model": PATHS[name][1], "input": prompt, **fields}
        messages = [{"role": "user", "content": prompt}]
        limit = {"max_tokens": 100} if name == "messages" else {}
        return {"model": PATHS[name][1], "messages": messages, **limit, **fields}

    def ids(self, kind: str = "recordings") -> list[str]:
        path = f"/admin/recordings?limit=200&user_id={quote(self.user_id)}"
        if kind == "recordings":
            return [row["call_id"] for row in self.admin.expect("GET", path)["data"]]
        usage = self.admin.expect("GET", f"/admin/usage/user/{self.user_id}?limit=200")
        return [row["entry_id"] for row in usage["data"]]

    async def all_posted(self, calls: int) -> list[str]:
        await eventually_in_thread(lambda: len(self.ids("entries")) == calls)
        return self.ids("entries")


@pytest.mark.parametrize("name", PATHS)
async def test_calls_are_recorded_without_their_secrets(stack: LocalStack, name: str) -> None:
    account = RecordedAccount(stack, f"recorded-{name}", {"retention_days": 3})
    path, _ = PATHS[name]
    text = f"Do not show {SECRET} to anybody else."
    prompt = f'[[stand-in text="{text}"]] Hello.'
    account.client.expect("POST", path, account.body(name, prompt))
    events = list(account.client.stream(path, account.body(name, prompt, stream=True)))
    assert events
    refused, _ = account.client.call("POST", path, {**account.body(name, prompt), "model": "x/y"})
    assert refused == 404
    failed, _ = account.client.call("POST", path, account.body(name, "[[stand-in status=403]]"))
    assert failed == 403

    entries = await account.all_posted(4)
    await eventually_in_thread(lambda: len(account.ids()) == 4)
    assert sorted(account.ids()) == sorted(entries)
    outcomes = []
    for call_id in sorted(account.ids()):
        row = account.admin.expect("GET", f"/admin/recordings/{call_id}")
        entry = account.admin.expect("GET", f"/admin/ledger/entries/{call_id}")
        assert (row["key_id"], entry["recorded"]) == (entry["key_id"], True)
        assert (row["user_id"], row["format"], row["stream"]) == (
            account.user_id,
            entry["format"],
            entry["stream"],
        )
        assert "My keys are [redacted] and [redacted]." in row["request"]["text"]
        for transcript in (row["request"]["text"], row["answer"]["text"]):
            assert SECRET not in transcript
            assert SECRET[8:] not in transcript
            assert account.secret not in transcript
        if row["http_status"] == 200:
            assert "Do not show [redacted] to anybody else." in row["answer"]["text"]
        else:
            assert "error" in row["answer"]["text"]
        outcomes.append((row["http_status"], row["stream"]))
    assert outcomes == [(200, False), (200, True), (404, False), (403, False)]


async def test_recording_is_off_by_default_and_stops_at_once(
    stack: LocalStack,
) -> None:
    account = RecordedAccount(stack, "recorded-later", None)
    body = account.body("chat", "Hello.")
    account.client.expect("POST", PATHS["chat"][0], body)
    for recording, calls in (({"retention_days": 1}, 2), (None, 3)):
        account.admin.expect("PATCH", account.key_path, {"recording": recording})
        account.client.expect("POST", PATHS["chat"][0], body)
        await account.all_posted(calls)
        await eventually_in_thread(lambda: len(account.ids()) == 1)
    newest, recorded_call, _ = account.ids("entries")
    assert account.ids() == [recorded_call]
    entry = account.admin.expect("GET", f"/admin/ledger/entries/{newest}")
    assert entry["recorded"] is False

    deleted = account.admin.expect("DELETE", "/admin/recordings?user_id=recorded-later")
    assert deleted == {"deleted": 1, "more": False}
    assert account.ids() == []
    # What it cost is still there.
    assert len(account.ids("entries")) == 3
