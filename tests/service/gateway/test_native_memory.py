"""A gateway that only meets formats of its own never pays for LiteLLM."""

from pathlib import Path

import psutil
import pytest

from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES
from tests.service.gateway.process import gateway_process
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.translation_calls import BODIES
from tests.service.gateway.translation_wire import ANTHROPIC_MESSAGE, CHAT_COMPLETION
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_RESIDENT_BYTES = 80 * 1024 * 1024


async def test_native_translations_import_no_litellm(
    settings_with: SettingsWith,
    upstream: Upstream,
    books: Books,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.answers("claude", ANTHROPIC_MESSAGE)
    endpoints.answers("gpt", CHAT_COMPLETION)
    claude = await add_route(books, deployment(upstream, "claude", "anthropic/claude-haiku-4-5"))
    gpt = await add_route(books, deployment(upstream, "gpt", "openai/gpt-4o", formats=("chat",)))
    secret = await books.add_key()
    log = tmp_path / "gateway.log"
    # Every import is a line of the log.
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    async with gateway_process(settings_with(), log) as (process, client):
        for dialect, route in ((CHAT, claude), (RESPONSES, claude), (MESSAGES, gpt)):
            body = {**BODIES[dialect.name], "model": route, "stream": False}
            response = await client.post(dialect.path, secret, body)
            assert response.status_code == 200, response.text
        running = psutil.Process(process.pid)
        resident = sum(
            each.memory_info().rss for each in (running, *running.children(recursive=True))
        )

    text = log.read_text()
    assert "services.gateway.upstream.translation" in text
    assert "litellm" not in text
    assert resident < MAX_RESIDENT_BYTES
