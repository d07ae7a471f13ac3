"""Failures raise in the newest SDKs what they raise without the gateway, or what they mean."""

from collections.abc import Mapping
from typing import Any

import pytest

from deploy.local.stack import LocalStack
from tests.e2e.sdk.conftest import NewKey, RunScript

FORMATS = ("chat", "responses", "messages")
OWN = {"chat": "gpt-4o-mini", "responses": "gpt-4o-mini", "messages": "claude-haiku-4-5"}
OTHERS = {
    "chat": "anthropic/claude-haiku-4-5",
    "responses": "anthropic/claude-haiku-4-5",
    "messages": "openai/gpt-4o-mini",
}
# What the gateway tries again, or elsewhere, ends the same way.
STATUSES = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def case(name: str, client_format: str, url: str, key: str, **fields: Any) -> dict[str, Any]:
    defaults = {"model": OWN.get(client_format, "gpt-4o-mini"), "prompt": "Hello"}
    return {"name": name, "format": client_format, "url": url, "key": key, **defaults, **fields}


@pytest.fixture(scope="module")
def key(new_key: NewKey) -> str:
    return new_key()


def test_a_providers_errors_are_the_same(
    stack: LocalStack, run_script: RunScript, key: str
) -> None:
    def cases(url: str, secret: str, models: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            case(
                f"{client_format} {status}",
                client_format,
                url,
                secret,
                model=models[client_format],
                prompt=f"[[stand-in status={status}]] Hello",
            )
            for client_format in FORMATS
            for status in STATUSES
        ]

    direct = run_script("errors.py", cases(stack.info.provider_url, "any", OWN))
    gateway = stack.gateway_urls[0]

    assert {row["status"] for row in direct.values()} == set(STATUSES)
    # Over these, some of OpenAI's clients send the whole prompt six times.
    expected = direct | {
        f"{client_format} {status}": {"class": "BadRequestError", "status": 400}
        for client_format in ("chat", "responses")
        for status in (413, 422)
    }
    assert run_script("errors.py", cases(gateway, key, OWN)) == expected
    # Anthropic's word for a service that has no room.
    overloaded = {"messages 503": {"class": "OverloadedError", "status": 529}}
    assert run_script("errors.py", cases(gateway, key, OTHERS)) == expected | overloaded


def test_the_gateways_own_errors(stack: LocalStack, run_script: RunScript, new_key: NewKey) -> None:
    keys = {
        "unknown key": "sk-gw-unknown",
        "model not allowed": new_key(allowed_models=["nothing-*"]),
        "unknown model": new_key(),
        "nothing asked": new_key(),
        "budget": new_key({"budget": {"limit_usd": 0, "period": "total"}}),
        "rate": new_key({"limits": {"requests_per_minute": 1}}),
    }
    url = stack.gateway_urls[0]
    cases = [
        case(f"{client_format} {cause}", client_format, url, secret, **_extra(cause, client_format))
        for client_format in FORMATS
        for cause, secret in keys.items()
    ]
    secret = new_key(allowed_models=["gpt-*"])
    cases += [
        case("model known", "model", url, secret),
        case("model unknown", "model", url, secret, model="no/such/model"),
        case("model not allowed", "model", url, secret, model="claude-haiku-4-5"),
        case("embeddings", "embeddings", url, secret, model="text-embedding-3-small"),
        case("response", "response", url, secret, prompt="resp_of_somebody_else"),
    ]

    errors = {name: tuple(row.values()) for name, row in run_script("errors.py", cases).items()}

    for client_format in FORMATS:
        budget = ("RateLimitError", 429)
        if client_format == "messages":
            budget = ("PaymentRequiredError", 402)
        # Of the account's one request a minute the first format has made use.
        rate = (None, 200) if client_format == FORMATS[0] else ("RateLimitError", 429)
        for cause, expected in {
            "unknown key": ("AuthenticationError", 401),
            "model not allowed": ("PermissionDeniedError", 403),
            "unknown model": ("NotFoundError", 404),
            "nothing asked": ("BadRequestError", 400),
            "budget": budget,
            "rate": rate,
        }.items():
            assert errors[f"{client_format} {cause}"] == expected, cause
    assert errors["model known"] == (None, 200)
    assert errors["model unknown"] == errors["model not allowed"] == ("NotFoundError", 404)
    assert errors["embeddings"] == ("PermissionDeniedError", 403)
    assert errors["response"] == ("NotFoundError", 404)


def _extra(cause: str, client_format: str) -> dict[str, str]:
    if cause == "unknown model":
        return {"model": "no-such-model"}
    if cause == "nothing asked":
        # What a translation carries is refused by name.
        return {"model": OTHERS[client_format], "prompt": "[[stand-in misspelt]]"}
    return {}
