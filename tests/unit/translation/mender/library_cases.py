"""As `cases`, of targets that LiteLLM carries the calls to."""

from typing import Any

import msgspec

from services.gateway.upstream.translation.conversation import (
    OutputLimits,
    Shape,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.mender import (
    bedrock,
    gemini,
    library,
    options,
    thinking,
    turns,
)
from services.gateway.upstream.translation.parts import (
    Audio,
    Bytes,
    Image,
    Part,
    Result,
    Text,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.tools import Function, ToolChoice
from tests.unit.translation.mender.cases import (
    CALL,
    RESULT,
    TOOL,
    USER,
    Case,
    answered,
    assistant,
    request,
    request_of,
)

GEMINI_25 = Profile(
    family="google", library="gemini", efforts=(), has_budgets=True, max_user_chars=0
)
GEMINI_25_PRO = msgspec.structs.replace(GEMINI_25, always_thinks=True)
GEMINI_3 = msgspec.structs.replace(
    GEMINI_25, efforts=("minimal", "low", "medium", "high"), has_budgets=False, always_thinks=True
)
GEMINI_3_PRO = msgspec.structs.replace(GEMINI_3, efforts=("low", "medium", "high"))
NOVA = Profile(family="bedrock", library="bedrock", efforts=("low", "medium", "high"))
SERVER = Profile(family="cohere", library="cohere")
CLAUDE = Profile(
    family="anthropic", library="bedrock", efforts=(), has_budgets=True, max_output=64_000
)
CLAUDES: dict[str, Any] = {"limits": OutputLimits(output_tokens=64_000)}


def case(**fields: Any) -> Case:
    return Case(to="chat", **fields)


def user(*parts: Part) -> Turn:
    return Turn(role="user", parts=parts, at=(0,))


def schema(text: str) -> Function:
    return Function(name="f", at=(0,), schema=msgspec.Raw(text.encode()))


OF_ANY = [
    case(
        name="broken arguments go back as the text that they are",
        rule=library.whole_arguments,
        profile=SERVER,
        request=request(assistant(msgspec.structs.replace(CALL, arguments='{"a"')), answered()),
        sent=request(
            assistant(msgspec.structs.replace(CALL, arguments='{"input":"{\\"a\\""}')), answered()
        ),
        adapted=("messages[1].content[0]",),
    ),
    case(
        name="the choice that holds anyway is not said",
        rule=library.default_choice,
        profile=SERVER,
        request=request(tools=(TOOL,), choice=ToolChoice()),
        sent=request(tools=(TOOL,)),
    ),
]
OF_BEDROCK = [
    case(
        name="sounds are refused",
        rule=bedrock.carried_parts,
        profile=NOVA,
        request=request_of(user(Audio(data="AA==", format="wav", at=(0, 0)))),
        refused="messages[0].content[0]",
    ),
    case(
        name="pictures by address as well",
        rule=bedrock.carried_parts,
        profile=NOVA,
        request=request_of(user(Image(source=Url("https://x.org/a.png"), at=(0, 0)))),
        refused="messages[0].content[0]",
    ),
    case(
        name="and pictures of other types, in results too",
        rule=bedrock.carried_parts,
        profile=NOVA,
        request=request(
            assistant(CALL),
            answered(
                Result(
                    call_id="c1",
                    parts=(Image(source=Bytes("image/svg+xml", "AA=="), at=(2, 0, 0)),),
                    at=(2, 0),
                )
            ),
            tools=(TOOL,),
        ),
        refused="messages[2].content[0].content[0]",
    ),
    case(
        name="no call is made without tools",
        rule=bedrock.no_choice,
        profile=CLAUDE,
        request=request(tools=(TOOL,), choice=ToolChoice(mode="none")),
        sent=request(**CLAUDES),
    ),
    case(
        name="none cannot be chosen beside earlier calls",
        rule=bedrock.no_choice,
        profile=NOVA,
        request=request(assistant(CALL), answered(), tools=(TOOL,), choice=ToolChoice(mode="none")),
        sent=request(assistant(CALL), answered(), tools=(TOOL,)),
        dropped=("tool_choice",),
    ),
    case(
        name="earlier calls without tools are refused",
        rule=bedrock.tools_of_history,
        profile=CLAUDE,
        request=request(assistant(CALL), answered()),
        refused="tools",
    ),
    case(
        name="one call at a time is for Claude alone",
        rule=library.parallel_tool_calls,
        profile=NOVA,
        request=request(tools=(TOOL,), parallel=False),
        sent=request(tools=(TOOL,)),
        dropped=("parallel_tool_calls",),
    ),
    case(
        name="an object is asked for in words",
        rule=options.json_mode,
        profile=NOVA,
        request=request(shape=Shape(kind="json_object")),
        sent=request_of(
            Turn(
                role="system",
                parts=(Text(text="Answer with a single JSON object and nothing else."),),
            ),
            USER,
        ),
        adapted=("response_format",),
    ),
    case(
        name="somebody is to be answered",
        rule=turns.a_users_turn,
        profile=NOVA,
        request=request_of(Turn(role="system", parts=(Text(text="s"),), at=(0,))),
        refused="messages",
    ),
    case(
        name="an effort that the model does not have",
        rule=thinking.thinking_in_words,
        profile=NOVA,
        request=request(thinking=Wish(effort="max")),
        sent=request(thinking=Wish(effort="high")),
        adapted=("reasoning_effort",),
    ),
]
OF_GEMINI = [
    case(
        name="a picture that somebody would have to fetch",
        rule=gemini.sent_pictures,
        profile=GEMINI_3,
        request=request_of(user(Image(source=Url("https://x.org/a.png"), at=(0, 0)))),
        refused="messages[0].content[0]",
    ),
    case(
        name="one call at a time",
        rule=library.parallel_tool_calls,
        profile=GEMINI_3,
        request=request(tools=(TOOL,), parallel=False),
        sent=request(tools=(TOOL,)),
        dropped=("parallel_tool_calls",),
    ),
    case(
        name="a form beside tools",
        rule=gemini.shape_beside_tools,
        profile=GEMINI_25,
        request=request(tools=(TOOL,), shape=Shape(kind="json_object")),
        sent=request(tools=(TOOL,)),
        dropped=("response_format",),
    ),
    case(
        name="each form is followed to the letter",
        rule=gemini.always_strict_shape,
        profile=msgspec.structs.replace(GEMINI_3, takes_strict=False),
        request=request(shape=Shape(kind="json_schema", name="n", strict=True)),
        sent=request(shape=Shape(kind="json_schema", name="n")),
    ),
    case(
        name="what a form is for is not told",
        rule=options.unnamed_shape,
        profile=GEMINI_3,
        request=request(shape=Shape(kind="json_schema", name="n", description="d")),
        sent=request(shape=Shape(kind="json_schema", name="n")),
        adapted=("response_format.json_schema.description",),
    ),
    case(
        name="a constant",
        rule=gemini.known_schemas,
        profile=GEMINI_3,
        request=request(tools=(schema('{"type":"object","properties":{"a":{"const":"x"}}}'),)),
        sent=request(
            tools=(schema('{"type":"object","properties":{"a":{"enum":["x"],"type":"string"}}}'),)
        ),
        adapted=("tools[0]",),
    ),
    case(
        name="two equal calls",
        rule=gemini.equal_calls,
        profile=GEMINI_25,
        request=request(
            assistant(CALL, ToolCall(id="c2", name="f", arguments="{}", at=(1, 1))),
            answered(RESULT, Result(call_id="c2", parts=(Text(text="s"),), at=(3, 0))),
        ),
        sent=request(
            assistant(CALL),
            answered(msgspec.structs.replace(RESULT, parts=(Text(text="r"), Text(text="s")))),
        ),
        adapted=("messages[1].content[1]",),
    ),
    case(
        name="results in another order than their calls",
        rule=gemini.results_in_order,
        profile=GEMINI_25,
        request=request(
            assistant(CALL, ToolCall(id="c2", name="g", arguments="{}", at=(1, 1))),
            answered(Result(call_id="c2", parts=(Text(text="s"),), at=(2, 0)), RESULT),
        ),
        sent=request(
            assistant(CALL, ToolCall(id="c2", name="g", arguments="{}", at=(1, 1))),
            answered(RESULT, Result(call_id="c2", parts=(Text(text="s"),), at=(2, 0))),
        ),
    ),
    case(
        name="thinking within the limit of the answer",
        rule=gemini.thinking_for_gemini,
        profile=GEMINI_25,
        request=request(thinking=Wish(effort="high"), limits=OutputLimits(output_tokens=1_500)),
        sent=request(
            thinking=Wish(mode="on", budget_tokens=750), limits=OutputLimits(output_tokens=1_500)
        ),
        adapted=("reasoning_effort",),
    ),
    case(
        name="no thinking of a model that always thinks",
        rule=gemini.thinking_for_gemini,
        profile=GEMINI_3_PRO,
        request=request(thinking=Wish(effort="none")),
        sent=request(),
        dropped=("reasoning_effort",),
    ),
]
LIBRARY_CASES = [*OF_ANY, *OF_BEDROCK, *OF_GEMINI]
