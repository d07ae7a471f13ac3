"""What the tools of a response are charged for; the shapes are those of OpenAI's types."""

import json
from typing import Any

import pytest

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL, with_tools
from libs.common.schemas.usage import ModelRun, TokenUsage

TOKENS = TokenUsage(input_text=1000, output_text=100)
SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
FAILED = SEARCH | {"status": "failed"}
OPENED = {"type": "web_search_call", "status": "completed", "action": {"type": "open_page"}}
FILES = {"type": "file_search_call", "status": "completed"}
NO_IMAGES = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def counted(output: list[Any], tools: list[Any], tool_usage: Any = None) -> TokenUsage:
    return with_tools(
        TOKENS,
        output=json.dumps(output).encode(),
        tools=json.dumps(tools).encode(),
        tool_usage=b"" if tool_usage is None else json.dumps(tool_usage).encode(),
    )


@pytest.mark.parametrize(
    ("output", "told", "searches"),
    [
        ([SEARCH, FAILED, OPENED], None, 1),
        ([FAILED], None, None),
        ([SEARCH, FAILED], {"web_search": {"num_requests": 1}}, 1),
        # Searches that no item shows, and those that OpenAI gives away.
        ([], {"web_search": {"num_requests": 2}}, 2),
        ([SEARCH, SEARCH], {"web_search": {"num_requests": 0}}, 0),
        ([SEARCH], {"image_gen": NO_IMAGES}, 1),
        ([SEARCH], "odd", 1),
        ([SEARCH], {"web_search": {"num_requests": -1}}, 1),
    ],
)
def test_searches_are_those_that_are_billed(
    output: list[Any], told: Any, searches: int | None
) -> None:
    assert counted(output, [{"type": "web_search"}], told).web_searches == searches


def test_a_count_that_the_usage_has_stays() -> None:
    usage = TokenUsage(web_searches=3)
    assert with_tools(usage, output=json.dumps([SEARCH]).encode()).web_searches == 3


def test_searches_of_the_preview_are_charged_apart() -> None:
    usage = counted([SEARCH, SEARCH], [{"type": "web_search_preview_2025_03_11"}])
    assert (usage.web_searches, usage.tool_uses) == (None, {"web_search_preview": 2})
    tools = [{"type": "web_search_preview"}, {"type": "web_search"}]
    assert counted([SEARCH], tools).web_searches == 1


def test_searches_through_files_are_counted() -> None:
    usage = counted([FILES, FILES, FILES | {"status": "failed"}], [{"type": "file_search"}])
    assert usage.tool_uses == {"file_search": 2}


def code(container: str) -> dict[str, Any]:
    return {"type": "code_interpreter_call", "status": "completed", "container_id": container}


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ({"type": "auto"}, "container_1g"),
        ({"type": "auto", "memory_limit": "16g"}, "container_16g"),
        ({"type": "auto", "memory_limit": "odd"}, "container_1g"),
        # One that exists: its size was chosen elsewhere.
        ("cntr_1", "container"),
    ],
)
def test_containers_are_counted_by_their_size(container: Any, name: str) -> None:
    tools = [{"type": "code_interpreter", "container": container}]
    assert counted([code("c1"), code("c1")], tools).tool_uses == {name: 1}
    assert counted([code("c1"), code("c2")], tools).tool_uses == {name: 2}


def test_only_a_hosted_shell_counts_as_a_container() -> None:
    hosted = {"type": "shell_call", "environment": {"type": "container_reference"}}
    tools = [{"type": "shell", "environment": {"type": "container_auto", "memory_limit": "4g"}}]
    shell = hosted | {"environment": {"type": "container_reference", "container_id": "c1"}}
    assert counted([shell, shell], tools).tool_uses == {"container_4g": 1}
    local = {"type": "shell_call", "environment": {"type": "local"}}
    assert counted([local, {"type": "local_shell_call"}], tools).tool_uses == {}


def test_images_are_tokens_of_the_model_that_made_them() -> None:
    image_usage = {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 4160,
        "total_tokens": 4210,
        "cached_tokens": 30,
        "cached_tokens_details": {"cached_text_tokens": 0, "cached_image_tokens": 30},
    }
    tools = [{"type": "image_generation", "model": "gpt-image-1"}]
    image = {"type": "image_generation_call", "status": "completed"}
    usage = counted([image], tools, {"image_gen": image_usage, "web_search": {"num_requests": 0}})
    assert usage.tool_uses == {}
    assert usage.runs == (
        ModelRun(
            role="image_generation",
            model="gpt-image-1",
            input_text=10,
            input_image=10,
            cache_read=30,
            output_text=0,
            output_image=4160,
        ),
    )
    [run] = counted([image], [{"type": "image_generation"}], {"image_gen": image_usage}).runs
    assert run.model == DEFAULT_IMAGE_MODEL


def test_images_without_reported_tokens_are_counted() -> None:
    image = {"type": "image_generation_call", "status": "completed"}
    usage = counted([image, image | {"status": "failed"}], [{"type": "image_generation"}])
    assert (usage.tool_uses, usage.runs) == ({"image_generation": 1}, ())


def test_an_answer_without_tools_is_left_alone() -> None:
    assert with_tools(TOKENS, output=b'[{"type": "message"}]') is TOKENS
    assert with_tools(TOKENS, output=b'[broken _call"') == TOKENS
