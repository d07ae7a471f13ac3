"""What conversations of other formats become for Anthropic."""

from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from libs.common.errors import UnsupportedField
from services.gateway.upstream.translation.conversation import (
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.parts import (
    Audio,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Hosted,
    Image,
    Opaque,
    Part,
    Plain,
    Refusal,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    ToolChoice,
)
from tests.unit.translation.messages.requests import CHAT_PATHS, CLAUDE, write

PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
RAW = msgspec.Raw(b"{}")
ASK = Turn(role="user", parts=(Text(text="q", at=(0,)),), at=(0,))
FUNCTION = Function(name="f", at=(0,), schema=msgspec.Raw(b'{"properties":{}}'))


def turn(*parts: Part, role: str = "assistant") -> Turn:
    return Turn(role=role, parts=parts, at=(1,))  # type: ignore[arg-type]


def request(*turns: Turn, **fields: Any) -> Request:
    fields.setdefault("limits", OutputLimits(output_tokens=10))
    return Request(turns=turns or (ASK,), **fields)


def body_of(*turns: Turn, **fields: Any) -> dict[str, Any]:
    body = write(request(*turns, **fields))
    PARAMS.validate_python(body, strict=True)
    return body


def last(*parts: Part, role: str = "user") -> Any:
    """The blocks that parts become."""
    return body_of(ASK, turn(*parts, role=role), *([ASK] if role == "assistant" else []))[
        "messages"
    ][1]["content"]


PARTS: tuple[tuple[Part, dict[str, Any]], ...] = (
    (Image(source=Bytes("image/png", "aGk=")), {"type": "image"}),
    (
        DocumentPart(source=Bytes("application/pdf", "aGk="), filename="a.pdf"),
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
    ),
    (
        DocumentPart(source=Bytes("text/plain", "aGk=")),
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
    ),
    (
        DocumentPart(source=Url("https://x/a.pdf")),
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
    ),
    (Text(text="a", cache=CacheMark(43200)), {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
    (Text(text="a", cache=CacheMark(1800)), {"cache_control": {"type": "ephemeral", "ttl": "5m"}}),
    (Text(text="a", cache=CacheMark()), {"cache_control": {"type": "ephemeral"}}),
)


@pytest.mark.parametrize(("part", "block"), PARTS)
def test_parts(part: Part, block: dict[str, Any]) -> None:
    (found,) = last(part)
    assert found | block == found


@pytest.mark.parametrize(
    ("arguments", "found", "is_adapted"),
    [
        ('{"a": 1}', {"a": 1}, False),
        ("", {}, False),
        ("null", {}, False),
        ('{"a":', {"input": '{"a":'}, True),
        ("[1]", {"input": "[1]"}, True),
    ],
)
def test_arguments_are_an_object(arguments: str, found: Any, is_adapted: bool) -> None:
    report = Report(CHAT_PATHS, drops=False)
    call = ToolCall(id="c", name="f", arguments=arguments, at=(1, 0))
    result = turn(Result(call_id="c", parts=()), role="user")
    body = write(request(ASK, turn(call), result), report=report)
    assert body["messages"][1]["content"][0]["input"] == found
    assert report.adapted_params == (("messages[1].content[0]",) if is_adapted else ())


def test_ids_and_names_of_calls_fit() -> None:
    call = ToolCall(id="functions.f:0", name="n" * 80, arguments="{}")
    body = body_of(ASK, turn(call), turn(Result(call_id="functions.f:0", parts=()), role="user"))
    use, result = (message["content"][0] for message in body["messages"][1:])
    assert use["id"] == result["tool_use_id"]
    assert use["id"].startswith("c_")
    assert use["id"].isascii()
    assert len(use["name"]) == 64


def test_results_come_first_and_failures_are_marked() -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    results = turn(
        Text(text="and"),
        Result(call_id="c", parts=(Text(text="no"),), has_failed=True),
        role="user",
    )
    content = body_of(ASK, turn(call), results)["messages"][2]["content"]
    assert [block["type"] for block in content] == ["tool_result", "text"]
    assert content[0]["is_error"] is True


def test_empty_texts_are_left_out() -> None:
    body = body_of(
        Turn(role="system", parts=(Text(text=" "),)),
        ASK,
        turn(Text(text=""), ToolCall(id="c", name="f", arguments="{}")),
        turn(Result(call_id="c", parts=(Text(text=""),)), role="user"),
        turn(Text(text="\n"), role="user"),
    )
    assert "system" not in body
    assert [len(message["content"]) for message in body["messages"]] == [1, 1, 1]
    assert body["messages"][2]["content"][0]["content"] == []


def test_thinking_of_others_is_left_out() -> None:
    own = Thinking(text="a", signature=ThoughtSignature("anthropic", "s"))
    others = (Thinking(text="b", signature=ThoughtSignature("openai", "t")), Thinking(text="c"))
    assert last(own, *others, Text(text="d"), role="assistant") == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "text", "text": "d"},
    ]


def test_a_search_of_others_is_left_out_and_their_refusal_is_text() -> None:
    hosted = Hosted(kind="web_search", raw=RAW, family="openai")
    assert last(hosted, Refusal(text="no"), role="assistant") == [{"type": "text", "text": "no"}]


REFUSED: tuple[tuple[Part, str, str], ...] = (
    (Audio(data="a", format="wav"), "messages[1]", "does not accept audio"),
    (Image(source=Bytes("image/tiff", "a")), "messages[1]", "image/tiff"),
    (Image(source=FileId("file-1", "openai")), "messages[1]", "another provider keeps"),
    (DocumentPart(source=Bytes("application/zip", "a")), "messages[1]", "application/zip"),
    (DocumentPart(source=Bytes("text/plain", "//8=")), "messages[1]", "not base64 text"),
    (Opaque(kind="compaction", raw=RAW, family="openai"), "messages[1]", "compaction cannot be"),
    (Hosted(kind="mcp", raw=RAW, family="openai"), "messages[1]", "mcp cannot be carried"),
    (
        ToolCall(id="c", name="f", arguments="", extra={"x": RAW}),
        "messages[1].x",
        "cannot be carried",
    ),
)


@pytest.mark.parametrize(("part", "path", "why"), REFUSED)
@pytest.mark.parametrize("drops", [False, True])
def test_content_is_refused_by_its_path(part: Part, path: str, why: str, drops: bool) -> None:
    part = msgspec.structs.replace(part, at=(1,))
    with pytest.raises(UnsupportedField) as refused:
        write(request(ASK, turn(part)), drops=drops)
    assert refused.value.param == path
    assert why in refused.value.message


@pytest.mark.parametrize(
    ("part", "ability"),
    [
        (Image(source=Url("https://x/a.png"), at=(1,)), "sees"),
        (DocumentPart(source=Url("https://x/a.pdf"), at=(1,)), "reads_pdf"),
        (DocumentPart(source=Bytes("application/pdf", "aGk="), at=(1,)), "reads_pdf"),
    ],
)
def test_models_that_cannot_see(part: Part, ability: str) -> None:
    profile = msgspec.structs.replace(CLAUDE, **{ability: False})
    with pytest.raises(UnsupportedField, match=r"^messages\[1\]: the model (does|accepts only)"):
        write(request(ASK, turn(part, role="user")), profile)
    write(
        request(ASK, turn(DocumentPart(source=Bytes("text/plain", "aGk=")), role="user")), profile
    )


SYSTEM = Turn(role="developer", parts=(Text(text="s"),), at=(1,))


def test_system_messages_stand_before_the_answer() -> None:
    body = body_of(SYSTEM, ASK, SYSTEM, ASK, turn(Text(text="a")), ASK, SYSTEM)
    assert body["system"] == [{"type": "text", "text": "s"}]
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "user", "system", "assistant", "user", "system"]


