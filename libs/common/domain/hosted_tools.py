"""Counts what the tools of an OpenAI response are charged for, beside the model's own tokens.

Where the response has `tool_usage`, that is what OpenAI bills by: its searches leave out failed and
discounted ones, and images are tokens of another model. All else is counted from the items of the
output. A container is charged by its size and its session, which a response does not tell: each one
that it ran in counts once.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.reported_counts import Counts, ReportReader
from libs.common.schemas.usage import ModelRun, TokenUsage

# OpenAI's own choice where a tool for images names no model.
DEFAULT_IMAGE_MODEL = "gpt-image-2.6-sunburst"
_SIZES = frozenset({"1g", "4g", "16g", "64g"})
_DEFAULT_SIZE = "1g"
_IMAGE_GEN = {
    "input_tokens": "input",
    "output_tokens": "output",
    "total_tokens": "total",
    "cached_tokens": "cache_read",
}
_MEDIA = {"image_tokens": "image", "text_tokens": "text"}
_CACHED_MEDIA = {"cached_image_tokens": "image", "cached_text_tokens": "text"}


class _Action(msgspec.Struct):
    type: str | None = None


class _Environment(msgspec.Struct):
    type: str | None = None
    container_id: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    status: str | None = None
    action: _Action | None = None
    container_id: str | None = None
    environment: _Environment | None = None


_items = msgspec.json.Decoder(list[_Item])
_objects = msgspec.json.Decoder(list[dict[str, Any]])
_object = msgspec.json.Decoder(dict[str, Any])


def with_tools(
    usage: TokenUsage, *, output: bytes, tools: bytes = b"", tool_usage: bytes = b""
) -> TokenUsage:
    """The usage with what the response's members of those names tell, as JSON; empty where absent.

    A count of searches that the usage has already stays.
    """
    usage_by_tool = _decoded(_object, tool_usage)
    has_calls = b'_call"' in output
    if not has_calls and not usage_by_tool:
        return usage
    items: list[_Item] = _decoded(_items, output) or [] if has_calls else []
    offered_tools: list[dict[str, Any]] = _decoded(_objects, tools) or []
    searches = usage.web_searches
    if searches is None:
        searches = _searches(items, usage_by_tool)
    # What the usage tells itself is what is billed.
    uses = _uses(items, offered_tools) | usage.tool_uses
    if searches and _has_preview_alone(offered_tools):
        uses["web_search_preview"], searches = searches, None
    runs = usage.runs
    images = _images(usage_by_tool, offered_tools)
    if images is not None:
        uses.pop("image_generation", None)
        runs += (images,)
    return msgspec.structs.replace(usage, web_searches=searches, tool_uses=uses, runs=runs)


def _decoded(decoder: Any, raw: bytes) -> Any:
    if raw in (b"", b"null"):
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


def _searches(items: list[_Item], usage_by_tool: Any) -> int | None:
    """None where there was none; pages that were opened or looked through are not searches."""
    if usage_by_tool is not None and "web_search" in usage_by_tool:
        counts: Counts = ReportReader().counts(
            usage_by_tool["web_search"], {"num_requests": "searches"}
        )
        if counts:
            return int(counts["searches"])
    count = sum(
        item.type == "web_search_call"
        and item.status != "failed"
        and (item.action is None or item.action.type in (None, "search"))
        for item in items
    )
    return count or None


def _uses(items: list[_Item], offered_tools: list[dict[str, Any]]) -> dict[str, int]:
    """By tool; of images their number, for a response that does not tell their tokens."""
    uses: dict[str, int] = {}
    for item in items:
        name = (item.type or "").removesuffix("_call")
        if name in ("file_search", "image_generation") and item.status != "failed":
            uses[name] = uses.get(name, 0) + 1
    for name, containers in (
        ("code_interpreter", {item.container_id for item in items if item.container_id}),
        ("shell", set(_shells(items))),
    ):
        if containers:
            size = _size(name, offered_tools)
            uses[size] = uses.get(size, 0) + len(containers)
    return uses


def _shells(items: list[_Item]) -> Iterator[str]:
    """Containers of hosted shells; one that code ran in, too, is counted there."""
    code = {item.container_id for item in items if item.container_id}
    for item in items:
        place = item.environment
        if item.type != "shell_call" or place is None or not place.container_id:
            continue
        if place.container_id not in code:
            yield place.container_id


def _size(name: str, offered_tools: list[dict[str, Any]]) -> str:
    """`container` where the request names one that exists, whose size it does not tell."""
    for tool in offered_tools:
        if tool.get("type") == name:
            container = tool.get("container" if name == "code_interpreter" else "environment")
            if not isinstance(container, dict) or container.get("type") == "container_reference":
                return "container"
            limit = container.get("memory_limit")
            return f"container_{limit if limit in _SIZES else _DEFAULT_SIZE}"
    return "container"


def _has_preview_alone(offered_tools: list[dict[str, Any]]) -> bool:
    kinds = [str(tool.get("type")) for tool in offered_tools]
    searching = [kind for kind in kinds if kind.startswith("web_search")]
    return bool(searching) and all(kind.startswith("web_search_preview") for kind in searching)


def _images(usage_by_tool: Any, offered_tools: list[dict[str, Any]]) -> ModelRun | None:
    """The tokens of all images, at the model of the tool that makes them."""
    of_images = usage_by_tool.get("image_gen") if usage_by_tool else None
    reader = ReportReader()
    totals = reader.counts(of_images, _IMAGE_GEN)
    if not any(totals.values()):
        return None
    model = next(
        (
            tool["model"]
            for tool in offered_tools
            if tool.get("type") == "image_generation" and isinstance(tool.get("model"), str)
        ),
        DEFAULT_IMAGE_MODEL,
    )
    return ModelRun(
        role="image_generation", model=model, **_image_classes(reader, of_images, totals)
    )


def _image_classes(reader: ReportReader, of_images: Any, totals: Counts) -> Counts:
    """Text and images, each without its cached part. What no detail names is text as input, and an
    image as output.
    """
    if "output" not in totals:
        totals["output"] = max(totals.get("total", 0) - totals.get("input", 0), 0)
    inputs = reader.counts(of_images.get("input_tokens_details"), _MEDIA)
    outputs = reader.counts(of_images.get("output_tokens_details"), _MEDIA)
    cached = reader.counts(of_images.get("cached_tokens_details"), _CACHED_MEDIA)
    from_cache = max(totals.get("cache_read", 0), sum(cached.values()))
    images = max(inputs.get("image", 0) - cached.get("image", 0), 0)
    parts = reader.split(
        totals.get("input", 0), {"input_image": images, "cache_read": from_cache}, "input_text"
    )
    return parts | reader.split(
        totals["output"], {"output_text": outputs.get("text", 0)}, "output_image"
    )
