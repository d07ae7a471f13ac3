"""What a chat provider is sent, and what it is not."""

import re
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from libs.common.errors import UnsupportedField
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.chat.request_reader import read_request
from services.gateway.upstream.translation.chat.request_writer import write_request
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
    Blocks,
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
    SearchResult,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    ToolChoice,
)
from tests.unit.translation.chat.bodies import OPENAI, OTHER, fields_of, read, reported, write

NONE = msgspec.Raw(b"null")
PDF = DocumentPart(source=Bytes("application/pdf", "AAA="), at=(0, 1))
PNG = Image(source=Bytes("image/png", "AAA="), at=(0, 1))


def turns(*parts: Part, role: Any = "user", **members: Any) -> tuple[Turn, ...]:
    return (Turn(role=role, parts=parts, at=(0,), **members),)


def messages(request_turns: tuple[Turn, ...], profile: Profile = OTHER) -> Any:
    return write(Request(turns=request_turns), profile)["messages"]


def assistant_messages(*parts: Part, profile: Profile = OTHER) -> Any:
    return messages(turns(*parts, role="assistant"), profile)


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((Text(text="a"),), "a"),
        ((Text(text=""), Text(text="a")), "a"),
        ((Text(text="a"), Text(text="b")), [{"type": "text", "text": t} for t in "ab"]),
        (
            (Image(source=Url("https://x/a"), detail="low"),),
            [{"type": "image_url", "image_url": {"url": "https://x/a", "detail": "low"}}],
        ),
        (
            (PNG,),
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}}],
        ),
        (
            (Audio(data="AAA=", format="wav"),),
            [{"type": "input_audio", "input_audio": {"data": "AAA=", "format": "wav"}}],
        ),
        (
            (PDF,),
            [
                {
                    "type": "file",
                    "file": {
                        "filename": "document.pdf",
                        "file_data": "data:application/pdf;base64,AAA=",
                    },
                }
            ],
        ),
        (
            (DocumentPart(source=FileId("file-1", "openai")),),
            [{"type": "file", "file": {"file_id": "file-1"}}],
        ),
        (
            (DocumentPart(source=Plain("text"), title="title", context="context"),),
            "title\n\ncontext\n\ntext",
        ),
        ((DocumentPart(source=Bytes("text/plain", "aGk=")),), "hi"),
        (
            (
                DocumentPart(
                    source=Blocks((Text(text="a"), Image(source=Url("https://x/a")))), title="t"
                ),
            ),
            [
                {"type": "text", "text": "t"},
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "https://x/a"}},
            ],
        ),
        (
            (SearchResult(source="https://x", title="t", parts=(Text(text="a"), Text(text="b"))),),
            "https://x\n\nt\n\na\n\nb",
        ),
    ],
)
def test_user_parts_are_written_as_content(parts: tuple[Part, ...], content: Any) -> None:
    assert messages(turns(*parts), OPENAI) == [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("part", "profile"),
    [
        (PNG, Profile(sees=False)),
        (Audio(data="", format="wav", at=(0, 1)), Profile(hears=False)),
        (PDF, Profile(reads_pdf=False)),
        (DocumentPart(source=FileId("file-1", "openai"), at=(0, 1)), OTHER),
        (DocumentPart(source=FileId("file-1", "anthropic"), at=(0, 1)), OPENAI),
        (DocumentPart(source=Url("https://x/a.pdf"), at=(0, 1)), OPENAI),
        (DocumentPart(source=Bytes("application/zip", ""), at=(0, 1)), OPENAI),
        (DocumentPart(source=Bytes("text/plain", "/w=="), at=(0, 1)), OPENAI),
        (Image(source=FileId("file-1", "openai"), at=(0, 1)), OPENAI),
        (Opaque(kind="container_upload", raw=NONE, family="anthropic", at=(0, 1)), OPENAI),
        (Hosted(kind="code_execution", raw=NONE, family="anthropic", at=(0, 1)), OPENAI),
    ],
)
@pytest.mark.parametrize("drops", [False, True])
def test_content_is_refused_by_its_path(part: Part, profile: Profile, drops: bool) -> None:
    for role in ("user", "assistant"):
        request = Request(turns=turns(Text(text="a"), part, role=role))
        with pytest.raises(UnsupportedField) as caught:
            write(request, profile, drops=drops)
        assert caught.value.param == "messages[0].content[1]"


