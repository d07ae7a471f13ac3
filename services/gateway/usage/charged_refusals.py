"""Refusals for which a provider charges the prompt all the same."""

import msgspec


class ChargedRefusal(msgspec.Struct, frozen=True):
    """A provider's error of that status whose body has the word."""

    provider: str
    status: int
    word: bytes


CHARGED_REFUSALS = (
    # learn.microsoft.com, Azure OpenAI FAQ, 11 September 2026: a prompt that the content filter
    # stops has been evaluated, and is charged for.
    ChargedRefusal("azure", 400, b'"content_filter"'),
)


def is_charged(provider: str, status: int, body: bytes) -> bool:
    return any(
        row.provider == provider and row.status == status and row.word in body
        for row in CHARGED_REFUSALS
    )
