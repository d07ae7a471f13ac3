"""What the audit log keeps of bodies and answers."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.admin.audit.contents import kept_answer, kept_body

SECRETS = [
    "sk-gw-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg",
    "sk-admin-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg",
    "Bearer AbCdEfGhIjKlMnOp0123",
    "https://user:hunter22@example.com/",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_by_its_form_at_any_depth(secret: str) -> None:
    kept = kept_body(json.dumps({"metadata": {"a": [{"note": f"x {secret}"}]}}).encode())
    assert kept is not None
    assert "[redacted]" in kept
    assert secret.removeprefix("Bearer ") not in kept
    assert "hunter22" not in kept


@pytest.mark.parametrize(
    "name",
    [
        "old_secret",
        "client_secrets",
        "api_key",
        "admin_key",
        "secret",
        "secrets",
        "Authorization",
        "password",
        "token",
    ],
)
def test_a_secret_is_found_by_its_name(name: str) -> None:
    kept = kept_body(json.dumps({"deep": {name: "short"}}).encode())
    assert kept == f'{{"deep":{{"{name}":"[redacted]"}}}}'


def test_harmless_text_stays() -> None:
    body = b'{"credential":"env:OTHER_KEY","tokens_per_minute":5,"limit_usd":0.1234567890123456789}'
    assert kept_body(body) == body.decode()


class View(msgspec.Struct):
    user_id: str
    rate: Decimal
    spend: dict[str, int] = {}


def test_amounts_are_exact_and_what_changes_by_itself_is_left_out() -> None:
    kept = kept_answer(View("a", Decimal("0.000000800000000000001"), {"total": 1}))
    assert kept == '{"user_id":"a","rate":0.000000800000000000001}'


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b" " * 300_000 + b"}",
        json.dumps({"a": "x" * 20_000}).encode(),
        b"\xff\xfe",
        b"{",
        b"[" * 5_000,
        b'"\\ud800"',
    ],
)
def test_a_large_or_non_json_body_is_kept_as_its_size(body: bytes) -> None:
    kept: dict[str, Any] = json.loads(kept_body(body) or "null")
    assert set(kept) == {"omitted_bytes", "sha256"}


def test_an_empty_body_is_not_kept() -> None:
    assert kept_body(b"") is None
    assert json.loads(kept_body(b"[" * 60 + b"]" * 60) or "") is not None