def test_instructions_before_the_conversation_are_one_message() -> None:
    system = [
        Turn(role="system", parts=(Text(text="a"), Text(text=""))),
        Turn(role="developer", parts=(Text(text="b"),)),
        Turn(role="user", parts=(Text(text="c"),)),
        Turn(role="system", parts=(Text(text="d"),)),
    ]
    expected = [("system", "a\n\nb"), ("user", "c"), ("system", "d")]
    assert [tuple(m.values()) for m in messages(tuple(system))] == expected
    assert messages(tuple(system), OPENAI)[0] == {"role": "developer", "content": "a\n\nb"}


def test_texts_with_marks_are_kept_apart() -> None:
    system = Turn(role="system", parts=(Text(text="a", cache=CacheMark(300)), Text(text="b")))
    user = Turn(role="user", parts=(Text(text="c", cache=CacheMark(3600)),))
    assert messages((system, user), OPENAI) == [
        {
            "role": "developer",
            "content": [
                {
                    "type": "text",
                    "text": "a",
                    "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                },
                {"type": "text", "text": "b"},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": "c",
                    "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                }
            ],
        },
    ]
    assert messages((system, user)) == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c"},
    ]
    claude = messages((user,), Profile(family="anthropic", takes_cache_marks=True))
    assert claude[0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_model_that_reads_text_alone_gets_one_text() -> None:
    profile = Profile(sees=False, hears=False, reads_pdf=False)
    assert messages(turns(Text(text="a"), Text(text="b")), profile)[0]["content"] == "a\n\nb"


def test_results_come_first_and_their_images_after_them() -> None:
    parts = (
        Text(text="and now?"),
        Result(call_id="c1", parts=(Text(text="a"), PNG, Text(text="b")), at=(0, 0)),
        Result(call_id="c2", parts=(), has_failed=True),
        Result(call_id="c3", parts=(Text(text="Error: no"),), has_failed=True),
        Result(call_id="c4", parts=(Text(text="no"),), has_failed=True),
        Result(call_id="c5", parts=()),
    )
    body, report = reported(Request(turns=turns(*parts)), OPENAI)
    assert [(m["tool_call_id"], m["content"]) for m in body["messages"][:5]] == [
        ("c1", "a\n\nb"),
        ("c2", "Error:"),
        ("c3", "Error: no"),
        ("c4", "Error: no"),
        ("c5", ""),
    ]
    assert body["messages"][5:] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From the result of tool call c1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}},
                {"type": "text", "text": "and now?"},
            ],
        }
    ]
    assert report.adapted_params == ("messages[0].content[1]",)


def test_turns_that_have_nothing_to_say_are_left_out() -> None:
    empty = (
        *turns(Text(text="")),
        *turns(Text(text=""), role="assistant"),
        *turns(Thinking(text="x", signature=ThoughtSignature("anthropic", "s")), role="assistant"),
        *turns(Hosted(kind="web_search", raw=NONE, family="anthropic"), role="assistant"),
        *turns(Text(text=""), role="system"),
    )
    assert messages(empty) == []


