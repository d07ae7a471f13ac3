"""Secrets go, what only looks like one stays, and JSON stays JSON."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.redaction import MARKER, redact

PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/=\n"
    "-----END RSA PRIVATE KEY-----"
)
SECRETS = {
    "openai": "sk-proj-Ab12_Cd34-Ef56Gh78Ij90",
    "openai, older": "sk-" + "aB3" * 16,
    "anthropic": "sk-ant-api03-" + "Zy9_" * 20 + "-AAAA",
    "gateway": "sk-gw-JlUyyPcYdaSqgzp3VyY7hLrL_XlUvo6EmKFuQ1JCFYE",
    "aws id": "AKIAIOSFODNN7EXAMPLE",
    "aws session id": "ASIAIOSFODNN7EXAMPLE",
    "google": "AIza" + "Sy_-4" * 7,
    "google oauth": "ya29.a0AfH6SMBx1-2_3y4z5A6b7C8d9E0",
    "google client": "GOCSPX-1a2b3c4d5e6f7g8h9i0jklmn",
    "github": "ghp_" + "a1B2" * 9,
    "github app": "ghs_" + "a1B2" * 9,
    "github fine-grained": "github_pat_11ABCDEFG0_" + "a1B2c3" * 8,
    "gitlab": "glpat-1234567890abcdefGHIJ",
    "slack bot": "xoxb-123456789012-abcdefABCDEF",
    "slack user": "xoxp-123456789012-abcdefABCDEF",
    "slack app": "xapp-1-A0123456-abcdef",
    "slack cookie": "xoxe.xoxp-1-Mi0yLTEyMzQ1Njc4OTA",
    "stripe": "sk_live_" + "a1B2" * 6,
    "groq": "gsk_" + "a1B2" * 12,
    "hugging face": "hf_" + "AbCd" * 9,
    "npm": "npm_" + "AbC1" * 9,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpMeJf36",
    "pem": PEM,
    "pem without end": PEM[:60],
}
HARMLESS = [
    "task-force-management-and-desk-research",
    "risk-adjusted-return-on-capital",
    "sk-learn-contrib-extra-components",
    "the password is changed every month, and the secret: none",
    "chatcmpl-9aBcDeFgHiJkLmNoPqRsTuVwXyZ12",
    "resp_68a1b2c3d4e5f60718293a4b5c6d7e8f",
    "toolu_01A09q90qw90lq917835lq9",
    "0193a5b2-7e1c-7f00-8000-0123456789ab",
    "a basic understanding, and a bearer of good news",
    "Basic understanding",
    "https://example.org:8443/path?user=me@example.org",
    "mailto://someone@example.org",
    "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMIID\n-----END PUBLIC KEY-----",
    "max_tokens=256; total_tokens = 123456",
    "AKIA is the start of a key, eyJ of a token",
    "keyboard=querty-layout",
]
MEMBERS: list[dict[str, Any]] = [
    {"password": "hunter2"},
    {"db_passwd": "x"},
    {"Authorization": "whatever it says"},
    {"api_key": "abc"},
    {"X-Api-Key": "abc"},
    {"apiKey": "a\\"},
    {"clientSecret": 'with "quotes" and \\ and \n'},
    {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
    {"private_key": "anything"},
    {"access_token": "0123456789abcdef"},
    {"refreshToken": "1//0gLongEnoughToBeOne"},
    {"Set-Cookie": "session=1"},
]
HARMLESS_MEMBERS: list[dict[str, Any]] = [
    {"max_tokens": 100, "total_tokens": 5, "tokens": "one two three four five"},
    {"token": " Hello", "logprob": -0.31, "bytes": [32, 72]},
    {"type": "password", "key": "value-of-sixteen-chars"},
    {"required": ["password", "secret"], "properties": {"password": {"type": "string"}}},
    {"password": "", "secret": None, "api_key": 5},
    {"keyboard": "the-usual-one-of-them", "monkey": "a"},
]


AROUND = ["{}", "My key:\n{}\nKeep it.", '"{}"', "a={};b", "({}),", "é{}", "\t{}"]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_are_redacted(secret: str) -> None:
    for around, depth in product(AROUND, range(3)):
        text: Any = around.format(secret)
        for _ in range(depth):
            text = json.dumps({"role": "user", "content": text})
        redacted = redact(text.encode()).decode()
        assert MARKER.decode() in redacted
        for part in (secret, secret.splitlines()[-1], secret[:24]):
            assert part not in redacted
        for _ in range(depth):
            redacted = json.loads(redacted)["content"]
        if secret != SECRETS["pem without end"]:
            assert redacted == around.format(MARKER.decode())


@pytest.mark.parametrize("text", HARMLESS)
def test_lookalikes_of_secrets_are_kept(text: str) -> None:
    for body in (text, json.dumps({"content": text}), json.dumps(json.dumps({"content": text}))):
        assert redact(body.encode()).decode() == body


@pytest.mark.parametrize("members", MEMBERS, ids=str)
def test_members_with_a_sensitive_name_are_redacted(members: dict[str, Any]) -> None:
    (name,) = members
    for depth in range(4):
        text = json.dumps({"before": "a", **members, "after": "b"})
        for _ in range(depth):
            text = json.dumps({"arguments": text})
        redacted = redact(text.encode()).decode()
        for _ in range(depth):
            redacted = json.loads(redacted)["arguments"]
        assert json.loads(redacted) == {"before": "a", name: MARKER.decode(), "after": "b"}, depth


@pytest.mark.parametrize("members", HARMLESS_MEMBERS, ids=str)
def test_other_members_are_kept(members: dict[str, Any]) -> None:
    text = json.dumps(members)
    for _ in range(3):
        assert redact(text.encode()).decode() == text
        text = json.dumps({"arguments": text})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcDEF0123456789xyz.", "Authorization: Bearer [redacted]"),
        ("curl -H 'x: basic dXNlcjpwYXNzd29yZA=='", "curl -H 'x: basic [redacted]'"),
        ("export DB_PASSWORD=hunter22 PORT=5432", "export DB_PASSWORD=[redacted] PORT=5432"),
        ("api_key = 'abcdef'", "api_key = '[redacted]'"),
        ("mongodb://app:pa55w0rd@db/x", "mongodb://app:[redacted]@db/x"),
        (
            "https://hooks.slack.com/services/T0/B0/xyz",
            "https://hooks.slack.com/services/[redacted]",
        ),
    ],
)
def test_only_the_secret_of_a_phrase_is_redacted(text: str, left: str) -> None:
    assert redact(text.encode()).decode() == left
    assert json.loads(redact(json.dumps({"said": text}).encode())) == {"said": left}


@pytest.mark.parametrize(
    "text",
    ['{"password": "cut off in the mid', '{"a": "{\\"password\\": \\"cut off', '{"password": "x\\'],
)
def test_an_unterminated_value_is_redacted_to_the_end(text: str) -> None:
    redacted = redact(text.encode())
    assert b"cut" not in redacted
    assert MARKER in redacted


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("AWS_SECRET_ACCESS_KEY=wJalr/K7MDENG/bPxRfiCY", "AWS_SECRET_ACCESS_KEY=[redacted]"),
        ("Authorization: Basic dXNlcjpwYXNzd29y/ZA==", "Authorization: Basic [redacted]"),
        ("redis://:pa55w0rd@cache/0", "redis://:[redacted]@cache/0"),
    ],
)
def test_secrets_with_escaped_slashes_are_redacted(text: str, left: str) -> None:
    body = json.dumps({"said": text}).replace("/", "\\/")
    assert json.loads(redact(body.encode())) == {"said": left}


def test_a_secret_hidden_by_another_is_redacted() -> None:
    assert redact(f"{PEM}{SECRETS['openai']}".encode()) == MARKER * 2


_PIECES = st.sampled_from(
    [
        *SECRETS.values(),
        *HARMLESS,
        *('"', "\\", '\\"', '":"', '": "', ":", "=", " ", "\n", "/", "@", "://u:", "-"),
        *("password", "secret", "api_key", "token", "Bearer ", "sk-", "eyJ", "[redacted]", "é"),
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "AKIA", "A1b2C3d4" * 3),
    ]
)
_TEXTS = st.lists(_PIECES | st.text(max_size=4), max_size=12).map("".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=200) | _TEXTS.map(str.encode))
def test_redaction_accepts_any_bytes_and_is_idempotent(text: bytes) -> None:
    redacted = redact(text)
    assert redact(redacted) == redacted
    # At worst a value of one letter behind the shortest name.
    assert len(redacted) <= 3 * len(text) + len(MARKER)


@given(_VALUES, st.integers(0, 2), st.booleans())
def test_json_stays_json(value: Any, depth: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    for _ in range(depth):
        text = json.dumps({"arguments": text}, ensure_ascii=ascii_only)
    redacted = json.loads(redact(text.encode("utf-8", "replace")))
    if depth:
        assert set(redacted) == {"arguments"}
