"""Which fields of each format name an object that a provider keeps: the one table of them.

All accounts share the operator's key, so a provider would hand out anybody's object to whoever
names it. A field is therefore in one of three classes:

- what a call can make (`makeable`) is served to the account whose call made it;
- what the operator made past the gateway (`grantable`) is served where an administrator allows it;
- labels name nothing that a provider looks up: they are the client's own, or refer to another part
  of the same request.

A test has the labels, walks the request types of the newest SDKs, and fails on a field that is in
no class.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat

# An object of a request's JSON, with every member that it has: a name may come twice.
Members = Sequence[tuple[str, Any]]

# Of whatever holds the field.
ANY = "*"


class ObjectRule(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of object that a field names, and who may name it.

    `continues`: what the object holds becomes input of the call. `relayed_only`: a translation
    leaves the field out. `thread`: SDKs start a thread anew where theirs is not found.
    `unless` tells by the members around the field that it names nothing kept.
    """

    noun: str
    makeable: bool = False
    grantable: bool = False
    continues: bool = False
    relayed_only: bool = False
    thread: bool = False
    unless: Callable[[Members], bool] | None = None


# The client's own data, or a copy of an earlier answer: its names are not looked up.
OPAQUE = frozenset(
    {
        "annotations",
        "arguments",
        "attributes",
        "citations",
        "client_metadata",
        "headers",
        "input",
        "input_examples",
        "input_schema",
        "metadata",
        "output_schema",
        "parameters",
        "results",
        "schema",
    }
)


class ObjectFields(msgspec.Struct, frozen=True, kw_only=True):
    """One format's. A rule's key is the member that holds the field, and the field.

    `heads` are the members of the body that name, or hold, objects and little else. In all others
    the rules' names are looked for, where the body has some of the bytes `coarse`. Parts of the
    types `foreign` are passed over.
    """

    rules: Mapping[tuple[str, str], ObjectRule]
    members: frozenset[str]
    opaque: frozenset[str]
    heads: frozenset[str]
    coarse: tuple[bytes, ...]
    named_in: Callable[[bytes], Sequence[bytes]]
    foreign: tuple[str, ...] = ()

    def is_foreign(self, part: Members) -> bool:
        return any(
            isinstance(type_, str) and type_.startswith(self.foreign)
            for type_ in _values(part, "type")
        )


def _fields(
    rules: Mapping[tuple[str, str], ObjectRule],
    *,
    heads: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    coarse: tuple[bytes, ...] = (),
    opaque: frozenset[str] = OPAQUE,
    foreign: tuple[str, ...] = (),
) -> ObjectFields:
    """`names` are what is looked for outside of the heads."""
    pattern = re.compile(b"|".join(b'"%b"' % name.encode() for name in names))
    return ObjectFields(
        rules=rules,
        opaque=opaque,
        heads=frozenset(heads),
        coarse=coarse,
        members=frozenset(name for _, name in rules),
        named_in=pattern.findall,
        foreign=foreign,
    )


def _values(members: Members, name: str) -> list[Any]:
    return [value for member, value in members if member == name]


def _is_built_in(skill: Members) -> bool:
    return _values(skill, "type") == ["anthropic"]


# Items that say all there is to them: a provider takes their id for a label.
_WHOLE = frozenset(
    {
        "message",
        "additional_tools",
        "agent_message",
        "apply_patch_call",
        "apply_patch_call_output",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "multi_agent_call",
        "multi_agent_call_output",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
    }
)
# Items whose content may be left to the provider, by the member that has it where it is not.
_CONTENT = {
    "compaction": "encrypted_content",
    "file_search_call": "results",
    "image_generation_call": "result",
    "reasoning": "encrypted_content",
}


def _is_whole(item: Members) -> bool:
    """Whether the item is complete, so that the provider looks nothing up."""
    types = _values(item, "type")
    if types in ([], [None]):
        return any(role is not None for role in _values(item, "role"))
    if len(types) > 1 or not isinstance(types[0], str):
        return False
    if types[0] in _WHOLE:
        return True
    content = _values(item, _CONTENT.get(types[0], ""))
    return bool(content) and all(content)


