"""Requests for providers that speak Responses."""

import json
from typing import Any

import msgspec
import pytest

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
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Hosted,
    Image,
    Opaque,
    Part,
    Plain,
    Result,
    SearchResult,
    Text,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.responses.request_writer import write_request
from services.gateway.upstream.translation.tools import Function, Search
from tests.unit.translation.responses.bodies import (
    CODEX,
    MESSAGES_PATHS,
    OPENAI,
    USER,
    read,
    request,
    write,
    write_own,
)

SEARCHED = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "q"},
}


def test_codex_comes_back_as_it_was() -> None:
    body = write_own(read(CODEX))
    find = CODEX["tools"][2]["tools"][0] | {"strict": False}
    right: dict[str, Any] = json.loads(json.dumps(CODEX)) | {"model": "gpt-x"}
    del right["stream"]
    right["tools"][2]["tools"] = [find]
    del right["input"][2]["content"]
    for index, content in ((0, "d"), (1, "u"), (3, "on it")):
        right["input"][index]["content"] = content
        del right["input"][index]["type"]
    assert body == right


def test_leading_system_turns_are_instructions_and_later_ones_items() -> None:
    def system(text: str, cache: CacheMark | None = None) -> Turn:
        return Turn(role="system", parts=(Text(text=text, cache=cache),))

    user = Turn(role="user", parts=(Text(text="x"),))
    body = write(Request(turns=(system("a"), system("b"), user, system("c"))))
    assert body["instructions"] == "a\n\nb"
    assert body["input"][1] == {"role": "developer", "content": "c"}
    marked = write(Request(turns=(system("a", CacheMark(3600)), user)))
    assert "instructions" not in marked
    assert marked["input"][0]["content"] == [
        {
            "type": "input_text",
            "text": "a",
            "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
        }
    ]
    plain = Profile(family="openai")
    assert write(Request(turns=(system("a", CacheMark(3600)), user)), plain)["instructions"] == "a"


@pytest.mark.parametrize(
    ("part", "right"),
    [
        (
            Image(source=Bytes("image/png", "aGk=")),
            {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,aGk="},
        ),
        (
            DocumentPart(source=Bytes("application/pdf", "aGk="), title="T"),
            {
                "type": "input_file",
                "filename": "T",
                "file_data": "data:application/pdf;base64,aGk=",
            },
        ),
        (
            DocumentPart(source=Bytes("application/pdf", "aGk=")),
            {
                "type": "input_file",
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,aGk=",
            },
        ),
        (
            DocumentPart(source=Url("https://x/a.pdf")),
            {"type": "input_file", "file_url": "https://x/a.pdf"},
        ),
        (DocumentPart(source=Plain("words"), title="T"), "T\nwords"),
        (
            SearchResult(source="https://x", title="T", parts=(Text(text="a"), Text(text="b"))),
            "https://x\nT\na\nb",
        ),
    ],
)
def test_parts_of_others_are_carried(part: Part, right: Any) -> None:
    content = right if isinstance(right, str) else [right]
    assert write(request(part))["input"][0]["content"] == content
    result = Result(call_id="c", parts=(part,))
    assert write(request(result))["input"] == [
        {"type": "function_call_output", "call_id": "c", "output": content}
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image(source=FileId("f", "anthropic"), at=(0, 0)),
        DocumentPart(source=FileId("f", "anthropic"), at=(0, 0)),
        Opaque(kind="container_upload", raw=msgspec.Raw(b"{}"), family="anthropic", at=(0, 0)),
    ],
)
def test_objects_stored_by_another_provider_are_refused(part: Part) -> None:
    with pytest.raises(UnsupportedField) as refused:
        write(request(part))
    assert refused.value.param == "messages[0].content[0]"


def test_a_model_without_eyes_is_shown_nothing() -> None:
    image = Image(source=Url("https://x"), at=(0, 1))
    with pytest.raises(UnsupportedField, match="images"):
        write(request(image), Profile(sees=False))
    document = DocumentPart(source=Url("https://x"), at=(0, 1))
    with pytest.raises(UnsupportedField, match="files"):
        write(request(document), Profile(reads_pdf=False))


