from datetime import timedelta

import pytest

from libs.common.domain.access import (
    check_account,
    check_key,
    check_model,
    check_named_model,
    may_use,
)
from libs.common.errors import AccountSuspended, KeyExpired, KeyRevoked, ModelNotAllowed
from tests.unit.builders import NOW, account, api_key

_MS = timedelta(milliseconds=1)


def test_an_active_key_may_be_used() -> None:
    assert check_key(api_key(), NOW) is None
    assert check_key(api_key(expires_at=NOW + _MS), NOW) is None


@pytest.mark.parametrize("expires_at", [NOW, NOW - _MS])
def test_a_key_expires_exactly_at_its_expiry(expires_at: object) -> None:
    error = check_key(api_key(expires_at=expires_at), NOW)
    assert isinstance(error, KeyExpired)
    assert "expired at 2026-11-24T12:" in error.message


def test_a_revoked_key_is_refused_whether_expired_or_not() -> None:
    assert isinstance(check_key(api_key(status="revoked"), NOW), KeyRevoked)
    assert isinstance(check_key(api_key(status="revoked", expires_at=NOW), NOW), KeyRevoked)


def test_a_suspended_account_is_refused_by_name() -> None:
    assert check_account(account()) is None
    error = check_account(account("acme", status="suspended"))
    assert isinstance(error, AccountSuspended)
    assert "'acme'" in error.message


@pytest.mark.parametrize(
    ("allowed", "model", "may"),
    [
        (None, "gpt-4o", True),
        ((), "gpt-4o", False),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o*",), "gpt-4o-mini", True),
        (("openai/*",), "openai/gpt-4o", True),
        (("openai/*",), "anthropic/claude", False),
        (("claude-*", "gpt-?"), "gpt-5", True),
        (("*",), "anything/at:all", True),
        # Names of models are case-sensitive everywhere.
        (("GPT-4o",), "gpt-4o", False),
    ],
)
def test_a_key_may_use_the_models_that_its_patterns_match(
    allowed: tuple[str, ...] | None, model: str, may: bool
) -> None:
    key = api_key(allowed_models=allowed)
    assert may_use(key, model) == may
    error = check_model(key, model)
    assert (error is None) == may
    if error is not None:
        assert isinstance(error, ModelNotAllowed)
        assert error.param == "model"
        assert f"'{model}'" in error.message


@pytest.mark.parametrize(
    ("allowed", "providers", "may"),
    [
        (None, {"openai"}, True),
        (("opus",), {"anthropic"}, True),
        (("opus",), set(), True),
        (("anthropic/*",), {"anthropic"}, True),
        # Whichever of them reads the name, it has to be allowed.
        (("anthropic/*",), {"anthropic", "bedrock"}, False),
        (("anthropic/*", "bedrock/opus"), {"anthropic", "bedrock"}, True),
        (("anthropic/*",), set(), False),
        (("haiku",), {"anthropic"}, False),
        ((), {"anthropic"}, False),
    ],
)
def test_further_models_named_by_a_call_must_be_allowed(
    allowed: tuple[str, ...] | None, providers: set[str], may: bool
) -> None:
    error = check_named_model(
        api_key(allowed_models=allowed), "opus", providers, param="tools[0].model"
    )
    assert (error is None) == may
    if error is not None:
        assert isinstance(error, ModelNotAllowed)
        assert error.param == "tools[0].model"
        assert "'opus'" in error.message
        assert "'tools[0].model'" in error.message
