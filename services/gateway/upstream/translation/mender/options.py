"""Limits, labels and what is asked of tools and of the answer's form."""

from hashlib import sha256

import msgspec
from msgspec.structs import replace

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.conversation import (
    Labels,
    Request,
    Shape,
    Turn,
)
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.mender.turns import SYSTEM
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.parts import Text
from services.gateway.upstream.translation.refusals import invalid
from services.gateway.upstream.translation.schemas import schema_problem
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    Tool,
    ToolChoice,
)

# For models whose own is not known; Anthropic's format demands a limit.
_DEFAULT_OUTPUT_TOKENS = 32_000
_MAX_SAFETY_ID_CHARS = 128
_DIGEST_CHARS = 64
_MAX_METADATA = 16
_MAX_METADATA_KEY_CHARS = 64
_MAX_METADATA_CHARS = 512
_JSON_MODE = "Answer with a single JSON object and nothing else."
_BY_SCHEMA = "Answer with a single JSON value and nothing else. It follows this JSON schema:\n"
_SEARCHES = frozenset({"web_search", "web_search_preview"})
_NO_EFFECT = "medium"
_WEB_ACCESS = "external_web_access"

_metadata = msgspec.json.Decoder(dict[str, str])


def output_limit(request: Request, aim: Aim) -> Request:
    """Claude and Messages need a limit; no limit exceeds the model's maximum."""
    client_limit, max_output = request.limits.output_tokens, aim.profile.max_output
    limit = client_limit
    if limit is None and (aim.is_claude or aim.to == "messages"):
        limit = max_output or _DEFAULT_OUTPUT_TOKENS
    if limit is not None and max_output is not None and limit > max_output:
        aim.adapted("limits.output_tokens")
        limit = max_output
    if limit == client_limit:
        return request
    return replace(request, limits=replace(request.limits, output_tokens=limit))


def forced_tools(request: Request, aim: Aim) -> Request:
    """For models that always decide themselves whether to call a tool."""
    choice = request.choice
    if aim.profile.takes_forced_tools or choice is None or choice.mode != "required":
        return request
    aim.unsupported("choice", "the model cannot be forced to call a tool")
    names = choice.names if len(choice.names) > 1 else ()
    return replace(request, choice=ToolChoice(names=names))


def known_choice(request: Request, aim: Aim) -> Request:
    """Raises InvalidRequest if the chosen tool does not exist."""
    names = () if request.choice is None else request.choice.names
    if not names or any(isinstance(tool, HostedTool) for tool in request.tools):
        return request
    known: set[str] = set()
    for tool in request.tools:
        if isinstance(tool, Search):
            known |= _SEARCHES
        elif not isinstance(tool, HostedTool):
            known |= {tool.name, sent_name(tool.name, tool.namespace, aim.profile.max_name_chars)}
    for name in names:
        if name not in known:
            # OpenAI's first form of tools has its own word for the choice.
            is_legacy = request.has_legacy_functions
            path = "function_call" if is_legacy else aim.report.paths.field("choice")
            raise invalid(path, f"no tool has the name {name[:64]!r}")
    return request


def stored_searches(request: Request, aim: Aim) -> Request:
    """Only OpenAI can search its stored pages: elsewhere the model gets no search, for
    another provider would search the web itself. Codex offers it in every call.
    """
    if Search not in map(type, request.tools) or (aim.is_openai and aim.to == "responses"):
        return request
    kept = tuple(tool for tool in request.tools if not _is_stored_search(tool))
    if len(kept) == len(request.tools):
        return request
    for tool in request.tools:
        if _is_stored_search(tool):
            aim.report.adapted(aim.report.paths.tool(tool.at))
    return replace(request, tools=kept)


def _is_stored_search(tool: Tool) -> bool:
    return isinstance(tool, Search) and bytes(tool.extra.get(_WEB_ACCESS, b"")) == b"false"


def namespaces(request: Request, aim: Aim) -> Request:
    """Reports descriptions of namespaces, which only OpenAI's Responses can carry."""
    if aim.client != "responses" or (aim.to == "responses" and aim.is_openai):
        return request
    for tool in request.tools:
        if isinstance(tool, Function | Freeform) and tool.namespace_description:
            aim.report.adapted(aim.report.paths.tool(tool.at[:-1], "description"))
    return request


def verbosity(request: Request, aim: Aim) -> Request:
    """Drops this hint of style for models other than OpenAI's."""
    if request.verbosity is None or aim.is_openai:
        return request
    if request.verbosity != _NO_EFFECT:
        aim.adapted("verbosity")
    return replace(request, verbosity=None)


