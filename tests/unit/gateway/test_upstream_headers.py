"""Which headers pass between client and provider."""

from typing import get_args

import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.sent_headers import sent_headers
from services.gateway.formats import FORMATS as TABLE
from services.gateway.upstream.headers import request_headers, response_headers

FORMATS: dict[str, ClientFormat] = {"openai": "chat", "anthropic": "messages"}


def sent_to(
    provider: str,
    *client_headers: tuple[str, str],
    key: str | None = "provider-key",
    further: str = "",
) -> list[tuple[str, str]]:
    raw = [(name.lower().encode(), value.encode()) for name, value in client_headers]
    client_format = FORMATS[provider]
    names = sent_headers(further)[client_format]
    headers = request_headers(names, TABLE[client_format].headers, key, raw, "call-1")
    return sorted((name.decode(), value.decode()) for name, value in headers)


OWN = [
    ("accept-encoding", "identity"),
    ("authorization", "Bearer provider-key"),
    ("content-type", "application/json"),
    ("x-request-id", "call-1"),
]


ANTHROPICS_OWN = [
    ("accept-encoding", "identity"),
    ("anthropic-version", "2023-06-01"),
    ("content-type", "application/json"),
    ("x-api-key", "provider-key"),
    ("x-request-id", "call-1"),
]
TO_EVERY_PROVIDER = [
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "0"),
    ("user-agent", "SDK/1"),
    ("accept", "application/json"),
]
TO_ONE_PROVIDER = [
    ("openai", ("openai-beta", "x")),
    ("openai", ("originator", "codex_cli_rs")),
    ("openai", ("x-client-request-id", "1")),
    ("anthropic", ("anthropic-beta", "a,b")),
    ("anthropic", ("anthropic-dangerous-direct-browser-access", "true")),
    ("anthropic", ("x-app", "cli")),
]
TO_NO_PROVIDER = [
    ("authorization", "Bearer client-secret"),
    ("x-api-key", "client-secret"),
    ("api-key", "client-secret"),
    ("cookie", "session=1"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
    ("proxy-authorization", "Basic x"),
    ("proxy-connection", "keep-alive"),
    ("te", "trailers"),
    ("trailer", "x"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("host", "gateway"),
    ("content-length", "5"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-encoding", "gzip"),
    ("accept-encoding", "gzip, br, zstd"),
    ("expect", "100-continue"),
    ("x-request-id", "theirs"),
    ("request-id", "theirs"),
    ("forwarded", "for=1.2.3.4"),
    ("x-forwarded-for", "1.2.3.4"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "1.2.3.4"),
    ("via", "1.1 proxy"),
    ("origin", "https://app.example"),
    # Whose account is charged, and whose things are used, is the operator's to say.
    ("openai-organization", "org"),
    ("openai-project", "proj"),
    ("chatgpt-account-id", "acc"),
    ("anthropic-workspace-id", "wrkspc"),
    ("anthropic-organization-id", "org"),
    ("anthropic-user-profile-id", "uprof"),
    ("anthropic-worker-id", "w"),
    # Accounts share the provider's key: one could be given what another has asked.
    ("idempotency-key", "k"),
    ("x-idempotency-key", "k"),
    # The client's own network and its users.
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "a=b"),
    ("baggage", "user=alice"),
    ("b3", "1-2-1"),
    ("x-b3-traceid", "1"),
    ("uber-trace-id", "1:2:3:1"),
    ("x-amzn-trace-id", "Root=1"),
    ("x-cloud-trace-context", "1/2"),
    ("x-datadog-trace-id", "1"),
    ("sentry-trace", "1-2"),
    ("x-internal-token", "t"),
    ("x-auth-request-user", "alice"),
    ("x-auth-request-access-token", "t"),
    ("x-amz-security-token", "t"),
    ("x-goog-iap-jwt-assertion", "t"),
    ("x-gateway-deployment", "a"),
    ("x-unheard-of", "1"),
    # Codex and Claude Code name their sessions and workspaces.
    ("session_id", "s"),
    ("session-id", "s"),
    ("conversation_id", "c"),
    ("thread-id", "t"),
    ("x-codex-turn-metadata", "{}"),
    ("x-codex-turn-state", "s"),
    ("x-codex-window-id", "w"),
    ("x-openai-subagent", "review"),
    ("x-claude-code-session-id", "s"),
]


@pytest.mark.parametrize("header", TO_EVERY_PROVIDER, ids=lambda header: header[0])
def test_forwarded_headers(header: tuple[str, str]) -> None:
    assert sent_to("openai", header) == sorted([*OWN, header])
    assert sent_to("anthropic", header) == sorted([*ANTHROPICS_OWN, header])


@pytest.mark.parametrize(("provider", "header"), TO_ONE_PROVIDER)
def test_headers_forwarded_to_one_provider(provider: str, header: tuple[str, str]) -> None:
    own = {"openai": OWN, "anthropic": ANTHROPICS_OWN}
    (other,) = own.keys() - {provider}
    assert sent_to(provider, header) == sorted([*own[provider], header])
    assert sent_to(other, header) == own[other]


@pytest.mark.parametrize("header", TO_NO_PROVIDER, ids=lambda header: header[0])
def test_dropped_headers(header: tuple[str, str]) -> None:
    assert sent_to("openai", header) == OWN
    assert sent_to("anthropic", header) == ANTHROPICS_OWN


def test_every_format_has_its_header_names() -> None:
    assert sent_headers().keys() == set(get_args(ClientFormat))


def test_an_operator_can_forward_further_headers() -> None:
    further = "X-Tenant, openai-project,"
    tenant, project = ("x-tenant", "a"), ("openai-project", "b")
    assert sent_to("openai", tenant, project, further=further) == sorted([*OWN, tenant, project])
    assert tenant in sent_to("anthropic", tenant, further=further)


@pytest.mark.parametrize(
    "further",
    [
        *("authorization", "x-api-key", "API-Key", "cookie", "host", "content-length"),
        *("idempotency-key", "baggage", "connection", "x-request-id", "x-gateway-deployment"),
        *("two words", "line\nbreak", "caf\u00e9", "x" * 65),
    ],
)
def test_some_headers_cannot_be_forwarded_by_a_setting(further: str) -> None:
    with pytest.raises(ValueError, match=r"never sent|header names"):
        sent_headers(f"x-tenant, {further}")


def test_a_hop_by_hop_header_is_dropped() -> None:
    connection, kept = ("connection", "close, OpenAI-Beta"), ("user-agent", "SDK/1")

    assert sent_to("openai", connection, ("openai-beta", "1"), kept) == sorted([*OWN, kept])


def test_a_repeated_header_arrives_twice() -> None:
    betas = [("anthropic-beta", "a"), ("anthropic-beta", "b")]

    assert [pair for pair in sent_to("anthropic", *betas) if pair[0] == "anthropic-beta"] == betas


def test_anthropic_gets_x_api_key_and_a_version() -> None:
    headers = sent_to("anthropic", ("authorization", "Bearer client-secret"))

    assert ("x-api-key", "provider-key") in headers
    assert ("anthropic-version", "2023-06-01") in headers
    assert "authorization" not in dict(headers)


def test_the_clients_version_is_kept() -> None:
    headers = sent_to("anthropic", ("anthropic-version", "2026-10-21"))

    assert [pair for pair in headers if pair[0] == "anthropic-version"] == [
        ("anthropic-version", "2026-10-21")
    ]


def test_an_endpoint_without_a_key_gets_no_credential() -> None:
    headers = [("authorization", "Bearer client-secret"), ("x-api-key", "client-secret")]
    for name in FORMATS:
        assert not {"authorization", "x-api-key"} & set(dict(sent_to(name, *headers, key=None)))


RETURNED = [
    ("content-type", "application/json"),
    ("retry-after", "3"),
    ("retry-after-ms", "3000"),
    ("x-should-retry", "false"),
    ("openai-model", "gpt-4o"),
    ("openai-poll-after-ms", "100"),
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("x-reasoning-included", "true"),
    ("deprecation", "@1764374400"),
    ("sunset", "Mon, 30 Nov 2026 00:00:00 GMT"),
    ("warning", "299 - deprecated"),
]
NOT_RETURNED = [
    ("connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("content-length", "5"),
    ("content-encoding", "identity"),
    ("server", "cloudflare"),
    ("date", "today"),
    ("via", "1.1 edge"),
    ("alt-svc", "h3"),
    ("cache-control", "private"),
    ("strict-transport-security", "max-age=1"),
    ("access-control-allow-origin", "*"),
    ("set-cookie", "__cf=1"),
    ("x-request-id", "theirs"),
    ("request-id", "theirs"),
    ("location", "http://inside"),
    ("www-authenticate", "Bearer"),
    ("x-gateway-model", "theirs"),
    # They describe the operator's account.
    ("openai-organization", "ours"),
    ("openai-project", "ours"),
    ("anthropic-organization-id", "ours"),
    ("anthropic-workspace-id", "ours"),
    ("x-ratelimit-remaining-requests", "5"),
    ("anthropic-ratelimit-tokens-limit", "5"),
    ("anthropic-priority-input-tokens-limit", "5"),
    ("anthropic-fast-input-tokens-limit", "5"),
    ("x-codex-primary-used-percent", "50"),
    ("x-codex-turn-state", "s"),
    ("cf-ray", "1"),
    ("cf-cache-status", "DYNAMIC"),
    ("x-openai-proxy-wasm", "v0.1"),
    ("x-envoy-upstream-service-time", "1"),
    ("x-unheard-of", "1"),
]


@pytest.mark.parametrize("header", RETURNED, ids=lambda header: header[0])
def test_answer_headers_the_client_gets(header: tuple[str, str]) -> None:
    name, value = header[0].encode(), header[1].encode()
    assert response_headers([(name.title(), value)]) == [(name, value)]


@pytest.mark.parametrize("header", NOT_RETURNED, ids=lambda header: header[0])
def test_answer_headers_the_client_does_not_get(header: tuple[str, str]) -> None:
    name, value = header[0].encode(), header[1].encode()
    assert response_headers([(name.title(), value)]) == []


def test_a_hop_by_hop_header_of_an_answer_is_dropped() -> None:
    headers = [(b"Connection", b"Retry-After"), (b"Retry-After", b"3"), (b"Sunset", b"now")]
    assert response_headers(headers) == [(b"sunset", b"now")]
