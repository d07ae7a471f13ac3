"""What a command makes of answers: lost ones, late ones, and those of other servers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import CommandResult, run

ENVIRON = {"GATEWAYCTL_URL": "http://admin", "GATEWAYCTL_KEY": "a-key"}
ACCOUNT = {"user_id": "a"}
Handler = Callable[[httpx.Request], httpx.Response]


class Server(httpx.BaseTransport):
    """Answers with each of `answers` in turn; an exception is raised instead."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run_with(server: httpx.BaseTransport, *arguments: str) -> CommandResult:
    return run(*arguments, transport=server, environ=ENVIRON)


def problem(status: int, code: str, detail: str = "It is so.", **headers: str) -> httpx.Response:
    body = {"status": status, "code": code, "title": "Title", "detail": detail, "way_out": "Do so."}
    return httpx.Response(
        status, json=body, headers={"content-type": "application/problem+json", **headers}
    )


def keys_of(requests: Sequence[httpx.Request]) -> set[str]:
    return {request.headers["idempotency-key"] for request in requests}


def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    server = Server(
        httpx.ReadError("gone"), httpx.ReadTimeout(""), httpx.Response(201, json=ACCOUNT)
    )
    done = run_with(server, "accounts", "create", "a")
    assert (done.code, done.row) == (0, ACCOUNT)
    assert len(server.requests) == 3
    assert len(keys_of(server.requests)) == 1


def test_a_lost_answer_prints_the_idempotency_key() -> None:
    server = Server(*[httpx.ReadError("gone")] * 3)
    result = run_with(server, "accounts", "create", "a")
    [key] = keys_of(server.requests)
    assert result.code == 4
    assert f"--idempotency-key {key}" in result.err
    again = Server(httpx.Response(201, json=ACCOUNT))
    assert run_with(again, "accounts", "create", "a", "--idempotency-key", key).code == 0
    assert keys_of(again.requests) == {key}


@pytest.mark.parametrize(
    "answer",
    [
        problem(503, "service_unavailable", **{"retry-after": "1"}),
        problem(429, "rate_limit_exceeded", **{"retry-after": "x"}),
        problem(409, "request_under_way", **{"retry-after": "1"}),
    ],
)
def test_a_busy_service_is_asked_again(answer: httpx.Response) -> None:
    server = Server(answer, httpx.Response(201, json=ACCOUNT))
    assert run_with(server, "accounts", "create", "a").code == 0


def test_a_change_is_never_repeated_blindly() -> None:
    server = Server(
        httpx.Response(200, json=ACCOUNT, headers={"etag": '"1"'}), httpx.ReadError("gone")
    )
    assert run_with(server, "accounts", "change", "a", "--name", "b").code == 4
    assert [request.method for request in server.requests] == ["GET", "PATCH"]
    assert server.requests[1].headers["if-match"] == '"1"'


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", 2), (401, "invalid_api_key", 3), (403, "forbidden", 3),
        (404, "not_found", 3), (409, "conflict", 3), (412, "precondition_failed", 3),
        (422, "validation_failed", 2), (500, "internal_error", 4),
    ],
)  # fmt: skip
def test_exit_codes_tell_whose_turn_it_is(status: int, code: str, expected: int) -> None:
    refused = run_with(Server(problem(status, code)), "accounts", "show", "a")
    assert (refused.code, refused.out) == (expected, "")
    assert f"It is so. ({status} {code})" in refused.err
    assert "\n  -> " in refused.err


def test_of_other_servers() -> None:
    def ask(title: str | None) -> CommandResult:
        document = httpx.Response(404) if title is None else None
        described = document or httpx.Response(200, json={"info": {"title": title}})
        first = httpx.Response(404, json={"error": {"message": "There is no such path."}})
        return run_with(Server(first, described), "doctor")

    gateway = ask("LLM gateway")
    assert gateway.code == 4
    assert "is the gateway's address" in gateway.err
    other = ask(None)
    assert "is not an admin API" in other.err
    # A page of a proxy.
    page = Server(httpx.Response(200, text="<html>"), httpx.Response(200, text="<html>"))
    assert run_with(page, "accounts", "list").code == 4


def test_an_older_admin_service_is_said_to_be_one() -> None:
    first = problem(404, "not_found", "There is nothing at this path. The paths begin with /admin.")
    described = httpx.Response(200, json={"info": {"title": "Admin API"}})
    old = run_with(Server(first, described), "doctor")
    assert old.code == 4
    assert "has no GET /admin/doctor: its version is an older one" in old.err


def test_nothing_there_is_said_in_one_line() -> None:
    result = run_with(Server(httpx.ConnectError("refused")), "accounts", "list")
    assert result.code == 4
    assert "Nothing answers at http://admin (GATEWAYCTL_KEY): refused" in result.err


