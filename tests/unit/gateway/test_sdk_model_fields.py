"""Every field of the newest SDKs' requests that names a model is known, and found in a body."""

import inspect
import json
import re
from typing import Any

import msgspec
import openai.types.responses.tool_param as tools
import pytest
from typing_extensions import TypedDict

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import is_disguised
from tests.unit.gateway.sdk_types import REQUESTS, Field, body_with, fields_of

# A new one belongs in one of these, once it is clear whether the provider runs it.
RUN: dict[ClientFormat, set[str]] = {
    "chat": {"moderation.model"},
    "messages": {
        "fallbacks[].model",
        "tools[].model",
        "messages[].content[].tool.definition.model",
        "messages[].content[].tool_changes[].tool.definition.model",
    },
    "responses": {
        "input[].tools[].model",
        "input[].tools[].svg.model",
        "moderation.model",
        "tools[].model",
        "tools[].svg.model",
    },
    "embeddings": set(),
}
OWN_OR_RECORDED: dict[ClientFormat, set[str]] = {
    "chat": {"model"},
    "messages": {
        "model",
        "messages[].content[].from.model",
        "messages[].content[].to.model",
    },
    "responses": {"model", "input[].svg_usage.model"},
    "embeddings": {"model"},
}
_NAME = re.compile(r"(^|_)(models?|fallbacks)$")


def model_fields(request_type: Any) -> dict[str, Field]:
    """Those that may hold a name themselves: what only holds others is known by what it holds."""
    return {
        str(field): field
        for field in fields_of(request_type)
        if _NAME.search(field.name) and field.path[-1] != "fallbacks"
    }


def test_every_model_field_of_the_sdks_is_known() -> None:
    for client_format, run in RUN.items():
        found: set[str] = set()
        for each_format, request_type in REQUESTS:
            if each_format == client_format:
                found |= model_fields(request_type).keys()
        assert found == run | OWN_OR_RECORDED[client_format]


def test_a_new_model_field_is_found() -> None:
    class Tool(TypedDict, total=False):
        summary_model: str

    class Request(TypedDict, total=False):
        tools: list[Tool]
        fallback_models: list[str]

    assert model_fields(Request).keys() == {"tools[].summary_model", "fallback_models"}


@pytest.mark.parametrize("spelling", ["model", "\\u006dodel", "mode\\u006C"])
@pytest.mark.parametrize("client_format", RUN)
def test_models_to_run_are_found_in_a_body(client_format: ClientFormat, spelling: str) -> None:
    paths = RUN[client_format] | OWN_OR_RECORDED[client_format]
    for path in sorted(paths - {"model"}):
        field = Field(tuple(path.split(".")), str)
        raw = json.dumps({**body_with(field), "model": "its-own"}).encode()
        raw = raw.replace(b'"model": "the_id"', b'"%b": "the_id"' % spelling.encode())
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        found = [
            (model.path, model.name)
            for model in named_models(raw, fields, disguised=is_disguised(raw))
        ]
        expected = [(path.replace("[]", "[0]"), "the_id")] if path in RUN[client_format] else []
        assert found == expected, path


def test_an_unnamed_image_model_is_the_default_one() -> None:
    """As OpenAI's SDK documents it."""
    source = inspect.getsource(tools.ImageGeneration)
    assert re.findall(r"Default:\s+`(gpt-image[^`]*)`", source) == [DEFAULT_IMAGE_MODEL]
