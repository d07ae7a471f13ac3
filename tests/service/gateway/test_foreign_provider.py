"""Against a provider that this project did not write: `llmock`, which also judges its client.

What its verdict cannot see is that the gateway has told the client of a stream that broke: so the
client here does what clients do, and tries again. A failure that was kept from it would show.
"""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from libs.common.schemas.route import Deployment, Timeouts
from tests.servers import HOST, ServerProcess, free_port, running
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import Dialect
from tests.service.gateway.routes import add_route
from tests.service.gateway.stage import Client, open_gateway
from tests.support.books import Books
from tests.support.polling import PATIENCE_S
from tests.unit.gateway.streams import payloads

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ENDS = ("[DONE]", "message_stop", "response.completed")
_PROMPT = "How is the weather in Oslo today?"
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class Mock:
    """The server's own side of it."""

    def __init__(self, url: str, http: httpx2.Client) -> None:
        self.url = url
        self._http = http

    def will(self, *behaviors: dict[str, Any]) -> None:
        """From now on, and as if nothing had been asked before."""
        self._http.post("/_llmock/reset").raise_for_status()
        if behaviors:
            scenario = {"behaviors": behaviors}
            self._http.post("/_llmock/scenario", json=scenario).raise_for_status()

    def verdict(self) -> dict[str, Any]:
        verdict: dict[str, Any] = self._http.get("/_llmock/verdict").json()
        return verdict

    def requests(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self._http.get("/_llmock/requests").json()["requests"]
        return requests


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    directory, port = tmp_path_factory.mktemp("llmock"), free_port()
    url = f"http://{HOST}:{port}"
    program = Path(sys.executable).with_name("llmock")
    command = [str(program), "serve", "--host", HOST, "--port", str(port)]
    # Paced as an answer that is being made, so that it shows whether its client has hung up.
    command += ["--stream-chunk-delay-ms", "20"]
    with (
        running(ServerProcess(url, command, port, directory)),
        httpx2.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        yield Mock(url, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(settings_with: SettingsWith, mock: Mock) -> AsyncIterator[Client]:
    settings = settings_with(
        openai_base_url=f"{mock.url}/v1", anthropic_base_url=f"{mock.url}/anthropic"
    )
    async with open_gateway(settings) as client:
        yield client


def failed(response: httpx2.Response) -> bool:
    """As its client is told: by the status, or by what the stream says or leaves unsaid."""
    if response.status_code != 200:
        return True
    if not response.headers["content-type"].startswith("text/event-stream"):
        return False
    frames = payloads(response.content)
    kinds = [frame if isinstance(frame, str) else frame.get("type") for frame in frames]
    if any(isinstance(frame, dict) and frame.get("error") for frame in frames):
        return True
    assert kinds[-1] in _ENDS, "a stream that broke off has to say so"
    return False


@streamed
async def test_a_successful_call(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect, stream: bool
) -> None:
    mock.will()
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(_PROMPT, stream=stream))

    assert not failed(response), response.text
    event = await books.the_event(secret)
    assert (event.status, event.usage_source, event.attempts) == ("ok", "provider", 1)
    assert event.usage is not None
    assert event.usage.input_text
    assert event.usage.output_text
    assert mock.verdict()["findings"] == []


@streamed
@pytest.mark.parametrize(
    "fault",
    [
        {"type": "fail", "status": 500},
        {"type": "fail", "status": 503},
        {"type": "fail", "status": 429, "retry_after": 1},
        {"type": "delay", "seconds": 0.1},
    ],
    ids=["500", "503", "429", "delay"],
)
async def test_a_transient_fault_is_hidden_from_the_client(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect, stream: bool, fault: dict[str, Any]
) -> None:
    mock.will(fault)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(_PROMPT, stream=stream))

    assert not failed(response), response.text
    event = await books.the_event(secret)
    attempts = 2 if fault["type"] == "fail" else 1
    assert (event.status, event.attempts) == ("ok", attempts)
    assert len(event.failed_attempts) == attempts - 1
    assert mock.verdict()["findings"] == []
    assert len(mock.requests()) == attempts


@streamed
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_permanent_fault_is_not_retried(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect, stream: bool, status: int
) -> None:
    mock.will({"type": "fail", "status": status, "message": "not like that", "times": None})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(_PROMPT, stream=stream))

    # OpenAI's clients would send the prompt again over a 422.
    client_status = 400 if status == 422 and dialect.name != "messages" else status
    assert response.status_code == client_status
    assert "not like that" in response.text
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.usage) == ("upstream_error", client_status, None)
    assert mock.verdict()["findings"] == []
    assert len(mock.requests()) == 1


async def test_a_stream_that_ends_before_its_first_byte_is_tried_again(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect
) -> None:
    mock.will({"type": "stream_fault", "kind": "disconnect", "after_chunks": 0})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(_PROMPT, stream=True))

    assert not failed(response)
    event = await books.the_event(secret)
    assert (event.status, event.usage_source, event.attempts) == ("ok", "provider", 2)
    assert mock.verdict()["findings"] == []


@pytest.mark.parametrize(
    ("kind", "after_chunks"),
    [("disconnect", 2), ("truncate", 0), ("truncate", 2), ("malformed", 0), ("malformed", 2)],
)
async def test_a_broken_stream_ends_with_an_error(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect, kind: str, after_chunks: int
) -> None:
    # Only an answer that goes on for long shows who hangs up, however slow this machine is.
    lengthy = {"type": "reply", "text": "rain " * 2_000}
    mock.will({"type": "stream_fault", "kind": kind, "after_chunks": after_chunks}, lengthy)
    secret = await books.add_key()

    tries = 0
    while tries < 3:
        tries += 1
        response = await gateway.post(dialect.path, secret, dialect.body(_PROMPT, stream=True))
        if not failed(response):
            break
        # The provider takes a request for another try only once it has noticed the hang-up. This
        # waits for that.
        assert len(mock.requests()) == tries

    assert tries == 2
    first, second = await books.events(secret)
    assert (first.status, first.usage_source) == ("upstream_error", "estimated")
    assert (second.status, second.usage_source) == ("ok", "provider")
    assert mock.verdict()["findings"] == []


async def test_a_stalled_stream_is_abandoned(
    gateway: Client, books: Books, mock: Mock, dialect: Dialect
) -> None:
    """By the route's own timeout; the provider would take half a minute."""
    mock.will({"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 30})
    provider = "anthropic" if dialect.name == "messages" else "openai"
    deployment = Deployment(
        deployment_id=f"stalling-{dialect.name}",
        model=f"{provider}/{dialect.model}",
        timeouts=Timeouts(between_bytes=0.3),
    )
    model = await add_route(books, deployment)
    secret = await books.add_key()

    body = {**dialect.body(_PROMPT, stream=True), "model": model}
    response = await gateway.post(dialect.path, secret, body)

    assert failed(response)
    event = await books.the_event(secret)
    assert (event.status, event.error_code) == ("upstream_error", "upstream_timeout")
    assert event.usage_source == "estimated"
    assert mock.verdict()["findings"] == []