@pytest.mark.parametrize(
    ("part", "profile", "member", "expected"),
    [
        (Text(text="a"), OTHER, "content", "a"),
        (Refusal(text="no"), OPENAI, "refusal", "no"),
        (Refusal(text="no"), OTHER, "content", "no"),
        (
            ToolCall(id="c1", name="f", arguments=""),
            OTHER,
            "tool_calls",
            [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        ),
        (
            ToolCall(id="x" * 65, name="f", arguments='{"a":', namespace="n"),
            OPENAI,
            "tool_calls",
            [
                {
                    "id": "c_" + sha256(b"x" * 65).hexdigest()[:40],
                    "type": "function",
                    "function": {"name": "n__f", "arguments": '{"a":'},
                }
            ],
        ),
        (
            ToolCall(id="c1", name="f", arguments="x y", is_freeform=True),
            OPENAI,
            "tool_calls",
            [{"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x y"}}],
        ),
        (
            ToolCall(id="c1", name="f", arguments='x "y"', is_freeform=True),
            OTHER,
            "tool_calls",
            [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"input":"x \\"y\\""}'},
                }
            ],
        ),
        (
            ToolCall(id="c1", name="f", arguments="{}", signature=ThoughtSignature("google", "s")),
            Profile(family="google"),
            "tool_calls",
            [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "s"}},
                }
            ],
        ),
        (
            Thinking(text="hm"),
            Profile(family="deepseek", replays_thinking="reasoning_content"),
            "reasoning_content",
            "hm",
        ),
        (
            Thinking(text="hm", signature=ThoughtSignature("anthropic", "s")),
            Profile(family="anthropic"),
            "thinking_blocks",
            [{"type": "thinking", "thinking": "hm", "signature": "s"}],
        ),
        (
            Thinking(is_redacted=True, signature=ThoughtSignature("anthropic", "s")),
            Profile(family="anthropic"),
            "thinking_blocks",
            [{"type": "redacted_thinking", "data": "s"}],
        ),
    ],
)
def test_an_assistant_part_is_written_as_its_member(
    part: Part, profile: Profile, member: str, expected: Any
) -> None:
    (message,) = assistant_messages(part, profile=profile)
    assert message[member] == expected
    assert message.keys() <= {"role", "content", member}


@pytest.mark.parametrize("family", ["openai", "google", "deepseek", "other"])
def test_signatures_go_to_their_own_family_alone(family: str) -> None:
    foreign = ("anthropic", "openai", "google", "mistral")
    parts: tuple[Part, ...] = (
        *(
            Thinking(text="secret", signature=ThoughtSignature(each, "minted"))
            for each in foreign
            if each != family
        ),
        Text(text="a"),
        *(
            ToolCall(id=each, name="f", arguments="{}", signature=ThoughtSignature(each, "minted"))
            for each in foreign
            if each != family
        ),
    )
    profile = Profile(family=family, replays_thinking="reasoning_content")
    sent = str(assistant_messages(*parts, profile=profile))
    assert "minted" not in sent
    assert "secret" not in sent


def test_texts_and_calls_of_one_turn_are_one_message() -> None:
    parts = (Text(text="a"), ToolCall(id="c1", name="f", arguments="{}"), Text(text="b"))
    (message,) = assistant_messages(*parts, profile=OPENAI)
    assert message["content"] == "ab"
    assert len(message["tool_calls"]) == 1


TOOLS = (
    Function(name="f", at=(0,), schema=msgspec.Raw(b'{"b": 1}'), description="d", strict=True),
    Freeform(name="g", at=(1,), description="d", syntax="lark", grammar="x"),
)


def test_tools_of_openai() -> None:
    body = write(Request(turns=(), tools=TOOLS, parallel=False), OPENAI)
    assert body["parallel_tool_calls"] is False
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"b": 1}, "strict": True},
        },
        {
            "type": "custom",
            "custom": {
                "name": "g",
                "description": "d",
                "format": {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}},
            },
        },
    ]


def test_a_custom_tool_is_a_function_elsewhere() -> None:
    body, report = reported(Request(turns=(), tools=TOOLS))
    function = body["tools"][1]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert function["description"] == "d\n\nThe input follows this grammar (lark):\nx"
    assert report.adapted_params == ("tools[1].custom.format",)


def test_a_schema_goes_byte_for_byte() -> None:
    request = Request(turns=(), tools=TOOLS)
    body = msgspec.json.encode(write_request(request, "m", OTHER, Report(PATHS, drops=False)))
    assert b'"parameters":{"b": 1}' in body


@pytest.mark.parametrize(
    ("choice", "profile", "expected"),
    [
        (ToolChoice(), OTHER, "auto"),
        (ToolChoice(mode="none"), OTHER, "none"),
        (ToolChoice(mode="required"), OTHER, "required"),
        (
            ToolChoice(mode="required", names=("f",)),
            OTHER,
            {"type": "function", "function": {"name": "f"}},
        ),
        (
            ToolChoice(mode="required", names=("g",)),
            OPENAI,
            {"type": "custom", "custom": {"name": "g"}},
        ),
        (
            ToolChoice(mode="required", names=("g",)),
            OTHER,
            {"type": "function", "function": {"name": "g"}},
        ),
        (
            ToolChoice(mode="auto", names=("f", "g")),
            OPENAI,
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "g"}},
                    ],
                },
            },
        ),
    ],
)
def test_choices(choice: ToolChoice, profile: Profile, expected: Any) -> None:
    body = write(Request(turns=(), tools=TOOLS, choice=choice), profile)
    assert body["tool_choice"] == expected
    assert len(body["tools"]) == 2


