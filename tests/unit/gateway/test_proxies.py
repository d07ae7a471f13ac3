"""Proxies from the environment."""

import pytest

from services.gateway.upstream.http.environment_proxies import proxy_for


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example,127.0.0.1")


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("https://api.openai.com/v1", "http://proxy:3128"),
        ("https://llm.internal.example/v1", None),
        ("http://127.0.0.1:8080/v1", None),
        # No proxy is set for plain HTTP.
        ("http://api.example/v1", None),
    ],
)
def test_the_environment_selects_the_proxy(address: str, proxy: str | None) -> None:
    assert proxy_for(address) == proxy