def labels(request: Request, aim: Aim) -> Request:
    """Replaces a label that is too long by its digest, which is the same for the same user.

    OpenAI sends the requests of one session to one cache by a key, which Anthropic's clients have
    no word for but their user's.
    """
    old = request.labels
    if old.user is None and old.safety_id is None:
        return request
    user = _label(old.user, aim.profile.max_user_chars)
    cache_key = old.cache_key
    if cache_key is None and old.user is not None and aim.is_openai and aim.from_messages:
        cache_key = _digest(old.user)
    new: Labels = replace(
        old, user=user, safety_id=_label(old.safety_id, _MAX_SAFETY_ID_CHARS), cache_key=cache_key
    )
    return request if new == old else replace(request, labels=new)


def _label(label: str | None, max_chars: int) -> str | None:
    if label is None or len(label) <= max_chars:
        return label
    return _digest(label) if max_chars >= _DIGEST_CHARS else None


def _digest(label: str) -> str:
    return sha256(label.encode("utf-8", "surrogatepass")).hexdigest()


def metadata(request: Request, aim: Aim) -> Request:
    """Checks OpenAI's bounds on stored metadata."""
    raw = request.labels.metadata
    if raw is None:
        return request
    try:
        pairs = _metadata.decode(raw)
    except UNREADABLE:
        # Whatever it is, the provider says best what is wrong with it.
        return request
    fits = len(pairs) <= _MAX_METADATA and all(
        len(key) <= _MAX_METADATA_KEY_CHARS and len(value) <= _MAX_METADATA_CHARS
        for key, value in pairs.items()
    )
    if fits:
        return request
    aim.unsupported(
        "labels.metadata",
        f"the provider keeps at most {_MAX_METADATA} pairs, with keys of "
        f"{_MAX_METADATA_KEY_CHARS} and values of {_MAX_METADATA_CHARS} characters",
    )
    return replace(request, labels=replace(request.labels, metadata=None))


def strict_tools(request: Request, aim: Aim) -> Request:
    """Keeps `strict` only for schemas in the target's dialect."""
    if not any(isinstance(tool, Function) and tool.strict for tool in request.tools):
        return request
    return replace(request, tools=tuple(_loosen(tool, aim) for tool in request.tools))


def _loosen(tool: Tool, aim: Aim) -> Tool:
    if not isinstance(tool, Function) or not tool.strict:
        return tool
    why = _strict_problem(tool.schema, aim)
    if why is None:
        return tool
    aim.report.unsupported(aim.report.paths.tool(tool.at, "strict"), why)
    return replace(tool, strict=None)


def strict_shape(request: Request, aim: Aim) -> Request:
    """Anthropic knows only strict response formats.

    One that need not be, and is not of its dialect, is told below the system's other words.
    """
    shape = request.shape
    if shape is None or shape.kind != "json_schema":
        return request
    is_always = aim.profile.schema_dialect == "anthropic" and shape.schema is not None
    if not shape.strict and not is_always:
        return request
    why = _strict_problem(shape.schema, aim)
    if why is None:
        return request
    if shape.schema is not None and is_always and not (shape.strict or aim.from_messages):
        aim.adapted("shape.schema")
        mended = _with_line(request, _BY_SCHEMA + bytes(shape.schema).decode())
        return replace(mended, shape=None)
    if is_always:
        aim.unsupported("shape.schema", why)
        return replace(request, shape=None)
    aim.unsupported("shape.strict", why)
    loose: Shape = replace(shape, strict=None)
    return replace(request, shape=loose)


def json_mode(request: Request, aim: Aim) -> Request:
    """Claude has no JSON mode: a line at the end of the system prompt asks for one object.

    A form that has a name and no schema is any object, too.

    In Messages the writer does so.
    """
    shape = request.shape
    if shape is None or shape.schema is not None or aim.to == "messages":
        return request
    aim.adapted("shape")
    return replace(_with_line(request, _JSON_MODE), shape=None)


def _with_line(request: Request, text: str) -> Request:
    """Adds the line at the end of the system prompt."""
    place = 0
    while place < len(request.turns) and request.turns[place].role in SYSTEM:
        place += 1
    line = Turn(role="system", parts=(Text(text=text),))
    return replace(request, turns=(*request.turns[:place], line, *request.turns[place:]))


def unnamed_shape(request: Request, aim: Aim) -> Request:
    """Drops the description of a schema, which Anthropic does not accept."""
    if request.shape is not None and request.shape.description is not None:
        aim.adapted("shape.description")
        return replace(request, shape=replace(request.shape, description=None))
    return request


def _strict_problem(schema: msgspec.Raw | None, aim: Aim) -> str | None:
    if not aim.profile.takes_strict:
        return "the model does not support strict schemas"
    if schema is None or aim.profile.schema_dialect == "plain":
        return None
    return schema_problem(schema, aim.profile.schema_dialect)
