"""Decides who may call which model. A refusal is a value: the client's error."""

from collections.abc import Collection
from datetime import datetime
from fnmatch import fnmatchcase

from libs.common.errors import (
    AccountSuspended,
    AppError,
    KeyExpired,
    KeyRevoked,
    ModelNotAllowed,
)
from libs.common.schemas.account import Account
from libs.common.schemas.key import ApiKey


def check_key(key: ApiKey, now: datetime) -> AppError | None:
    """`key` is the key for the holder of this secret (`rotation.held_by`)."""
    if key.status != "active":
        return KeyRevoked("This API key has been revoked. Ask your administrator for a new one.")
    if key.expires_at is not None and key.expires_at <= now:
        if any(key.secret_hash == old.secret_hash for old in key.old_secrets):
            return KeyExpired(
                f"This secret was replaced, and worked until "
                f"{key.expires_at.isoformat()}. Use the new one, or ask your administrator for it."
            )
        return KeyExpired(
            f"This API key expired at {key.expires_at.isoformat()}. "
            "Ask your administrator for a new one."
        )
    return None


def check_account(account: Account) -> AppError | None:
    if account.status != "active":
        return AccountSuspended(
            f"Account '{account.user_id}' is {account.status}. "
            "Ask your administrator to reactivate it."
        )
    return None


def check_model(key: ApiKey, model: str) -> AppError | None:
    """`model` is the name that the client sent."""
    if may_use(key, model):
        return None
    return ModelNotAllowed(
        f"This API key may not use the model '{model}'. GET /v1/models lists those it may use.",
        param="model",
    )


def check_named_model(
    key: ApiKey, model: str, providers: Collection[str], *, param: str
) -> AppError | None:
    """For a model that a call names beside its own, in the field `param`.

    One of `providers` will get the name. So the key must allow the bare name, or `provider/name`
    for every provider.
    """
    if may_use(key, model):
        return None
    if providers and all(may_use(key, f"{provider}/{model}") for provider in providers):
        return None
    return ModelNotAllowed(
        f"This API key may not use the model '{model}', which '{param}' names. "
        "GET /v1/models lists those it may use.",
        param=param,
    )


def may_use(key: ApiKey, model: str) -> bool:
    """`allowed_models` holds names and shell-style patterns such as `gpt-4o*`."""
    if key.allowed_models is None:
        return True
    return any(fnmatchcase(model, pattern) for pattern in key.allowed_models)
