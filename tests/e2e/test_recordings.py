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


class Recorded:
    """An account whose key records, or does not."""

    def __init__(self, stack: LocalStack, user_id: str, recording: Any) -> None:
        self.admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
        self.user_id = user_id
        self.admin.expect("POST", "/admin/accounts", {"user_id": user_id})
        key = self.admin.expect("POST", "/admin/keys", {"user_id": user_id, "recording": recording})
        self.key_path = f"/admin/keys/{key['key_id']}"
        self.secret = key["api_key"]
        self.client = StackClient(stack.gateway_urls[0], self.secret)

    def body(self, name: str, said: str, **fields: Any) -> dict[str, Any]:
        prompt = f"{said} My keys are {SECRET} and {self.secret}."
        if name == "responses":
            return {"model": PATHS[name][1], "input": prompt, **fields}
        messages = [{"role": "user", "content": prompt}]
        limit = {"max_tokens": 100} if name == "messages" else {}
        return {"model": PATHS[name][1], "messages": messages, **limit, **fields}

    def ids(self, what: str = "recordings") -> list[str]:
        path = f"/admin/recordings?limit=200&user_id={quote(self.user_id)}"
        if what == "recordings":
            return [row["call_id"] for row in self.admin.expect("GET", path)["data"]]
        usage = self.admin.expect("GET", f"/admin/usage/user/{self.user_id}?limit=200")
        return [row["entry_id"] for row in usage["data"]]

    async def all_posted(self, calls: int) -> list[str]:
        await eventually_in_thread(lambda: len(self.ids("entries")) == calls)
        return self.ids("entries")


@pytest.mark.parametrize("name", PATHS)
async def test_calls_are_recorded_without_their_secrets(stack: LocalStack, name: str) -> None:
    recorded = Recorded(stack, f"recorded-{name}", {"retention_days": 3})
    path, _ = PATHS[name]
    text = f"Do not show {SECRET} to anybody else."
    said = f'[[stand-in text="{text}"]] Hello.'
    recorded.client.expect("POST", path, recorded.body(name, said))
    streamed = list(recorded.client.stream(path, recorded.body(name, said, stream=True)))
    assert streamed
    refused, _ = recorded.client.call("POST", path, {**recorded.body(name, said), "model": "x/y"})
    assert refused == 404
    failed, _ = recorded.client.call("POST", path, recorded.body(name, "[[stand-in status=403]]"))
    assert failed == 403

    entries = await recorded.all_posted(4)
    await eventually_in_thread(lambda: len(recorded.ids()) == 4)
    assert sorted(recorded.ids()) == sorted(entries)
    ended = []
    for call_id in sorted(recorded.ids()):
        row = recorded.admin.expect("GET", f"/admin/recordings/{call_id}")
        entry = recorded.admin.expect("GET", f"/admin/ledger/entries/{call_id}")
        assert (row["key_id"], entry["recorded"]) == (entry["key_id"], True)
        assert (row["user_id"], row["format"], row["stream"]) == (
            recorded.user_id,
            entry["format"],
            entry["stream"],
        )
        assert "My keys are [redacted] and [redacted]." in row["request"]["text"]
        for told in (row["request"]["text"], row["answer"]["text"]):
            assert SECRET not in told
            assert SECRET[8:] not in told
            assert recorded.secret not in told
        if row["http_status"] == 200:
            assert "Do not show [redacted] to anybody else." in row["answer"]["text"]
        else:
            assert "error" in row["answer"]["text"]
        ended.append((row["http_status"], row["stream"]))
    assert ended == [(200, False), (200, True), (404, False), (403, False)]


async def test_recording_is_off_by_default_and_stops_at_once(
    stack: LocalStack,
) -> None:
    recorded = Recorded(stack, "recorded-later", None)
    body = recorded.body("chat", "Hello.")
    recorded.client.expect("POST", PATHS["chat"][0], body)
    for recording, calls in (({"retention_days": 1}, 2), (None, 3)):
        recorded.admin.expect("PATCH", recorded.key_path, {"recording": recording})
        recorded.client.expect("POST", PATHS["chat"][0], body)
        await recorded.all_posted(calls)
        await eventually_in_thread(lambda: len(recorded.ids()) == 1)
    newest, recorded_call, _ = recorded.ids("entries")
    assert recorded.ids() == [recorded_call]
    entry = recorded.admin.expect("GET", f"/admin/ledger/entries/{newest}")
    assert entry["recorded"] is False

    deleted = recorded.admin.expect("DELETE", "/admin/recordings?user_id=recorded-later")
    assert deleted == {"deleted": 1, "more": False}
    assert recorded.ids() == []
    # What it cost is still there.
    assert len(recorded.ids("entries")) == 3