def test_system_messages_of_models_without_them() -> None:
    profile = msgspec.structs.replace(CLAUDE, takes_system_inside=False)
    report = Report(CHAT_PATHS, drops=False)
    call = turn(ToolCall(id="c", name="f", arguments="{}"))
    results = turn(Result(call_id="c", parts=()), role="user")
    body = write(request(ASK, call, SYSTEM, results, SYSTEM), profile, report=report)
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "user",
        "user",
    ]
    assert body["messages"][2]["content"][0]["type"] == "tool_result"
    assert body["messages"][3]["content"][0]["text"] == "<system-reminder>\ns\n</system-reminder>"
    assert report.adapted_params == ("messages[1]",)


def test_an_unfinished_answer() -> None:
    assert last(Text(text="The answer is "), role="user")[0]["text"] == "The answer is "
    body = body_of(ASK, turn(Text(text="The answer is ")))
    assert body["messages"][1]["content"][0]["text"] == "The answer is"
    profile = msgspec.structs.replace(CLAUDE, takes_prefill=False)
    with pytest.raises(UnsupportedField, match=r"^messages\[1\]: the model does not continue"):
        write(request(ASK, turn(Text(text="The"))), profile)


OPTIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"sampling": Sampling(temperature=1.5)}, {"temperature": 1}),
    ({"sampling": Sampling(presence=0, frequency=0, logit_bias=RAW)}, {}),
    ({"limits": OutputLimits(output_tokens=0)}, {"max_tokens": 0}),
    ({"thinking": Wish(mode="auto", effort="minimal")}, {"output_config": {"effort": "low"}}),
    (
        {"thinking": Wish(mode="on", budget_tokens=2048, summary="auto")},
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "summarized"}},
    ),
    ({"shape": Shape(kind="json_object")}, {"system": [{"type": "text"}]}),
    ({"labels": Labels(user="u", tier="default")}, {"service_tier": "standard_only"}),
    ({"labels": Labels(safety_id="s", keeps=False)}, {"metadata": {"user_id": "s"}}),
    ({"parallel": False}, {}),
    (
        {"tools": (FUNCTION,), "parallel": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    (
        {"tools": (FUNCTION,), "choice": ToolChoice(mode="required", names=("f",))},
        {"tool_choice": {"type": "tool", "name": "f"}},
    ),
    (
        {"tools": (FUNCTION,)},
        {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    (
        {"tools": (Function(name="f", at=(0,)),)},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
    ),
    (
        {
            "tools": (Search(at=(-1,), location=msgspec.Raw(b'{"city":"Bern"}')),),
            "limits": OutputLimits(output_tokens=1, hosted_calls=2),
        },
        {
            "tools": [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "max_uses": 2,
                    "user_location": {"type": "approximate", "city": "Bern"},
                }
            ]
        },
    ),
)


@pytest.mark.parametrize(("fields", "found"), OPTIONS)
def test_options(fields: dict[str, Any], found: dict[str, Any]) -> None:
    body = body_of(**fields)
    if "system" in found:
        assert "JSON object" in body["system"][0]["text"]
        return
    assert body | found == body
    assert ("tool_choice" in body) == ("tool_choice" in found)


@pytest.mark.parametrize(("asked", "adapted"), [("medium", ()), ("low", ("verbosity",))])
def test_hints_of_style(asked: str, adapted: tuple[str, ...]) -> None:
    report = Report(CHAT_PATHS, drops=False)
    write(request(verbosity=asked), report=report)
    assert report.adapted_params == adapted


def test_allowed_tools_leave_the_others_out() -> None:
    tools = (FUNCTION, Function(name="g", at=(1,)), Function(name="h", at=(2,)))
    body = body_of(tools=tools, choice=ToolChoice(mode="required", names=("f", "h")))
    assert [tool["name"] for tool in body["tools"]] == ["f", "h"]
    assert body["tool_choice"] == {"type": "any"}


def test_freeform_tools_take_one_text() -> None:
    tool = Freeform(name="patch", at=(0,), description="d", syntax="lark", grammar="start: /a/")
    call = ToolCall(id="c", name="patch", arguments="*** a", is_freeform=True)
    result = turn(Result(call_id="c", parts=()), role="user")
    body = body_of(ASK, turn(call), result, tools=(tool,))
    schema = body["tools"][0]["input_schema"]
    assert schema["required"] == ["input"]
    assert body["tools"][0]["description"].endswith("start: /a/")
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** a"}


UNSUPPORTED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"sampling": Sampling(seed=1)}, "sampling.seed"),
    ({"sampling": Sampling(presence=0.5)}, "sampling.presence"),
    ({"sampling": Sampling(logit_bias=msgspec.Raw(b'{"5":1}'))}, "sampling.logit_bias"),
    ({"sampling": Sampling(wants_logprobs=True)}, "sampling.wants_logprobs"),
    ({"labels": Labels(keeps=True)}, "labels.keeps"),
    ({"labels": Labels(tier="flex")}, "labels.tier"),
    ({"extra": {"modalities": RAW}}, "modalities"),
    ({"tools": (Function(name="f", at=(0,), extra={"async": RAW}),)}, "tools[0].async"),
    ({"tools": (HostedTool(kind="mcp", at=(3,), raw=RAW, family="openai"),)}, "tools[3]"),
    ({"tools": (FUNCTION,), "choice": ToolChoice(kind="shell")}, "choice"),
    (
        {
            "tools": (Search(at=(0,)), Search(at=(1,))),
            "limits": OutputLimits(output_tokens=1, hosted_calls=2),
        },
        "tool_calls",
    ),
)


