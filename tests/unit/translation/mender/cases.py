"""What each rule of the mender does: a request, a target, and what is sent to it."""

from hashlib import sha256

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.chat.paths import PATHS as CHAT
from services.gateway.upstream.translation.conversation import (
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.mender import (
    Rule,
    options,
    results,
    sampling,
    thinking,
    turns,
)
from services.gateway.upstream.translation.mender.cache_marks import cache_marks
from services.gateway.upstream.translation.messages.family import PATHS as MESSAGES
from services.gateway.upstream.translation.parts import (
    CacheMark,
    DocumentPart,
    Hosted,
    Plain,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths
from services.gateway.upstream.translation.responses.paths import PATHS as RESPONSES
from services.gateway.upstream.translation.tools import Function, Search, ToolChoice

USER = Turn(role="user", parts=(Text(text="q", at=(0, 0)),), at=(0,))
CALL = ToolCall(id="c1", name="f", arguments="{}", at=(1, 0))
RESULT = Result(call_id="c1", parts=(Text(text="r"),), at=(2, 0))
TOOL = Function(name="f", at=(0,))
IN_NAMESPACE = Function(name="f", at=(1, 0), namespace="n", namespace_description="what for")
STORED = Search(at=(1,), extra={"external_web_access": msgspec.Raw(b"false")})
OLD_CLAUDE = Profile(
    family="anthropic",
    formats=("messages",),
    efforts=(),
    has_budgets=True,
    max_output=64_000,
    takes_cache_marks=True,
    takes_top_k=True,
    checks_results=True,
    schema_dialect="anthropic",
    max_user_chars=256,
)
NEW_CLAUDE = msgspec.structs.replace(
    OLD_CLAUDE,
    efforts=("low", "medium", "high", "xhigh", "max"),
    has_budgets=False,
    is_adaptive=True,
    takes_sampling=False,
    max_output=128_000,
)
BOTH_CLAUDE = msgspec.structs.replace(
    NEW_CLAUDE, has_budgets=True, takes_sampling=True, efforts=("low", "medium", "high", "max")
)
ALWAYS_CLAUDE = msgspec.structs.replace(NEW_CLAUDE, always_thinks=True, takes_forced_tools=False)
GPT_5 = Profile(
    family="openai",
    formats=("responses", "chat"),
    efforts=("minimal", "low", "medium", "high"),
    max_output=128_000,
    checks_results=True,
    schema_dialect="openai",
)
GPT_54 = msgspec.structs.replace(
    GPT_5,
    efforts=("none", "low", "medium", "high", "xhigh"),
    default_effort="none",
    thinks_beside_tools=False,
)
GPT_4 = Profile(
    family="openai",
    formats=("responses", "chat"),
    efforts=(),
    max_output=32_768,
    schema_dialect="openai",
)
SERVER = Profile()
STRICT_SERVER = Profile(family="mistral", alternates=True)
REPLAYING = Profile(family="deepseek", replays_thinking="reasoning_content")


def request(*more: Turn, **fields: object) -> Request:
    return Request(turns=(USER, *more), **fields)  # type: ignore[arg-type]


def request_of(*turns: Turn, **fields: object) -> Request:
    return Request(turns=turns, **fields)  # type: ignore[arg-type]


def assistant(*parts: object) -> Turn:
    return Turn(role="assistant", parts=parts, at=(1,))  # type: ignore[arg-type]


def answered(*parts: object) -> Turn:
    return Turn(role="user", parts=parts or (RESULT,), at=(2,))  # type: ignore[arg-type]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """`sent` None: refused, at the path `refused`."""

    name: str
    rule: Rule
    to: ClientFormat
    profile: Profile
    request: Request
    sent: Request | None = None
    paths: Paths = CHAT
    adapted: tuple[str, ...] = ()
    # What is left out and named where options may be, and refused where they may not.
    dropped: tuple[str, ...] = ()
    refused: str | None = None


def limited(tokens: int, **fields: object) -> dict[str, object]:
    return {"limits": OutputLimits(output_tokens=tokens), **fields}


OFF = Wish(mode="off")
LONG = "u" * 149
LONG_DIGEST = sha256(LONG.encode()).hexdigest()
OWN = Thinking(text="t", signature=ThoughtSignature("anthropic", "s"), at=(1, 0))
THEIRS = Thinking(text="t", signature=ThoughtSignature("openai", "s"), at=(1, 0))
FOUND = Hosted(kind="web_search", raw=msgspec.Raw(b"{}"), family="anthropic", at=(1, 0))
IN_WORDS = "Answer with a single JSON value and nothing else. It follows this JSON schema:\n"
OPEN_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')


def marked(ttl_s: int | None, text: str = "m") -> Text:
    return Text(text=text, cache=None if ttl_s == 0 else CacheMark(ttl_s))


def users(*parts: object) -> Turn:
    return Turn(role="user", parts=parts, at=(0,))  # type: ignore[arg-type]


def system(*parts: object, role: str = "system") -> Turn:
    return Turn(role=role, parts=parts, at=(-1,))  # type: ignore[arg-type]


BILLING = Text(text="x-anthropic-billing-header: cc_version=2.1.197.b97;")
REMINDER = Text(text="<system-reminder>\nYou are a coding agent.\n</system-reminder>")
PROMPT = Text(text="You are a coding agent.")

THINKING = [
    Case(
        name="a model that cannot think is not asked to, by the client's name",
        rule=thinking.thinking_without_ability,
        to="responses",
        profile=GPT_4,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="on", budget_tokens=31_999)),
        sent=request(),
        adapted=("thinking",),
    ),
    Case(
        name="what is left to the model is not a loss",
        rule=thinking.thinking_without_ability,
        to="responses",
        profile=GPT_4,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="auto")),
        sent=request(),
    ),
    Case(
        name="a budget is an effort",
        rule=thinking.thinking_in_words,
        to="responses",
        profile=GPT_5,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="on", budget_tokens=31_999)),
        sent=request(thinking=Wish(mode="on", effort="high")),
    ),
    Case(
        name="an effort that the model lacks is the nearest",
        rule=thinking.thinking_in_words,
        to="chat",
        profile=GPT_5,
        request=request(thinking=Wish(effort="max")),
        sent=request(thinking=Wish(effort="high")),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="none is refused where the model always thinks",
        rule=thinking.thinking_in_words,
        to="chat",
        profile=GPT_5,
        request=request(thinking=Wish(effort="none")),
        sent=request(),
        dropped=("reasoning_effort",),
    ),
    Case(
        name="Anthropic's disabled is the least effort there",
        rule=thinking.thinking_in_words,
        to="chat",
        profile=GPT_5,
        paths=MESSAGES,
        request=request(thinking=OFF),
        sent=request(thinking=Wish(mode="off", effort="minimal")),
        adapted=("thinking",),
    ),
    Case(
        name="disabled is none where there is one",
        rule=thinking.thinking_in_words,
        to="responses",
        profile=GPT_54,
        paths=MESSAGES,
        request=request(thinking=OFF),
        sent=request(thinking=Wish(mode="off", effort="none")),
    ),
    Case(
        name="an effort is a budget",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(thinking=Wish(effort="high"), **limited(20_000)),
        sent=request(thinking=Wish(mode="on", budget_tokens=16_384), **limited(20_000)),
    ),
    Case(
        name="an effort is adaptive thinking where the model has it",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=NEW_CLAUDE,
        request=request(thinking=Wish(effort="minimal"), **limited(20_000)),
        sent=request(thinking=Wish(mode="auto", effort="low"), **limited(20_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="a budget is an effort where the model has none",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=NEW_CLAUDE,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="on", budget_tokens=2_000), **limited(20_000)),
        sent=request(thinking=Wish(mode="auto", effort="low"), **limited(20_000)),
        adapted=("thinking",),
    ),
    Case(
        name="adaptive thinking is a budget where the model has no other",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=OLD_CLAUDE,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="auto"), **limited(20_000)),
        sent=request(thinking=Wish(mode="on", budget_tokens=8_192), **limited(20_000)),
        adapted=("thinking",),
    ),
    Case(
        name="thinking that cannot be turned off is not",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=ALWAYS_CLAUDE,
        request=request(thinking=Wish(effort="none"), **limited(20_000)),
        sent=request(**limited(20_000)),
        dropped=("reasoning_effort",),
    ),
    Case(
        name="no thinking amid calls that no thought stands before",
        rule=thinking.thinking_amid_tools,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            assistant(CALL), answered(), thinking=Wish(effort="high"), **limited(20_000)
        ),
        sent=request(assistant(CALL), answered(), thinking=OFF, **limited(20_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="thinking amid calls goes on after a thought",
        rule=thinking.thinking_in_tokens,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            assistant(OWN, CALL), answered(), thinking=Wish(effort="high"), **limited(20_000)
        ),
        sent=request(
            assistant(OWN, CALL),
            answered(),
            thinking=Wish(mode="on", budget_tokens=16_384),
            **limited(20_000),
        ),
    ),
    Case(
        name="a forced tool excludes a budget",
        rule=thinking.thinking_and_forced_tools,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            thinking=Wish(effort="high"), choice=ToolChoice(mode="required"), **limited(20_000)
        ),
        sent=request(thinking=OFF, choice=ToolChoice(mode="required"), **limited(20_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="a budget leaves room for the answer",
        rule=thinking.budget_within_limit,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(thinking=Wish(effort="high"), **limited(3_000)),
        sent=request(thinking=Wish(mode="on", budget_tokens=1_976), **limited(3_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="without room for a budget there is no thinking",
        rule=thinking.budget_within_limit,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(thinking=Wish(effort="high"), **limited(1_000)),
        sent=request(thinking=OFF, **limited(1_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="sampling gives way to thinking",
        rule=thinking.thinking_and_sampling,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            thinking=Wish(effort="high"),
            sampling=Sampling(temperature=0.2, top_k=5),
            **limited(20_000),
        ),
        sent=request(thinking=Wish(mode="on", budget_tokens=16_384), **limited(20_000)),
        adapted=("temperature", "top_k"),
    ),
    Case(
        name="little thinking gives way to sampling",
        rule=thinking.thinking_and_sampling,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            thinking=Wish(effort="low"), sampling=Sampling(temperature=0), **limited(20_000)
        ),
        sent=request(thinking=OFF, sampling=Sampling(temperature=0), **limited(20_000)),
        adapted=("reasoning_effort",),
    ),
    Case(
        name="a high effort is the most without thinking",
        rule=thinking.effort_without_thinking,
        to="messages",
        profile=NEW_CLAUDE,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="off", effort="max"), **limited(20_000)),
        sent=request(thinking=Wish(mode="off", effort="high"), **limited(20_000)),
        adapted=("output_config.effort",),
    ),
    Case(
        name="functions in chat exclude thinking, by default too",
        rule=thinking.tools_in_chat,
        to="chat",
        profile=GPT_54,
        request=request(tools=(TOOL,)),
        sent=request(tools=(TOOL,), thinking=Wish(effort="none")),
    ),
    Case(
        name="functions in chat exclude an effort",
        rule=thinking.tools_in_chat,
        to="chat",
        profile=GPT_54,
        request=request(tools=(TOOL,), thinking=Wish(effort="high")),
        sent=request(tools=(TOOL,), thinking=Wish(effort="none")),
        dropped=("reasoning_effort",),
    ),
]