@pytest.mark.parametrize(
    ("parts", "right"),
    [
        ((), "Error:"),
        ((Text(text="boom"),), "Error: boom"),
        ((Text(text="Error: boom"),), "Error: boom"),
    ],
)
def test_a_failed_result_says_so(parts: tuple[Part, ...], right: str) -> None:
    result = Result(call_id="c", parts=parts, has_failed=True)
    assert write(request(result))["input"][0]["output"] == right
    fine = Result(call_id="c", parts=(), has_failed=False)
    assert write(request(fine))["input"][0]["output"] == ""


def test_searches_of_others_are_left_out_and_their_text_stays() -> None:
    searched = Hosted(kind="web_search", raw=msgspec.Raw(b"{}"), family="anthropic", at=(1, 0))
    turns = (
        Turn(role="user", parts=(Text(text="q"),)),
        Turn(role="assistant", parts=(searched, Text(text="found")), at=(1,)),
        Turn(role="user", parts=(Text(text="more"),)),
    )
    report = Report(MESSAGES_PATHS, drops=False)
    assert write(Request(turns=turns), report=report)["input"][1] == {
        "role": "assistant",
        "content": "found",
    }
    assert report.adapted_params == ("messages[1].content[0]",)
    openai_request = read({"input": [USER, SEARCHED, USER]})
    assert write_own(openai_request)["input"][1] == SEARCHED
    search_item = {**SEARCHED, "id": f"ws_{'0' * 48}_1"}
    assert write_own(read({"input": [USER, search_item, USER]}))["input"] == [USER, USER]


def test_a_turn_that_the_client_began_is_refused() -> None:
    turns = (
        Turn(role="user", parts=(Text(text="q"),)),
        Turn(role="assistant", parts=(Text(text="The answer is"),), at=(1,)),
    )
    with pytest.raises(UnsupportedField) as refused:
        write(Request(turns=turns))
    assert refused.value.param == "messages[1]"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"limits": OutputLimits(stop=("a",))}, "stop_sequences"),
        ({"sampling": Sampling(top_k=5)}, "sampling.top_k"),
        ({"sampling": Sampling(seed=5)}, "sampling.seed"),
        ({"sampling": Sampling(presence=0.5)}, "sampling.presence"),
        ({"sampling": Sampling(logit_bias=msgspec.Raw(b'{"1":2}'))}, "sampling.logit_bias"),
        ({"extra": {"context_management": msgspec.Raw(b"[]")}}, "context_management"),
        ({"extra": {"brand_new": msgspec.Raw(b"1")}}, "brand_new"),
        ({"tools": (Search(at=(0,), max_uses=3),)}, "tools[0].max_uses"),
        ({"tools": (Search(at=(0,), blocked=("x",)),)}, "tools[0].blocked_domains"),
    ],
)
def test_options_without_a_word_are_refused_or_named(fields: dict[str, Any], path: str) -> None:
    found = request(Text(text="hi"), **fields)
    with pytest.raises(UnsupportedField) as refused:
        write(found)
    assert refused.value.param == path
    report = Report(MESSAGES_PATHS, drops=True)
    write(found, report=report)
    assert report.dropped_params == (path,)


def test_neutral_options_are_ignored() -> None:
    sampling = Sampling(presence=0.0, frequency=0.0, logit_bias=msgspec.Raw(b"{}"))
    hints = {"stream_options": msgspec.Raw(b"{}")}
    body = write(request(Text(text="hi"), sampling=sampling, hints=hints))
    assert body.keys() == {"model", "input", "store", "include"}


@pytest.mark.parametrize(("keeps", "right"), [(None, False), (False, False), (True, True)])
def test_responses_are_stored_only_on_request(keeps: bool | None, right: bool) -> None:
    body = write(request(Text(text="hi"), labels=Labels(keeps=keeps)))
    assert body["store"] is right


@pytest.mark.parametrize(
    ("efforts", "wish", "right"),
    [
        (("low",), Wish(), ["reasoning.encrypted_content"]),
        ((), Wish(), None),
        (None, Wish(), None),
        (None, Wish(effort="low"), ["reasoning.encrypted_content"]),
    ],
)
def test_signed_thinking_is_asked_of_models_that_think(
    efforts: Any, wish: Wish, right: list[str] | None
) -> None:
    profile = Profile(family="openai", efforts=efforts)
    assert write(request(Text(text="hi"), thinking=wish), profile).get("include") == right
    openai_request = read({"input": "hi", "include": ["reasoning.encrypted_content"]})
    assert ("include" in write_own(openai_request, profile)) == (efforts != ())


