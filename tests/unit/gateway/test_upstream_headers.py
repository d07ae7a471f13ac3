"""Which of the client's headers reach a provider."""

import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.headers import request_headers, response_headers

FORMATS: dict[str, ClientFormat] = {"openai": "chat", "anthropic": "messages"}


def sent(
    provider: str, *given: tuple[str, str], key: str | None = "provider-key"
) -> list[tuple[str, str]]:
    raw = [(name.lower().encode(), value.encode()) for name, value in given]
    headers = request_headers(FORMATS[provider], key, raw, "call-1")
    return sorted((name.decode(), value.decode()) for name, value in headers)


OWN = [
    ("accept-encoding", "identity"),
    ("authorization", "Bearer provider-key"),
    ("content-type", "application/json"),
    ("x-request-id", "call-1"),
]


@pytest.mark.parametrize(
    "header",
    [
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", "a,b"),
        ("openai-organization", "org"),
        ("openai-beta", "x"),
        ("x-stainless-lang", "python"),
        ("user-agent", "SDK/1"),
        ("accept", "application/json"),
        ("idempotency-key", "k"),
        ("x-unheard-of", "1"),
    ],
)
def test_headers_that_cross(header: tuple[str, str]) -> None:
    assert sent("openai", header) == sorted([*OWN, header])


@pytest.mark.parametrize(
    "header",
    [
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
    ],
)
def test_headers_that_do_not_cross(header: tuple[str, str]) -> None:
    assert sent("openai", header) == OWN


def test_a_header_that_the_connection_names_ends_with_it() -> None:
    named = ("connection", "close, X-Hop")

    assert sent("openai", named, ("x-hop", "1"), ("x-kept", "2")) == sorted([*OWN, ("x-kept", "2")])


def test_a_header_that_is_sent_twice_arrives_twice() -> None:
    betas = [("anthropic-beta", "a"), ("anthropic-beta", "b")]

    assert [pair for pair in sent("anthropic", *betas) if pair[0] == "anthropic-beta"] == betas


def test_anthropic_gets_its_own_kind_of_credential_and_a_version() -> None:
    headers = sent("anthropic", ("authorization", "Bearer client-secret"))

    assert ("x-api-key", "provider-key") in headers
    assert ("anthropic-version", "2023-06-01") in headers
    assert "authorization" not in dict(headers)


def test_the_clients_version_is_kept() -> None:
    headers = sent("anthropic", ("anthropic-version", "2026-10-21"))

    assert [pair for pair in headers if pair[0] == "anthropic-version"] == [
        ("anthropic-version", "2026-10-21")
    ]


def test_an_endpoint_that_needs_no_key_is_sent_none() -> None:
    headers = [("authorization", "Bearer client-secret"), ("x-api-key", "client-secret")]
    for name in FORMATS:
        assert not {"authorization", "x-api-key"} & set(dict(sent(name, *headers, key=None)))


def test_headers_that_the_client_gets() -> None:
    kept = [
        (b"content-type", b"application/json"),
        (b"openai-processing-ms", b"12"),
        (b"openai-version", b"2020-10-01"),
        (b"retry-after", b"3"),
        (b"x-should-retry", b"false"),
        (b"x-unheard-of", b"1"),
    ]
    dropped = [
        (b"Connection", b"X-Hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"identity"),
        (b"Set-Cookie", b"__cf=1"),
        (b"Server", b"cloudflare"),
        (b"Date", b"today"),
        (b"X-Request-Id", b"theirs"),
        (b"Request-Id", b"theirs"),
        (b"CF-Ray", b"1"),
        (b"OpenAI-Organization", b"ours"),
        (b"Anthropic-Organization-Id", b"ours"),
        (b"X-RateLimit-Remaining-Requests", b"5"),
        (b"Anthropic-RateLimit-Tokens-Limit", b"5"),
    ]

    assert response_headers([(name.title(), value) for name, value in kept] + dropped) == kept
