"""Proxies from the environment."""

from collections.abc import Iterator

import pytest

from services.gateway.upstream.proxies import proxy_for


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example,127.0.0.1")
    proxy_for.cache_clear()
    yield
    proxy_for.cache_clear()


@pytest.mark.parametrize(
    ("base_url", "proxy"),
    [
        ("https://api.openai.com/v1", "http://proxy:3128"),
        ("https://llm.internal.example/v1", None),
        ("http://127.0.0.1:8080/v1", None),
        # No proxy is set for plain HTTP.
        ("http://api.example/v1", None),
    ],
)
def test_the_environment_says_which_proxy(base_url: str, proxy: str | None) -> None:
    assert proxy_for(base_url) == proxy
