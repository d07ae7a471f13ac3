"""Whose seals and ids a chat body has bare."""

# `thinking_blocks` are Anthropic's own blocks, on every server that has them.
SEALS = "anthropic"
# Files, and what else is named by an id.
FILES = "openai"
# `extra_content` is Google's own place for its signatures.
CALL_SEALS = "google"
# What older gateways joined to a call's id.
CALL_SEAL_MARK = "__thought__"