def test_allowed_tools_are_the_only_ones_elsewhere() -> None:
    choice = ToolChoice(mode="auto", names=("g",))
    body, report = reported(Request(turns=(), tools=TOOLS, choice=choice))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == "auto"
    assert "tool_choice" in report.adapted_params


def test_a_request_without_tools_omits_tool_settings() -> None:
    body = write(Request(turns=(), choice=ToolChoice(), parallel=False), OPENAI)
    assert body == {"model": "m", "messages": [], "store": False}


def test_a_search() -> None:
    search = Search(
        at=(-1,),
        context_size="low",
        location=msgspec.Raw(b'{"type":"approximate","city":"Basel"}'),
    )
    assert write(Request(turns=(), tools=(search,)), OPENAI)["web_search_options"] == {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Basel"}},
    }


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (Request(turns=(), tools=(Search(at=(-1,)),)), "web_search_options"),
        (
            Request(turns=(), tools=(HostedTool(kind="mcp", at=(3,), raw=NONE, family="openai"),)),
            "tools[3]",
        ),
        (
            Request(turns=(), tools=(Function(name="f", at=(2,), extra={"defer_loading": NONE}),)),
            "tools[2].defer_loading",
        ),
        (Request(turns=(), choice=ToolChoice(kind="mcp")), "tool_choice"),
        (Request(turns=(), sampling=Sampling(top_k=1)), "top_k"),
        (Request(turns=(), limits=OutputLimits(hosted_calls=1)), "max_tool_calls"),
        (Request(turns=(), limits=OutputLimits(answers=2), stream=True), "n"),
        (Request(turns=(), limits=OutputLimits(stop=tuple("abc"))), "stop"),
        (Request(turns=(), labels=Labels(keeps=True)), "store"),
        (Request(turns=(), labels=Labels(tier="priority")), "service_tier"),
        (Request(turns=(), extra={"prediction": NONE}), "prediction"),
        (Request(turns=(), extra={"messages[1].prefix": NONE}), "messages[1].prefix"),
    ],
)
def test_options_are_refused_or_left_out_by_name(request_: Request, path: str) -> None:
    profile = Profile(max_stops=2)
    with pytest.raises(UnsupportedField) as caught:
        write(request_, profile)
    assert caught.value.param == path
    body, report = reported(request_, profile, drops=True)
    assert report.dropped_params == (path,)
    assert len(body.get("stop", ())) in (0, 2)
    assert body.keys() - {"messages", "model", "tools", "stream", "stream_options", "stop"} == set()


def test_a_prewarming_call_is_never_a_whole_one() -> None:
    with pytest.raises(UnsupportedField) as refused:
        reported(Request(turns=(), limits=OutputLimits(output_tokens=0)), OPENAI, drops=True)
    assert refused.value.param == "max_completion_tokens"


def test_options() -> None:
    request = Request(
        turns=(),
        limits=OutputLimits(output_tokens=9, stop=("a", "b"), answers=2),
        sampling=Sampling(
            temperature=0.0, top_p=0.5, seed=1, presence=0.1, frequency=0.2, top_logprobs=2
        ),
        thinking=Wish(effort="low"),
    )
    assert write(request) == {
        "model": "m",
        "messages": [],
        "max_tokens": 9,
        "stop": ["a", "b"],
        "n": 2,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
    }
    assert write(request, OPENAI)["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(kind="json_object"), {"type": "json_object"}),
        (
            Shape(kind="json_schema", schema=msgspec.Raw(b'{"title":"My Answer"}'), strict=True),
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "My_Answer_" + sha256(b"My Answer").hexdigest()[:8],
                    "schema": {"title": "My Answer"},
                    "strict": True,
                },
            },
        ),
        (
            Shape(kind="json_schema", name="n"),
            {"type": "json_schema", "json_schema": {"name": "n"}},
        ),
        (
            Shape(kind="json_schema", schema=msgspec.Raw(b'{"title":1}')),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"title": 1}}},
        ),
    ],
)
def test_shapes(shape: Shape, expected: Any) -> None:
    assert write(Request(turns=(), shape=shape), OPENAI)["response_format"] == expected