OPTIONS = [
    Case(
        name="Messages needs a limit",
        rule=options.output_limit,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(),
        sent=request(**limited(64_000)),
    ),
    Case(
        name="Messages needs a limit of unknown models, too",
        rule=options.output_limit,
        to="messages",
        profile=Profile(),
        request=request(),
        sent=request(**limited(32_000)),
    ),
    Case(
        name="no limit is above the model's",
        rule=options.output_limit,
        to="chat",
        profile=GPT_4,
        request=request(**limited(64_000)),
        sent=request(**limited(32_768)),
        adapted=("max_completion_tokens",),
    ),
    Case(
        name="a choice of a tool that there is not",
        rule=options.known_choice,
        to="chat",
        profile=SERVER,
        request=request(tools=(TOOL,), choice=ToolChoice(mode="required", names=("g",))),
        refused="tool_choice",
    ),
    Case(
        name="a mode that Claude has not is asked for in words",
        rule=options.json_mode,
        to="chat",
        profile=OLD_CLAUDE,
        request=request_of(system(PROMPT), USER, shape=Shape(kind="json_object"), **limited(1)),
        sent=request_of(
            system(PROMPT),
            Turn(
                role="system",
                parts=(Text(text="Answer with a single JSON object and nothing else."),),
            ),
            USER,
            **limited(1),
        ),
        adapted=("response_format",),
    ),
    Case(
        name="Claude needs a limit in chat, too",
        rule=options.output_limit,
        to="chat",
        profile=OLD_CLAUDE,
        request=request(),
        sent=request(**limited(64_000)),
    ),
    Case(
        name="Anthropic's models are not told what a schema is for",
        rule=options.unnamed_shape,
        to="messages",
        profile=msgspec.structs.replace(OLD_CLAUDE, schema_dialect="plain"),
        paths=RESPONSES,
        request=request(
            shape=Shape(kind="json_schema", schema=OPEN_SCHEMA, description="d"), **limited(1)
        ),
        sent=request(shape=Shape(kind="json_schema", schema=OPEN_SCHEMA), **limited(1)),
        adapted=("text.format.description",),
    ),
    Case(
        name="some models cannot be made to call a tool",
        rule=options.forced_tools,
        to="messages",
        profile=ALWAYS_CLAUDE,
        request=request(
            tools=(TOOL,), choice=ToolChoice(mode="required", names=("f",)), **limited(1)
        ),
        sent=request(tools=(TOOL,), choice=ToolChoice(), **limited(1)),
        dropped=("tool_choice",),
    ),
    Case(
        name="what OpenAI has stored is searched there alone",
        rule=options.stored_searches,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(tools=(TOOL, STORED), **limited(1)),
        sent=request(tools=(TOOL,), **limited(1)),
        adapted=("tools[1]",),
    ),
    Case(
        name="what a namespace is for has no word at others",
        rule=options.namespaces,
        to="chat",
        profile=SERVER,
        paths=RESPONSES,
        request=request(tools=(IN_NAMESPACE,)),
        sent=request(tools=(IN_NAMESPACE,)),
        adapted=("tools[1].description",),
    ),
    Case(
        name="a hint of style is OpenAI's alone",
        rule=options.verbosity,
        to="chat",
        profile=SERVER,
        request=request(verbosity="low"),
        sent=request(),
        adapted=("verbosity",),
    ),
    Case(
        name="the usual style is not a hint",
        rule=options.verbosity,
        to="chat",
        profile=SERVER,
        request=request(verbosity="medium"),
        sent=request(),
    ),
    Case(
        name="a user's label that is too long is a digest, and the key of a cache",
        rule=options.labels,
        to="responses",
        profile=GPT_4,
        paths=MESSAGES,
        request=request(labels=Labels(user=LONG)),
        sent=request(labels=Labels(user=LONG_DIGEST, cache_key=LONG_DIGEST)),
    ),
    Case(
        name="what OpenAI's clients call a user is not a key of a cache",
        rule=options.labels,
        to="responses",
        profile=GPT_4,
        request=request(labels=Labels(user=LONG, safety_id=LONG)),
        sent=request(labels=Labels(user=LONG_DIGEST, safety_id=LONG_DIGEST)),
    ),
    Case(
        name="metadata beyond OpenAI's bounds",
        rule=options.metadata,
        to="responses",
        profile=GPT_4,
        request=request(labels=Labels(metadata=msgspec.Raw(b'{"k":"' + b"v" * 513 + b'"}'))),
        sent=request(),
        dropped=("metadata",),
    ),
    Case(
        name="a schema that is not of the dialect is not strict",
        rule=options.strict_tools,
        to="chat",
        profile=GPT_4,
        paths=MESSAGES,
        request=request(tools=(Function(name="f", at=(2,), schema=OPEN_SCHEMA, strict=True),)),
        sent=request(tools=(Function(name="f", at=(2,), schema=OPEN_SCHEMA),)),
        dropped=("tools[2].strict",),
    ),
    Case(
        name="a model that follows no schema to the letter",
        rule=options.strict_tools,
        to="chat",
        profile=Profile(takes_strict=False),
        request=request(tools=(Function(name="f", at=(2,), schema=OPEN_SCHEMA, strict=True),)),
        sent=request(tools=(Function(name="f", at=(2,), schema=OPEN_SCHEMA),)),
        dropped=("tools[2].function.strict",),
    ),
    Case(
        name="an answer's schema that is not of the dialect is not strict",
        rule=options.strict_shape,
        to="responses",
        profile=GPT_4,
        paths=RESPONSES,
        request=request(shape=Shape(kind="json_schema", schema=OPEN_SCHEMA, strict=True)),
        sent=request(shape=Shape(kind="json_schema", schema=OPEN_SCHEMA)),
        dropped=("text.format.strict",),
    ),
    Case(
        name="Anthropic follows every schema to the letter",
        rule=options.strict_shape,
        to="messages",
        profile=OLD_CLAUDE,
        paths=RESPONSES,
        request=request(
            shape=Shape(kind="json_schema", schema=OPEN_SCHEMA, strict=True), **limited(1)
        ),
        sent=request(**limited(1)),
        dropped=("text.format.schema",),
    ),
    Case(
        name="a schema that need not be followed to the letter is told in words",
        rule=options.strict_shape,
        to="messages",
        profile=OLD_CLAUDE,
        request=request_of(
            system(PROMPT), USER, shape=Shape(kind="json_schema", schema=OPEN_SCHEMA), **limited(1)
        ),
        sent=request_of(
            system(PROMPT),
            Turn(role="system", parts=(Text(text=IN_WORDS + bytes(OPEN_SCHEMA).decode()),)),
            USER,
            **limited(1),
        ),
        adapted=("response_format.json_schema.schema",),
    ),
    Case(
        name="sampling that the model chooses itself",
        rule=sampling.refused_sampling,
        to="messages",
        profile=NEW_CLAUDE,
        request=request(sampling=Sampling(temperature=0.2), **limited(1)),
        sent=request(**limited(1)),
        dropped=("temperature",),
    ),
    Case(
        name="sampling that asks for nothing else is left out without a word",
        rule=sampling.refused_sampling,
        to="messages",
        profile=NEW_CLAUDE,
        request=request(sampling=Sampling(temperature=1, top_p=1.0), **limited(1)),
        sent=request(**limited(1)),
    ),
    Case(
        name="kinds of sampling that a server refuses",
        rule=sampling.lacking_sampling,
        to="chat",
        profile=Profile(lacks=("logit_bias", "wants_logprobs")),
        request=request(
            sampling=Sampling(seed=1, logit_bias=msgspec.Raw(b"{}"), wants_logprobs=True)
        ),
        sent=request(sampling=Sampling(seed=1)),
        dropped=("logprobs",),
    ),
    Case(
        name="a server that knows no users is told of none",
        rule=options.labels,
        to="chat",
        profile=Profile(max_user_chars=0),
        request=request(labels=Labels(user="u")),
        sent=request(),
    ),
    Case(
        name="a budget of a server that nothing is known of is one of the usual efforts",
        rule=thinking.thinking_in_words,
        to="chat",
        profile=SERVER,
        paths=MESSAGES,
        request=request(thinking=Wish(mode="on", budget_tokens=31_999)),
        sent=request(thinking=Wish(mode="on", effort="high")),
    ),
    Case(
        name="OpenAI's models take no sampling while they think",
        rule=sampling.sampling_while_thinking,
        to="responses",
        profile=GPT_5,
        request=request(sampling=Sampling(temperature=0.2, presence=0)),
        sent=request(),
        dropped=("temperature",),
    ),
    Case(
        name="a temperature or a share of the probability",
        rule=sampling.one_way_of_sampling,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(sampling=Sampling(temperature=0.2, top_p=0.9), **limited(1)),
        sent=request(sampling=Sampling(temperature=0.2), **limited(1)),
        adapted=("top_p",),
    ),
]

