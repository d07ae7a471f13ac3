"""The provider stand-in as its own process, and the SDKs that call it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest

from tests.servers import HOST, ServerProcess, free_port, running

# No test waits this long; it bounds one that would hang.
PATIENCE_S = 20.0


class StandInProvider(NamedTuple):
    url: str
    log: Path
    http: httpx2.Client

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
        return self.http.post(path, json=body, headers={**AUTHORISED, **headers})

    def totals(self) -> dict[str, Any]:
        totals: dict[str, Any] = self.http.get("/_stand-in/totals").json()
        return totals

    def calls(self, after: int = 0, **query: int) -> dict[str, Any]:
        page: dict[str, Any] = self.http.get(
            "/_stand-in/calls", params={"after": after, **query}
        ).json()
        return page

    def last_seq(self) -> int:
        page = self.calls(limit=10_000)
        last: int = page["next"]
        return last


AUTHORISED = {"authorization": "Bearer key", "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInProvider]:
    directory = tmp_path_factory.mktemp("provider")
    port, log = free_port(), directory / "calls.jsonl"
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "deploy.local.provider", "--port", str(port)]
    with (
        running(ServerProcess(url, [*command, "--log", str(log)], port, directory)),
        httpx2.Client(base_url=url, timeout=PATIENCE_S) as http,
    ):
        yield StandInProvider(url, log, http)


@pytest.fixture
def openai_client(provider: StandInProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="key", base_url=f"{provider.url}/v1", max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture
def anthropic_client(provider: StandInProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="key", base_url=provider.url, max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client
