"""Redacts secrets in text before it is stored.

Invariants: JSON stays JSON, since no rule removes a quotation mark or a part of an escape; the time
is linear in the text, since no rule reads the same run of characters twice; a second redaction
changes nothing.

A secret is recognised by its form, or by the name that it is assigned to. A password in a sentence
is not recognised.
"""

import re
from collections.abc import Iterator

import msgspec

MARKER = b"[redacted]"
# A marker can complete the start of another secret. Secrets are not nested deeper than this.
_MAX_PASSES = 4


class _Rule(msgspec.Struct, frozen=True):
    """The pattern is matched at each needle; its last group is replaced.

    The needle is in lower case. Searching for it costs a hundredth of searching for the pattern.
    """

    needle: bytes
    pattern: re.Pattern[bytes]


def redact(text: bytes) -> bytes:
    """Replaces each recognised secret with the marker."""
    for _ in range(_MAX_PASSES):
        redacted = _pass(text)
        if redacted == text:
            break
        text = redacted
    return text


def _pass(text: bytes) -> bytes:
    # `lower` keeps the length of bytes, since it changes only ASCII letters.
    lowered = text.lower()
    spans = sorted(span for rule in _RULES for span in _spans(rule, text, lowered))
    parts, kept_to = [], 0
    for start, end in spans:
        if start >= kept_to:
            parts += [text[kept_to:start], MARKER]
        kept_to = max(kept_to, end)
    parts.append(text[kept_to:])
    return b"".join(parts)


def _spans(rule: _Rule, text: bytes, lowered: bytes) -> Iterator[tuple[int, int]]:
    at = lowered.find(rule.needle)
    while at >= 0:
        match = rule.pattern.match(text, at)
        if match is not None:
            yield match.span(match.lastindex or 0)
        at = lowered.find(rule.needle, at + 1 if match is None else max(match.end(), at + 1))


def _token(start: bytes, rest: bytes) -> _Rule:
    r"""A secret that begins with `start`, at the start of a word.

    The letter at the end of an escape such as `\n` is not part of the word.
    """
    begins = rb"(?:(?<![A-Za-z0-9_\\-])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
    return _Rule(start.lower(), re.compile(begins + b"(" + re.escape(start) + rest + b")"))


# Hyphenated words of prose have neither digits nor capitals.
_MIXED = rb"(?=[a-z_-]*+[A-Z0-9])"
_TOKENS = (
    # OpenAI, Anthropic, DeepSeek, OpenRouter, and this gateway's own.
    _token(b"sk-", _MIXED + rb"[A-Za-z0-9_-]{16,}+"),
    _token(b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9_-])"),
    _token(b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9_-])"),
    _token(b"AIza", rb"[A-Za-z0-9_-]{35,}+"),
    _token(b"ya29.", rb"[A-Za-z0-9_-]{20,}+"),
    _token(b"GOCSPX-", rb"[A-Za-z0-9_-]{20,}+"),
    _token(b"gh", rb"[pousr]_[A-Za-z0-9]{36,}+"),
    _token(b"github_pat_", rb"[A-Za-z0-9_]{22,}+"),
    _token(b"glpat-", rb"[A-Za-z0-9_-]{20,}+"),
    _token(b"xox", rb"[a-z](?:\.[a-z]{1,8})?-[A-Za-z0-9-]{10,}+"),
    _token(b"xapp-", rb"[A-Za-z0-9-]{10,}+"),
    _token(b"sk_", rb"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _token(b"rk_", rb"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _token(b"gsk_", rb"[A-Za-z0-9]{32,}+"),
    _token(b"xai-", rb"[A-Za-z0-9]{32,}+"),
    _token(b"pplx-", rb"[A-Za-z0-9]{32,}+"),
    _token(b"nvapi-", rb"[A-Za-z0-9_-]{32,}+"),
    _token(b"hf_", rb"[A-Za-z0-9]{30,}+"),
    _token(b"npm_", rb"[A-Za-z0-9]{30,}+"),
    # JSON Web Tokens: two objects in base64, and a signature, which may be empty.
    _token(b"eyJ", rb"[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+"),
)

