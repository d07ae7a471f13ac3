"""Attachments: found where a format has them, and never in what is only text."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.attachments import Attachment, AttachmentKind, attachments_of

DATA = "iVBORw0KGgo" * 200
URL = f"data:image/png;base64,{DATA}"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
PDF_URL = f"data:application/pdf;base64,{DATA}"
PDF = {"type": "document", "source": {"type": "base64", "data": DATA}}


def found(**body: Any) -> list[Attachment]:
    encoded = msgspec.json.encode(body)
    return attachments_of(msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]))


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": [user({"type": "image_url", "image_url": {"url": URL}})]}, "image"),
        ({"messages": [user({"type": "image_url", "image_url": URL})]}, "image"),
        (
            {"messages": [user({"type": "input_audio", "input_audio": {"data": DATA}})]},
            "recording",
        ),
        ({"messages": [user({"type": "file", "file": {"file_data": PDF_URL}})]}, "document"),
        ({"messages": [user(IMAGE)]}, "image"),
        ({"messages": [user(PDF)]}, "document"),
        ({"messages": [user({"type": "tool_result", "content": [IMAGE]})]}, "image"),
        (
            {
                "messages": [
                    user({"type": "document", "source": {"type": "content", "content": [IMAGE]}})
                ]
            },
            "image",
        ),
        ({"input": [user({"type": "input_image", "image_url": URL})]}, "image"),
        ({"input": [user({"type": "input_file", "file_data": PDF_URL})]}, "document"),
        (
            {
                "input": [
                    {
                        "type": "function_call_output",
                        "output": [{"type": "input_image", "image_url": URL}],
                    }
                ]
            },
            "image",
        ),
        (
            {
                "input": [
                    {
                        "type": "computer_call_output",
                        "output": {"type": "input_image", "image_url": URL},
                    }
                ]
            },
            "image",
        ),
    ],
)
def test_attachments_are_found_where_each_format_has_them(body: dict[str, Any], kind: str) -> None:
    assert [(each.kind, each.data) for each in found(**body)] == [(kind, DATA)]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": URL}]},
        {"messages": [user({"type": "text", "text": f"base64 {DATA}"})]},
        {"messages": [user({"type": "text", "text": msgspec.json.encode(IMAGE).decode()})]},
        {"messages": [user({"type": "tool_use", "name": "f", "input": IMAGE})]},
        {"messages": [user({"type": "tool_use", "name": "f", "input": {"content": [IMAGE]}})]},
        {"messages": [user({"type": "document", "source": {"type": "text", "data": DATA}})]},
        {"system": [IMAGE], "tools": [IMAGE], "metadata": {"base64": IMAGE}},
        {"input": URL},
        {"input": [URL]},
        {"input": [user({"type": "input_image", "image_url": "https://base64.example/a.png"})]},
    ],
)
def test_text_is_not_an_attachment(body: dict[str, Any]) -> None:
    assert found(**body) == []


def test_nesting_is_bounded() -> None:
    part: dict[str, Any] = IMAGE
    for _ in range(10):
        part = {"type": "tool_result", "content": [part]}
    assert found(messages=[user(part)]) == []


@pytest.mark.parametrize(
    ("kind", "chars", "tokens"),
    [
        ("image", 10_000_000, 1_600),
        ("recording", 2_000, 1_600),
        ("recording", 400_001, 5_001),
        ("document", 2_000, 1_600),
        ("document", 300_001, 10_001),
    ],
)
def test_tokens_depend_on_the_kind(kind: AttachmentKind, chars: int, tokens: int) -> None:
    assert Attachment(kind, "A" * chars).tokens == tokens


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "source", "image_url", "file", "data", "url"]
            )
            | st.text(max_size=5),
            inner | st.sampled_from(["image", "document", "tool_result", "base64", "image_url"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_body_can_be_searched(content: Any) -> None:
    """And no attachment is longer than the body that has it."""
    attachments = found(messages=content, input=content, base64=True)
    assert sum(len(each.data) for each in attachments) <= 2 * len(msgspec.json.encode(content))