@pytest.mark.parametrize(("fields", "path"), UNSUPPORTED)
def test_options_are_refused_or_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        write(request(**fields))
    assert refused.value.param == path
    report = Report(CHAT_PATHS, drops=True)
    PARAMS.validate_python(write(request(**fields), report=report), strict=True)
    assert report.dropped_params == (path,)


@pytest.mark.parametrize("drops", [False, True])
def test_never_left_out(drops: bool) -> None:
    with pytest.raises(UnsupportedField, match=r"^n: "):
        write(request(limits=OutputLimits(answers=2)), drops=drops)
    with pytest.raises(UnsupportedField, match="stop sequence of white space"):
        write(request(limits=OutputLimits(stop=("a", "\n"))), drops=drops)


def test_a_longer_conversation_begins_with_the_shorter_one() -> None:
    turns = [
        Turn(role="system", parts=(Text(text="s"),)),
        ASK,
        turn(
            Thinking(text="a", signature=ThoughtSignature("anthropic", "s")),
            ToolCall(id="c", name="f", arguments="{"),
        ),
        turn(Text(text="x"), Result(call_id="c", parts=(Text(text="r"),)), role="user"),
        turn(Thinking(text="b", signature=ThoughtSignature("openai", "s")), Text(text="ok")),
        turn(DocumentPart(source=Plain("d")), role="user"),
    ]
    whole = body_of(*turns)
    for cut in range(2, len(turns)):
        shorter = body_of(*turns[:cut])
        assert whole["messages"][: len(shorter["messages"])] == shorter["messages"]
        assert whole["system"] == shorter["system"]