@pytest.mark.parametrize("fault", [httpx.RemoteProtocolError("cut"), httpx.ReadTimeout("late")])
def test_an_export_that_breaks_off_leaves_no_file(tmp_path: Path, fault: Exception) -> None:
    class Cut(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b"entry_id\n1\n"
            raise fault

    target = tmp_path / "out.csv"
    cut = run_with(Server(httpx.Response(200, stream=Cut())), "usage", "export", "-o", str(target))
    assert cut.code == 4
    assert "was not written" in cut.err
    assert list(tmp_path.iterdir()) == []
    target.write_text("before")
    existing = run_with(Server(), "usage", "export", "-o", str(target))
    assert existing.code == 2
    Server(httpx.Response(200, stream=Cut()))
    forced = Server(httpx.Response(200, stream=Cut()))
    assert run_with(forced, "usage", "export", "-o", str(target), "--force").code == 4
    assert target.read_text() == "before"
    whole = Server(httpx.Response(200, content=b"entry_id\n1\n"))
    assert run_with(whole, "usage", "export", "-o", str(target), "--force").code == 0
    assert target.read_text() == "entry_id\n1\n"


def test_an_unexpected_answer_prints_no_traceback() -> None:
    result = run_with(Server(httpx.Response(200, json={"rows": []})), "accounts", "list")
    assert result.code == 4
    assert "unexpected error: KeyError: 'data'" in result.err
    assert "GATEWAYCTL_DEBUG" in result.err


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ({"data": []}, "accounts list"),
        ({"user_ids": [], "missed": []}, "accounts suspend a"),
        ({"data": []}, "costs diff"),
        ({"ok": True, "records": 1}, "audit verify"),
    ],
    ids=["list", "change", "diff", "proof"],
)
def test_endless_pages_are_abandoned(
    monkeypatch: pytest.MonkeyPatch, page: dict[str, object], command: str
) -> None:
    monkeypatch.setattr("gatewayctl.client._MAX_PAGES", 3)
    server = Server(*[httpx.Response(200, json={**page, "next_cursor": "again"})] * 4)
    endless = run_with(server, *command.split())
    assert endless.code == 4
    assert "has no end" in endless.err
    assert len(server.requests) == 3


@pytest.mark.parametrize(("last", "more"), [([250], False), ([250, 251], True)])
def test_a_list_ends_at_its_limit_and_says_so(last: list[int], more: bool) -> None:
    pages = [
        {"data": [{"user_id": str(i)} for i in range(250)], "next_cursor": "on"},
        {"data": [{"user_id": str(i)} for i in last], "next_cursor": None},
    ]
    server = Server(*[httpx.Response(200, json=page) for page in pages])
    result = run_with(server, "accounts", "list", "--limit", "251")
    assert len(result.rows) == 251
    assert ("there are more" in result.err) is more
    assert [request.url.params.get("cursor") for request in server.requests] == [None, "on"]


def test_names_cannot_control_the_terminal() -> None:
    page = {"data": [{"user_id": "a", "name": "\x1b[2Jx\x9b"}], "next_cursor": None}
    for arguments in ((), ("--json", "name")):
        result = run(
            "accounts", "list", *arguments, transport=Server(httpx.Response(200, json=page)),
            environ={**ENVIRON, "NO_COLOR": "1"}, terminal=True,
        )  # fmt: skip
        assert result.code == 0
        assert not {"\x1b", "\x9b"} & set(result.out)


def test_the_sum_of_corrections_has_a_name() -> None:
    total = {"cost_usd": 2, "calls": 1, "corrections": 1}
    corrections = {"model": None, "cost_usd": 1.5, "calls": 0, "corrections": 1}
    nameless = {"model": None, "cost_usd": 0.5, "calls": 1, "corrections": 0}
    page = {
        "since": "2026-11-01", "until": "2026-12-01", "data": [corrections, nameless],
        "rest": None, "total": total,
    }  # fmt: skip
    result = run(
        "usage", "summary", transport=Server(httpx.Response(200, json=page)),
        environ={**ENVIRON, "NO_COLOR": "1"}, terminal=True,
    )  # fmt: skip
    _, first, second, *_ = result.out.splitlines()
    assert first.startswith("(corrections)  ")
    assert second.startswith("- ")


def test_a_secret_on_the_command_line_is_refused() -> None:
    server = Server()
    refused = run_with(server, "keys", "show", "sk-gw-0123456789abcdef")
    assert (refused.code, server.requests) == (2, [])
    assert "sk-gw-0123" not in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("accounts", "create", "a", "--budget", "many"),
        ("accounts", "create", "a", "--set", "name"),
        ("accounts", "create", "a", "--from", "/nowhere.json"),
        ("accounts", "change", "a"),
        ("usage", "show", "--since", "yesterday-ish"),
        ("usage", "show", "--where", "provider"),
        ("usage", "show", "--where", "tag=a", "--where", "tag=b"),
        ("usage", "show", "--where", "model=a", "--model", "b"),
        ("usage", "show", "--limit", "0"),
        ("costs", "quote", "m"),
        ("ledger", "dead-letters", "replay"),
        ("accounts", "list", "--url", "localhost:8001"),
        ("accounts", "list", "--profile", "nobody"),
        ("nonsense",),
    ],
)
def test_wrong_arguments_send_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    server = Server()
    result = run(*arguments, transport=server, environ={**ENVIRON, "HOME": str(tmp_path)})
    assert (result.code, result.out, server.requests) == (2, "", [])
    assert result.err