TURNS = [
    Case(
        name="Claude Code's billing line is Anthropic's alone",
        rule=turns.billing_line,
        to="chat",
        profile=GPT_4,
        paths=MESSAGES,
        request=Request(turns=(system(BILLING, PROMPT), USER)),
        sent=Request(turns=(system(PROMPT), USER)),
    ),
    Case(
        name="a billing line alone leaves no turn",
        rule=turns.billing_line,
        to="responses",
        profile=GPT_4,
        paths=MESSAGES,
        request=Request(turns=(system(BILLING), USER)),
        sent=Request(turns=(USER,)),
    ),
    Case(
        name="the billing line of another server",
        rule=turns.billing_line,
        to="chat",
        profile=SERVER,
        paths=MESSAGES,
        request=Request(turns=(system(BILLING, PROMPT), USER)),
        sent=Request(turns=(system(PROMPT), USER)),
    ),
    Case(
        name="another family's thinking is left out, all of its turn's",
        rule=turns.foreign_thinking,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(assistant(OWN, THEIRS, Text(text="a")), USER, **limited(1)),
        sent=request(assistant(Text(text="a")), USER, **limited(1)),
    ),
    Case(
        name="a thought for a model that has none",
        rule=turns.foreign_thinking,
        to="responses",
        profile=GPT_4,
        request=request(assistant(THEIRS, Text(text="a")), USER),
        sent=request(assistant(Text(text="a")), USER),
    ),
    Case(
        name="another family's signature on a call",
        rule=turns.foreign_thinking,
        to="chat",
        profile=SERVER,
        request=request(
            assistant(msgspec.structs.replace(CALL, signature=ThoughtSignature("google", "x"))),
            answered(),
        ),
        sent=request(assistant(CALL), answered()),
    ),
    Case(
        name="unsigned thinking goes where it is asked for, and signed does not",
        rule=turns.foreign_thinking,
        to="chat",
        profile=REPLAYING,
        request=request(
            assistant(Thinking(text="mine", signature=ThoughtSignature("none", ""))),
            USER,
            assistant(THEIRS, CALL),
            answered(),
        ),
        sent=request(
            assistant(Thinking(text="mine", signature=ThoughtSignature("none", ""))),
            USER,
            assistant(CALL),
            answered(),
        ),
    ),
    Case(
        name="what another provider searched for",
        rule=turns.foreign_searches,
        to="chat",
        profile=GPT_5,
        paths=MESSAGES,
        request=request(assistant(FOUND, Text(text="a")), USER),
        sent=request(assistant(Text(text="a")), USER),
        adapted=("messages[1].content[0]",),
    ),
    Case(
        name="members of a call that another format has no words for",
        rule=turns.foreign_members,
        to="chat",
        profile=SERVER,
        paths=MESSAGES,
        request=request(
            assistant(msgspec.structs.replace(CALL, extra={"caller": msgspec.Raw(b"{}")})),
            answered(),
        ),
        refused="messages[1].content[0].caller",
    ),
    Case(
        name="citations that nobody will give",
        rule=turns.foreign_members,
        to="chat",
        profile=SERVER,
        paths=MESSAGES,
        request=request(users(DocumentPart(source=Plain("t"), citable=True, at=(3, 1)))),
        sent=request(users(DocumentPart(source=Plain("t"), citable=True, at=(3, 1)))),
        adapted=("messages[3].content[1].citations",),
    ),
    Case(
        name="a thought that nothing follows",
        rule=turns.orphaned_thinking,
        to="responses",
        profile=GPT_5,
        request=request(assistant(Text(text="a"), THEIRS), USER),
        sent=request(assistant(Text(text="a")), USER),
    ),
    Case(
        name="a user's turn that says something",
        rule=turns.a_users_turn,
        to="messages",
        profile=OLD_CLAUDE,
        request=Request(turns=(system(PROMPT), users(Text(text=" ")))),
        refused="messages",
    ),
    Case(
        name="a system message inside, but not before results",
        rule=turns.system_inside,
        to="chat",
        profile=Profile(takes_system_inside=False),
        request=Request(
            turns=(
                system(PROMPT),
                assistant(CALL),
                system(PROMPT, role="developer"),
                answered(),
                assistant(),
            )
        ),
        sent=Request(
            turns=(
                system(PROMPT),
                assistant(CALL),
                answered(),
                Turn(role="user", parts=(REMINDER,), at=(-1,)),
                assistant(),
            )
        ),
        adapted=("system[0]",),
    ),
    Case(
        name="neighbours are joined where turns alternate",
        rule=turns.alternation,
        to="chat",
        profile=STRICT_SERVER,
        request=Request(
            turns=(USER, USER, system(PROMPT, role="developer"), assistant(), assistant())
        ),
        sent=Request(
            turns=(
                users(
                    *USER.parts,
                    *USER.parts,
                    Text(text="<system-reminder>\nYou are a coding agent.\n</system-reminder>"),
                ),
                assistant(),
            )
        ),
    ),
    Case(
        name="a result without a call",
        rule=results.matched_results,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(assistant(Text(text="a")), answered()),
        refused="messages[2].content[0]",
    ),
    Case(
        name="a call without a result",
        rule=results.matched_results,
        to="chat",
        profile=GPT_5,
        request=request(assistant(CALL), USER),
        refused="messages[1].content[0]",
    ),
    Case(
        name="a call without a result, in Responses",
        rule=results.matched_results,
        to="responses",
        profile=GPT_5,
        paths=RESPONSES,
        request=request(assistant(msgspec.structs.replace(CALL, at=(1,)))),
        refused="input[1]",
    ),
]