def test_labels_of_openai() -> None:
    labels = Labels(
        user="u",
        safety_id="s",
        metadata=msgspec.Raw(b'{"a":"b"}'),
        cache_key="k",
        cache_retention="24h",
        tier="standard_only",
    )
    body = write(Request(turns=(), labels=labels), OPENAI)
    assert (body["user"], body["safety_identifier"]) == ("u", "s")
    assert (body["store"], body["service_tier"]) == (False, "default")
    assert body["prompt_cache_key"] == "k"
    # OpenAI refuses them on answers that it is not to keep.
    assert "metadata" not in body
    kept = write(Request(turns=(), labels=Labels(metadata=labels.metadata, keeps=True)), OPENAI)
    assert (kept["store"], kept["metadata"]) == (True, {"a": "b"})


def test_labels_elsewhere() -> None:
    labels = Labels(user="u", safety_id="s", cache_key="k", keeps=False, tier="auto")
    body = write(Request(turns=(), labels=labels))
    assert body == {"model": "m", "messages": [], "user": "u"}


def test_a_stream_is_asked_for_its_usage() -> None:
    body = write(Request(turns=(), stream=True, wants_usage=False), OPENAI)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    quiet = write(Request(turns=(), stream=True), Profile(takes_stream_options=False))
    assert "stream_options" not in quiet


def test_openais_own_options_go_back_to_openai() -> None:
    body = {"prediction": {"type": "content", "content": "x"}, "modalities": ["text", "audio"]}
    sent = write(read(**body, prompt_cache_options={"ttl": "30m"}), OPENAI)
    assert sent | body | {"prompt_cache_options": {"ttl": "30m"}} == sent


def test_a_body_comes_out_as_it_went_in() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    body = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": t} for t in "ab"], "name": "n"},
            {"role": "assistant", "content": "x", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
            {"role": "assistant", "content": None, "refusal": "no"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": []}}}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_completion_tokens": 4,
        "stop": ["x"],
        "temperature": 0.5,
        "logit_bias": {"5": 1},
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "verbosity": "high",
        "user": "u",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
    }
    assert write(read_request(fields_of(body)), OPENAI) == body


@pytest.mark.parametrize("cut", range(1, 8))
@pytest.mark.parametrize("profile", [OPENAI, OTHER])
def test_a_longer_conversation_is_sent_as_an_extension_of_the_shorter_one(
    cut: int, profile: Profile
) -> None:
    """Providers cache by what a prompt begins with."""
    whole = (
        *turns(Text(text="s"), role="system"),
        *turns(Text(text="a"), PNG),
        *turns(Thinking(text="hm"), Text(text="b"), role="assistant"),
        *turns(Text(text="c")),
        *turns(ToolCall(id="c1", name="f", arguments=""), role="assistant"),
        *turns(Result(call_id="c1", parts=(Text(text="r"), PNG)), Text(text="d")),
        *turns(Refusal(text="no"), role="assistant"),
        *turns(Text(text="inside"), role="system"),
    )
    part = messages(whole[:cut], profile)
    assert messages(whole, profile)[: len(part)] == part


@pytest.mark.parametrize("call_id", ["call_AbC-123", "abcDEF123", "x" * 70])
def test_mistrals_call_ids_have_nine_characters_at_both_ends(call_id: str) -> None:
    request_turns = (
        *turns(ToolCall(id=call_id, name="f", arguments="{}"), role="assistant"),
        *turns(Result(call_id=call_id, parts=())),
    )
    call, result = messages(request_turns, Profile(family="mistral"))
    sent_id = call["tool_calls"][0]["id"]
    assert re.fullmatch("[a-zA-Z0-9]{9}", sent_id)
    assert result["tool_call_id"] == sent_id
    assert (sent_id == call_id) == (len(call_id) == 9)
