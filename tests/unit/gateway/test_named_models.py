"""The models that a request names beside its own, wherever they stand, however they are spelt."""

import json
from typing import Any

import pytest

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL
from libs.common.errors import InvalidRequest
from services.gateway.formats import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from services.gateway.formats.base import Format
from services.gateway.formats.named_models import NamedModel


def models_in(client_format: Format, **fields: Any) -> tuple[NamedModel, ...]:
    return client_format.decode(json.dumps({"model": "m", **fields}).encode()).models


def beside(path: str, name: str, uses: int = 3, **settings: Any) -> NamedModel:
    return NamedModel(path=path, name=name, uses=uses, **settings)


def instead(path: str, name: str, **settings: Any) -> NamedModel:
    return NamedModel(path=path, name=name, instead=True, uses=3, **settings)


ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "a"}
TURNS = [{"role": "user", "content": 'Which "model": "x"? {"models": ["y"]}'}]


@pytest.mark.parametrize(
    ("client_format", "fields", "found"),
    [
        (MESSAGES, {"tools": [{"name": "f"}, ADVISOR]}, [beside("tools[1].model", "a")]),
        (
            MESSAGES,
            {"tools": [{**ADVISOR, "max_uses": 2, "max_tokens": 500}]},
            [beside("tools[0].model", "a", 2, max_tokens=500)],
        ),
        (
            MESSAGES,
            {"fallbacks": [{"model": "a"}, {"model": "b", "max_tokens": 7, "speed": "fast"}]},
            [
                instead("fallbacks[0].model", "a"),
                instead("fallbacks[1].model", "b", max_tokens=7, fast=True),
            ],
        ),
        (MESSAGES, {"fallbacks": None}, []),
        (MESSAGES, {"fallbacks": []}, []),
        (CHAT, {"models": ["a", "b"]}, [instead("models[0]", "a"), instead("models[1]", "b")]),
        (CHAT, {"models": "a"}, [instead("models", "a")]),
        # A gateway of LiteLLM's takes these.
        (
            CHAT,
            {"fallbacks": ["a", {"m": ["b"]}], "context_window_fallbacks": [{"m": ["c"]}]},
            [
                instead("fallbacks[0]", "a"),
                instead("fallbacks[1].m[0]", "b"),
                instead("context_window_fallbacks[0].m[0]", "c"),
            ],
        ),
        (CHAT, {"moderation": {"model": "a"}}, [beside("moderation.model", "a")]),
        (CHAT, {"reasoning_model": "a"}, [beside("reasoning_model", "a")]),
        (CHAT, {"plugins": [{"id": "x", "models": ["a"]}]}, [beside("plugins[0].models[0]", "a")]),
        # Some servers read names without regard to capitals.
        (CHAT, {"Model": "a", "MODELS": ["b"]}, [instead("Model", "a"), instead("MODELS[0]", "b")]),
        (
            RESPONSES,
            {"tools": [{"type": "image_generation", "model": "a"}]},
            [beside("tools[0].model", "a")],
        ),
        (
            RESPONSES,
            {"tools": [{"type": "image_generation"}]},
            [beside("tools[0].model", DEFAULT_IMAGE_MODEL)],
        ),
        (
            RESPONSES,
            {"tools": [{"type": "image_generation", "model": None, "svg": {"model": "a"}}]},
            [beside("tools[0].model", DEFAULT_IMAGE_MODEL), beside("tools[0].svg.model", "a")],
        ),
        (
            RESPONSES,
            {"input": [{"type": "additional_tools", "tools": [{"type": "image_generation"}]}]},
            [beside("input[0].tools[0].model", DEFAULT_IMAGE_MODEL)],
        ),
        (EMBEDDINGS, {"input": "x", "models": ["a"]}, [instead("models[0]", "a")]),
    ],
)
def test_model_names_are_found_with_their_paths(
    client_format: Format, fields: dict[str, Any], found: list[NamedModel]
) -> None:
    assert list(models_in(client_format, **{"messages": [], "max_tokens": 5, **fields})) == found


@pytest.mark.parametrize(
    ("client_format", "fields"),
    [
        (CHAT, {"messages": TURNS}),
        (CHAT, {"metadata": {"model": "phone"}}),
        (CHAT, {"tools": [{"type": "function", "function": {"parameters": {"model": "x"}}}]}),
        (CHAT, {"response_format": {"json_schema": {"schema": {"required": ["model"]}}}}),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": {"model": ["x"]}}]}),
        (MESSAGES, {"tools": [{"name": "f", "input_examples": [{"model": "x"}]}]}),
        (
            MESSAGES,
            {"messages": [{"content": [{"type": "tool_use", "input": {"model": "haiku"}}]}]},
        ),
        (MESSAGES, {"messages": [{"content": [{"type": "fallback", "from": {"model": "x"}}]}]}),
        (RESPONSES, {"input": 'What is the "model"?', "client_metadata": {"model": "x"}}),
        (RESPONSES, {"input": TURNS, "prompt": {"variables": {"model": "x"}}}),
        (RESPONSES, {"tools": [{"type": "function", "name": "image_generation"}]}),
        (RESPONSES, {"input": "Which image_generation model?"}),
    ],
)
def test_the_clients_own_data_names_no_models(
    client_format: Format, fields: dict[str, Any]
) -> None:
    assert models_in(client_format, max_tokens=5, **fields) == ()


@pytest.mark.parametrize(
    "raw",
    [
        rb'"tools": [{"\u006dodel": "a"}]',
        rb'"tools": [{"type": "x" , "mode\u006C" : "a"}]',
        b'"tools": [{"model" \n:\t "a"}]',
        rb'"model\u0073": ["a"]',
        rb'"\u0066allbacks": [{"model": "a"}]',
        rb'"tools": [{"\u006dodels": ["a"]}]',
    ],
)
def test_an_escaped_model_name_is_found(raw: bytes) -> None:
    body = b'{"model": "m", "max_tokens": 5, "messages": [], %b}' % raw
    assert [model.name for model in MESSAGES.decode(body).models] == ["a"]


def test_an_escaped_image_tool_is_recognized() -> None:
    body = rb'{"model": "m", "tools": [{"type": "\u0069mage_generation"}]}'
    assert [model.name for model in RESPONSES.decode(body).models] == [DEFAULT_IMAGE_MODEL]


def test_duplicate_members_both_count() -> None:
    """Which one the provider takes is not known."""
    body = b'{"model": "m", "max_tokens": 5, "tools": [{"model": "a", "model": "b"}]}'
    assert [model.name for model in MESSAGES.decode(body).models] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        # The provider would choose.
        ({"fallbacks": "default"}, "fallbacks"),
        ({"models": {"first": "a"}}, "models"),
        ({"fallbacks": [{"fast": True}]}, "fallbacks"),
        ({"tools": [{"model": ""}]}, "tools[0].model"),
        ({"tools": [{"model": "a\nb"}]}, "tools[0].model"),
        ({"tools": [{"model": "a" * 257}]}, "tools[0].model"),
        ({"models": ["a"] * 65}, "models[64]"),
        ({"messages": [{"model": 1}] * 50_001, "models": ["a"]}, "messages"),
        ({"messages": [[{"model": "a"}, *[1] * 200_000]]}, "messages[0]"),
    ],
)
def test_an_uncheckable_value_is_rejected_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        models_in(MESSAGES, **{"messages": [], "max_tokens": 5, **fields})
    assert refused.value.param == param
