"""Calls of every kind that the dashboard tells apart."""

from itertools import count

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.servers import free_port

_RELAYED, _TRANSLATED = "openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"
_FALLS_BACK = "house/falls-back"


class Traffic:
    """Makes its accounts and its route at once; `round` makes one call of each kind."""

    def __init__(self, stack: LocalStack) -> None:
        info = stack.info
        self._client = StackClient(info.gateway_url, info.demo_api_key)
        self._stranger = StackClient(info.gateway_url, "no-such-key")
        self._admin = StackClient(info.admin_url, info.admin_api_key)
        self._guess = StackClient(info.admin_url, "no-such-key-of-an-admin")
        self._numbers = count()
        budget = {"limit_usd": 0, "period": "total"}
        self._admin.expect("POST", "/admin/accounts", {"user_id": "poor", "budget": budget})
        key = self._admin.expect("POST", "/admin/keys", {"user_id": "poor"})
        self._poor = StackClient(info.gateway_url, key["api_key"])
        # Nobody listens there, so that the first deployment fails and then cools down.
        away = f"http://127.0.0.1:{free_port()}/v1"
        deployments = [
            {"model": _RELAYED, "api_base": away},
            {"model": _TRANSLATED, "priority": 1},
        ]
        route = {"model": _FALLS_BACK, "deployments": deployments, "cooldown_after": 1}
        self._admin.expect("POST", "/admin/models", route)

    def round(self) -> None:
        for model in (_RELAYED, _TRANSLATED):
            self._client.expect("POST", "/v1/chat/completions", _chat(model))
            self._stream("/v1/chat/completions", _chat(model))
            self._stream("/v1/messages", {**_chat(model), "max_tokens": 50})
        self._client.expect("POST", "/v1/responses", {"model": _RELAYED, "input": "Hello"})
        self._client.expect("POST", "/v1/chat/completions", _chat(_FALLS_BACK))
        failing = _chat(_RELAYED, "[[stand-in status=500]] Hello")
        assert self._client.call("POST", "/v1/chat/completions", failing)[0] >= 500
        assert self._poor.call("POST", "/v1/chat/completions", _chat(_RELAYED))[0] == 429
        assert self._stranger.call("POST", "/v1/chat/completions", _chat(_RELAYED))[0] == 401
        assert self._guess.call("GET", "/admin/accounts")[0] in {401, 429}
        # A write invalidates what gateways keep.
        change = {"metadata": {"round": str(next(self._numbers))}}
        self._admin.call("PATCH", "/admin/accounts/poor", change)

    def try_a_call(self, text: str = "Hello") -> int:
        """Its status, whatever that is."""
        return self._client.call("POST", "/v1/chat/completions", _chat(_RELAYED, text))[0]

    def wait_for_a_slow_stream(self, delay_ms: int) -> None:
        slow = f"[[stand-in delay_ms={delay_ms}]] Hello"
        self._stream("/v1/chat/completions", _chat(_RELAYED, slow))

    def storm(self, calls: int) -> None:
        """Of an account whose budget is used up."""
        for _ in range(calls):
            assert self._poor.call("POST", "/v1/chat/completions", _chat(_RELAYED))[0] == 429

    def _stream(self, path: str, body: dict[str, object]) -> None:
        assert list(self._client.stream(path, {**body, "stream": True}))


def _chat(model: str, text: str = "Hello") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}