MARKS = [
    Case(
        name="the newest four marks are kept, and none is shorter than one after it",
        rule=cache_marks,
        to="messages",
        profile=OLD_CLAUDE,
        request=Request(
            turns=(users(*map(marked, (3600, 300, 0, 1800, 43200, None))),),
            tools=(Function(name="f", at=(0,), cache=CacheMark(300)),),
            **limited(1),  # type: ignore[arg-type]
        ),
        sent=Request(
            turns=(users(*map(marked, (0, 3600, 0, 3600, 3600, None))),),
            tools=(TOOL,),
            **limited(1),  # type: ignore[arg-type]
        ),
    ),
    Case(
        name="the mark of the whole request is one of them",
        rule=cache_marks,
        to="messages",
        profile=OLD_CLAUDE,
        request=request(
            users(*map(marked, (300, 300, 300, 300))), auto_cache=CacheMark(43200), **limited(1)
        ),
        sent=request(
            users(*map(marked, (0, 3600, 3600, 3600))), auto_cache=CacheMark(3600), **limited(1)
        ),
    ),
    Case(
        name="OpenAI's marks last no shorter than Anthropic's",
        rule=cache_marks,
        to="responses",
        profile=msgspec.structs.replace(GPT_4, takes_cache_marks=True),
        paths=MESSAGES,
        request=request(users(*map(marked, (None, 3600, 300)))),
        sent=request(users(*map(marked, (None, 43200, 1800)))),
    ),
]
CASES = [*THINKING, *OPTIONS, *TURNS, *MARKS]