@pytest.mark.parametrize(
    ("wish", "right"),
    [
        (Wish(), None),
        (Wish(mode="auto", effort="high"), {"effort": "high", "summary": "auto"}),
        (Wish(mode="on", is_shown=False), None),
        (Wish(effort="low"), {"effort": "low"}),
        (Wish(effort="none", mode="off"), {"effort": "none"}),
    ],
)
def test_a_wish_to_think(wish: Wish, right: Any) -> None:
    assert write(request(Text(text="hi"), thinking=wish)).get("reasoning") == right


def test_few_tokens_are_raised_to_openais_least() -> None:
    report = Report(MESSAGES_PATHS, drops=False)
    found = request(Text(text="hi"), limits=OutputLimits(output_tokens=1))
    assert write(found, report=report)["max_output_tokens"] == 16
    assert report.adapted_params == ("limits.output_tokens",)
    assert write(found, Profile())["max_output_tokens"] == 1


@pytest.mark.parametrize(
    ("schema", "right"),
    [
        (None, b'{"type":"object","properties":{}}'),
        (b'{"type":"object","x" : 1.0}', b'{"type":"object","x" : 1.0}'),
        (b'{"$schema":"s","type":"object"}', b'{"$schema":"s","type":"object"}'),
        (b"{}", b'{"type":"object"}'),
        (b'{ "properties":{"type":1}}', b'{"type":"object","properties":{"type":1}}'),
    ],
)
def test_schemas_go_byte_for_byte(schema: bytes | None, right: bytes) -> None:
    raw = None if schema is None else msgspec.Raw(schema)
    body = write_request_bytes(
        request(Text(text="x"), tools=(Function(name="f", at=(0,), schema=raw),))
    )
    assert b'"parameters":' + right + b',"strict":false' in body


def write_request_bytes(found: Request) -> bytes:

    report = Report(MESSAGES_PATHS, drops=False)
    return msgspec.json.encode(write_request(found, "m", OPENAI, report))


def test_a_schema_has_the_name_of_its_title() -> None:
    shape = Shape(kind="json_schema", schema=msgspec.Raw(b'{"title":"My Answer"}'), strict=True)
    body = write(request(Text(text="x"), shape=shape))
    assert body["text"]["format"] == {
        "type": "json_schema",
        "name": "My_Answer_" + body["text"]["format"]["name"][-8:],
        "schema": {"title": "My Answer"},
        "strict": True,
    }
    bare = Shape(kind="json_schema", schema=msgspec.Raw(b"{}"))
    assert write(request(Text(text="x"), shape=bare))["text"]["format"]["name"] == "answer"


def test_a_longer_conversation_extends_the_shorter_one() -> None:
    items = CODEX["input"]
    assert isinstance(items, list)
    whole = write_own(read({**CODEX, "input": items * 3}))["input"]
    for length in range(1, len(items) * 3):
        part = write_own(read({**CODEX, "input": (items * 3)[:length]}))["input"]
        assert whole[: len(part)] == part


def test_a_result_is_marked_at_its_end() -> None:
    mark = {"mode": "explicit", "ttl": "30m"}
    result = Result(call_id="c", parts=(Text(text="a"), Text(text="b")), cache=CacheMark(1800))
    assert write(request(result))["input"][0]["output"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_text", "text": "b", "prompt_cache_breakpoint": mark},
    ]
    plain = Profile(family="openai")
    assert len(write(request(result), plain)["input"][0]["output"][1]) == 2
    empty = Result(call_id="c", parts=(), cache=CacheMark(1800))
    assert write(request(empty))["input"][0]["output"] == ""


def test_the_context_of_a_file_precedes_the_file() -> None:
    source = Bytes("application/pdf", "aGk=")
    part = DocumentPart(source=source, context="from the archive", citable=True, at=(0, 0))
    report = Report(MESSAGES_PATHS, drops=False)
    content = write(request(part), report=report)["input"][0]["content"]
    assert [each["type"] for each in content] == ["input_text", "input_file"]
    assert content[0]["text"] == "from the archive"
    assert report.adapted_params == (
        "messages[0].content[0]",
        "messages[0].content[0].citations",
    )
