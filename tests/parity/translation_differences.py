"""Where our translation is not what LiteLLM's adapters make of the same call, each with its reason.

Nothing else may differ. `path` is of a value, its list indices left out, and `value` its JSON.
`where` begins with the client's format and the target's, and goes on with the conversation's name.
Both sides of a difference count.
"""

import re
from typing import Literal

import msgspec


class TranslationDifference(msgspec.Struct, frozen=True, kw_only=True):
    """`part` is what the provider is sent, or what the client is told."""

    name: str
    reason: str
    part: Literal["sent", "told"]
    path: str
    where: str = ""
    value: str = ".*"

    def applies(self, where: str, part: str, path: str, value: str) -> bool:
        return (
            part == self.part
            and re.match(self.where, where) is not None
            and re.fullmatch(self.path, path) is not None
            and re.fullmatch(self.value, value) is not None
        )


DIFFERENCES = (
    TranslationDifference(
        name="results as blocks",
        reason="A tool's result is a list of blocks, its text one of them, so that a longer "
        "conversation begins with the bytes of a shorter one; LiteLLM writes a string.",
        part="sent",
        where=".*-messages",
        path=r"messages\[\]\.content\[\]\.content(\[\]\.(text|type))?",
    ),
    TranslationDifference(
        name="the tools' own kind",
        reason="Anthropic's default, `custom`, is left out.",
        part="sent",
        where=".*-messages",
        path=r"tools\[\]\.type",
    ),
    TranslationDifference(
        name="signatures in envelopes",
        reason="What one provider signed goes back to it alone, and as it was; LiteLLM's adapters "
        "send any signature to anyone, and forget thinking that a Responses client sends back.",
        part="sent",
        where=".* thinking",
        path=r"messages\[\]\.(content\[\]\.(signature|thinking|type)|thinking_blocks.*"
        r"|reasoning_content)",
    ),
    TranslationDifference(
        name="names of files",
        reason="A file's name is its title at Anthropic; LiteLLM drops it.",
        part="sent",
        where=".*-messages",
        path=r"messages\[\]\.content\[\]\.title",
    ),
    TranslationDifference(
        name="structured output",
        reason="`output_config.format` is the released name of the beta's `output_format`.",
        part="sent",
        where="chat-messages",
        path=r"output_(config\.)?format\..*",
    ),
    TranslationDifference(
        name="temperature beyond one",
        reason="Anthropic refuses it, so it is sent as 1 and named as adapted.",
        part="sent",
        where="chat-messages",
        path="temperature",
    ),
    TranslationDifference(
        name="budgets of thinking",
        reason="An effort is a part of the output's limit, not the same number for any limit, and "
        "what the client wants to see of the thinking is said.",
        part="sent",
        where="(chat|responses)-messages",
        path=r"thinking\.(budget_tokens|display)",
    ),
    TranslationDifference(
        name="parallel calls",
        reason="What the client said of them is said to the provider; LiteLLM drops it.",
        part="sent",
        path=r"tool_choice\.(type|disable_parallel_tool_use)|parallel_tool_calls",
    ),
    TranslationDifference(
        name="the user's label",
        reason="`safety_identifier` is Anthropic's `metadata.user_id`; LiteLLM drops it.",
        part="sent",
        where="responses-messages",
        path=r"metadata\.user_id",
    ),
    TranslationDifference(
        name="freeform tools",
        reason="Their one argument is `input`, which is what the answer is read back from; LiteLLM "
        "asks for `content`, and hands the client JSON in place of its text.",
        part="sent",
        where="responses-messages",
        path=r"tools\[\]\.(description|input_schema\..*)|messages\[\]\.content\[\]\.input\..*",
    ),
    TranslationDifference(
        name="searched domains",
        reason="They are a search's filter in both formats; LiteLLM drops them.",
        part="sent",
        where="responses-messages",
        path=r"tools\[\]\.allowed_domains\[\]",
    ),
    TranslationDifference(
        name="the limit's newer name",
        reason="OpenAI's models that reason refuse `max_tokens`, and all take the newer name.",
        part="sent",
        where=".*-chat",
        path="max_(completion_)?tokens",
    ),
    TranslationDifference(
        name="what OpenAI keeps",
        reason="Nothing, unless the client asked for it; LiteLLM leaves it to the account.",
        part="sent",
        where=".*-chat",
        path="store",
    ),
    TranslationDifference(
        name="arguments byte for byte",
        reason="They are the bytes that came; LiteLLM decodes and writes them anew.",
        part="sent",
        where=".*-chat",
        path=r"messages\[\]\.tool_calls\[\]\.function\.arguments",
    ),
    TranslationDifference(
        name="failed tools",
        reason="OpenAI's formats have no word for a failure, so the text says so.",
        part="sent",
        where="messages-chat failed_tool",
        path=r"messages\[\]\.content",
    ),
    TranslationDifference(
        name="calls alone",
        reason="A turn of calls alone has null for its content, as OpenAI writes it.",
        part="sent",
        where="(messages|responses)-chat",
        path=r"messages\[\]\.content",
        value="null",
    ),
    TranslationDifference(
        name="texts as texts",
        reason="A turn of one text is written as such, and calls carry no index, a stream's.",
        part="sent",
        where="responses-chat",
        path=r"messages\[\]\.(content(\[\]\.(text|type))?|tool_calls\[\]\.index)",
        value='"Both\\."|"text"|[01]',
    ),
    TranslationDifference(
        name="DeepSeek's thinking",
        reason="The client's own effort is sent, which a budget stands for; LiteLLM has one effort "
        "for all, turns thinking on by another family's word, and sends a `stream` of false.",
        part="sent",
        where="(messages|responses)-chat thinking",
        path=r"reasoning_effort|thinking\.type|stream",
    ),
    TranslationDifference(
        name="ids and times",
        reason="They are functions of the provider's and of the call's time, not random and not of "
        "a second look at the clock.",
        part="told",
        path=r"id|created|created_at|output\[\]\.id",
    ),
    TranslationDifference(
        name="the model's name",
        reason="The client gets the name that it asked for.",
        part="told",
        path="model",
    ),
    TranslationDifference(
        name="counts that nobody made",
        reason="LiteLLM counts the words of thinking by itself; classes that no provider reported "
        "are zero.",
        part="told",
        path=r"usage\.(completion|prompt|output)_tokens_details\.[a-z0-9_]+|top_logprobs",
    ),
    TranslationDifference(
        name="inputs byte for byte",
        reason="A call's input is the provider's bytes; LiteLLM writes it anew.",
        part="told",
        where="(chat|responses)-messages",
        path=r"(choices\[\]\.message\.tool_calls\[\]\.function|output\[\])\.arguments",
    ),
    TranslationDifference(
        name="thinking nobody signed",
        reason="It is marked so, that it goes back to its own model alone, and it is the thinking "
        "itself, not a summary of one.",
        part="told",
        path=r"content\[\]\.signature|output\[\]\.(content|summary)(\[\]\.(text|type))?"
        r"|output\[\]\.encrypted_content",
    ),
    TranslationDifference(
        name="why it declined",
        reason="The model's words are its text; no words of the provider's explain them.",
        part="told",
        where="messages-chat",
        path=r"stop_details\..*",
    ),
    TranslationDifference(
        name="freeform inputs",
        reason="A freeform tool gets its text; LiteLLM gives it the JSON around it.",
        part="told",
        where="responses-messages",
        path=r"output\[\]\.input",
    ),
    TranslationDifference(
        name="citations and searches",
        reason="Citations are told where the text has them; LiteLLM drops them, and tells sources "
        "that the client did not include. Searches are counted by OpenAI's own member.",
        part="told",
        where="responses-messages",
        path=r"output\[\]\.(content\[\]\.annotations.*|action\.sources\[\]\..*)"
        r"|tool_usage\..*|usage\.server_tool_use\..*",
    ),
    TranslationDifference(
        name="calls that were cut off",
        reason="An answer that ends in the middle of a call is told without it, as one that "
        "reached its limit; LiteLLM fails, and its caller asks again and pays twice.",
        part="told",
        where="messages-chat truncated",
        path=".*",
    ),
    TranslationDifference(
        name="no credit",
        reason="An account without credit is told by the status and the code that stop a client "
        "from trying again; LiteLLM passes on a bad request.",
        part="told",
        where="chat-messages no_credit",
        path="refused",
    ),
)