_RESPONSE = ObjectRule(noun="Response", makeable=True, continues=True)
_MESSAGE = ObjectRule(noun="Message", makeable=True, continues=True, thread=True)
_ITEM = ObjectRule(noun="Item", makeable=True, relayed_only=True, unless=_is_whole)
_AUDIO = ObjectRule(noun="Audio", makeable=True)
_CONTAINER = ObjectRule(noun="Container", makeable=True, grantable=True)
_FILE = ObjectRule(noun="File", makeable=True, grantable=True)
_SKILL = ObjectRule(noun="Skill", grantable=True)

_CHAT = _fields(
    {
        ("audio", "id"): _AUDIO,
        ("voice", "id"): ObjectRule(noun="Voice", grantable=True),
        (ANY, "file_id"): _FILE,
    },
    heads=("audio",),
    names=("file_id", "audio"),
    coarse=(b'"file_id"', b'"audio"'),
)
_MESSAGES = _fields(
    {
        ("thread", "previous_message_id"): _MESSAGE,
        ("diagnostics", "previous_message_id"): ObjectRule(
            noun="Message", makeable=True, relayed_only=True
        ),
        ("", "container"): _CONTAINER,
        ("container", "id"): _CONTAINER,
        ("skills", "skill_id"): msgspec.structs.replace(_SKILL, unless=_is_built_in),
        ("", "user_profile_id"): ObjectRule(noun="User profile", grantable=True),
        ("", "workspace_id"): ObjectRule(noun="Workspace", grantable=True),
        (ANY, "file_id"): _FILE,
    },
    heads=("thread", "diagnostics", "container", "user_profile_id", "workspace_id"),
    names=("file_id",),
    coarse=(b'"file_id"',),
)
_RESPONSES = _fields(
    {
        ("", "previous_response_id"): _RESPONSE,
        ("prompt_cache_options", "comparison_response_id"): ObjectRule(
            noun="Response", makeable=True, relayed_only=True
        ),
        ("", "conversation"): ObjectRule(noun="Conversation", grantable=True),
        ("conversation", "id"): ObjectRule(noun="Conversation", grantable=True),
        ("prompt", "id"): ObjectRule(noun="Prompt", grantable=True),
        ("input", "id"): _ITEM,
        (ANY, "container"): _CONTAINER,
        (ANY, "container_id"): _CONTAINER,
        (ANY, "file_id"): _FILE,
        (ANY, "file_ids"): _FILE,
        (ANY, "skill_id"): _SKILL,
        (ANY, "vector_store_ids"): ObjectRule(noun="Vector store", grantable=True),
        (ANY, "connector_id"): ObjectRule(noun="Connector", grantable=True),
        (ANY, "tunnel_id"): ObjectRule(noun="Tunnel", grantable=True),
    },
    heads=("previous_response_id", "prompt_cache_options", "conversation", "prompt"),
    names=(
        "id",
        "container",
        "container_id",
        "file_id",
        "file_ids",
        "skill_id",
        "vector_store_ids",
        "connector_id",
        "tunnel_id",
    ),
    coarse=(b'"id"', b'_id"', b'_ids"', b'"container"'),
)

OBJECT_FIELDS: Mapping[ClientFormat, ObjectFields] = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "embeddings": _fields({}),
}


def _is_not_of_a_container(citation: Members) -> bool:
    return not _values(citation, "container_id")


# Parts of an answer in which a server or a tool of the client's speaks, such as the annotations of
# an MCP server's tools: by what those say nobody comes to own an object.
_FOREIGN = ("mcp_", "tool_search_", "additional_tools")

# What a call made, by its answer. Ids of files that a search found are not the call's.
ANSWER_FIELDS: Mapping[ClientFormat, ObjectFields] = {
    "chat": _fields({("audio", "id"): _AUDIO}),
    "messages": _fields(
        {("container", "id"): _CONTAINER, (ANY, "file_id"): _FILE}, foreign=_FOREIGN
    ),
    "responses": _fields(
        {
            (ANY, "container_id"): _CONTAINER,
            (ANY, "file_id"): msgspec.structs.replace(_FILE, unless=_is_not_of_a_container),
        },
        opaque=OPAQUE - {"annotations"},
        foreign=_FOREIGN,
    ),
    "embeddings": _fields({}),
}