_SPACE = rb"[ \t\r\n]*+"
_COLON = _SPACE + b":" + _SPACE
# In JSON inside a string of JSON, and so on, a quotation mark has m backslashes before it, and
# 2 (m + 1) more where an escaped backslash stands before it, but m + 1 more where it is escaped.
_MARK = rb'(?P<m>\\++)"' + _COLON + rb'(?P=m)"'
_BACKSLASHES = rb"(?:\\(?P=m)\\(?P=m))"
_ESCAPED_MARK = rb"(?P=m)" + _BACKSLASHES + rb'*+\\(?P=m)"'
# A value behind a name: the string of a JSON member; the same inside a string; an assignment in a
# shell, a settings file or source code.
_PLAIN = b'"' + _COLON + rb'"((?:[^"\\]|\\.)++)'
_NESTED = (_MARK + rb'(?!(?P=m)")((?:[^"\\]|\\++(?!["\\])|' + _ESCAPED_MARK + b")*+") + (
    b"(?:" + _BACKSLASHES + rb'++(?=(?P=m)"))?)'
)
_ASSIGNS = rb"[ \t]*+=[ \t]*+(?:\\*+[\"'])?"
# Some encoders of JSON escape each slash.
_SLASH = rb"\\++/"
_ASSIGNED = _ASSIGNS + rb"((?:[^\s\"'\\&;,()\[\]{}<>$]|" + _SLASH + b"){6,}+)"
_VALUE = b"(?:" + b"|".join((_PLAIN, _NESTED, _ASSIGNED)) + b")"
# In log probabilities, a `token` is a piece of text, but a short one.
_LONG = b"((?:[A-Za-z0-9._~+/=|:-]|" + _SLASH + b"){16,}+)"
_LONG_VALUE = b"(?:" + b"|".join((b'"' + _COLON + b'"', _MARK, _ASSIGNS)) + b")" + _LONG


def _named(needle: bytes, rest: bytes = b"", before: bytes = b"", value: bytes = _VALUE) -> _Rule:
    """Redacts the value behind a name that ends in this one."""
    name = b"(?i:" + before + needle + rest + b")"
    return _Rule(needle, re.compile(name + value, re.DOTALL))


_KINDS_OF_KEYS = (b"api", b"access", b"private", b"secret", b"signing", b"encryption", b"account")
_BEFORE_KEY = b"|".join(rb"(?<=%b)|(?<=%b[_-])" % (kind, kind) for kind in _KINDS_OF_KEYS)
_NAMED = (
    _named(b"passw", rb"(?:or)?d"),
    _named(b"passphrase"),
    _named(b"secret"),
    _named(b"credential", b"s?"),
    _named(b"authorization"),
    _named(b"cookie"),
    _named(b"key", before=b"(?:" + _BEFORE_KEY + b")"),
    _named(b"token", value=_LONG_VALUE),
)


def _credentials(scheme: bytes) -> _Rule:
    """Credentials as in a header. Prose such as `basic understanding` is all lower case."""
    separator = rb")(?:[ \t]|%20)++(?=[a-z-]*+[A-Z0-9._~+/=])"
    return _Rule(scheme, re.compile(rb"(?i:\b" + scheme + separator + _LONG))


_RULES = (
    _Rule(
        b"-----begin ",
        re.compile(
            rb"(-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----"
            # To the end of the key, or of the string around it.
            rb'(?:[^-"\\]|\\++(?!["\\])|-(?!----END ))*+(?:-----END [A-Z0-9 ]{0,48}-----)?)'
        ),
    ),
    *_NAMED,
    _credentials(b"bearer"),
    _credentials(b"basic"),
    *(
        _Rule(
            slashes, re.compile(re.escape(slashes) + rb"[^\s:@/\"'\\]{0,64}:([^\s@/\"'\\]{1,256})@")
        )
        for slashes in (b"://", rb":\/\/")
    ),
    _Rule(b"hooks.slack.com/services/", re.compile(rb"(?i:hooks\.slack\.com/services/)([\w/]++)")),
    *_TOKENS,
)
