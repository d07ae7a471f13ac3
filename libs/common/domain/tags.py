"""Tags of a call: `name` or `name:value`, by which its usage is found, and summed where wanted.

Invariants: a call has at most MAX_TAGS, and no two of one name, so that sums by a tag's values
add up to the whole.
"""

import re
from collections.abc import Iterable

# As many of a header, and as many of a request's `metadata`, which has no more at OpenAI either.
MAX_TAGS_OF_EACH = 16
MAX_TAGS = 2 * MAX_TAGS_OF_EACH
MAX_TAG_CHARS = 128
_MAX_NAME_CHARS = 64
# Each name multiplies the rollups.
_MAX_ROLLED_UP = 4
# Names of fields in MongoDB.
_ROLLED_UP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def name_of(tag: str) -> str:
    return tag.partition(":")[0]


def is_tag(text: str) -> bool:
    """Printable characters, of any script; the first colon ends the name."""
    return (
        0 < len(name_of(text)) <= _MAX_NAME_CHARS
        and len(text) <= MAX_TAG_CHARS
        and text.isprintable()
        and text == text.strip()
    )


def kept_tags(tags: Iterable[str], room: int = MAX_TAGS) -> tuple[str, ...]:
    """The valid tags, the first of each name, up to the bound."""
    kept: dict[str, str] = {}
    for tag in tags:
        if len(kept) == room:
            break
        if is_tag(tag):
            kept.setdefault(name_of(tag), tag)
    return tuple(kept.values())


def rolled_up_names(text: str) -> tuple[str, ...]:
    """The names, listed with commas, of the tags whose values have sums. Raises ValueError."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if len(names) > _MAX_ROLLED_UP:
        raise ValueError(f"it names more than {_MAX_ROLLED_UP} tags")
    for name in names:
        if not _ROLLED_UP_NAME.fullmatch(name):
            raise ValueError("it must be names of tags, of letters, digits, _ and -, with commas")
    return names
