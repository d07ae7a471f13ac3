"""The models that the stand-in lists. It answers to any other name as well."""

from typing import Any

_OPENAI = ("gpt-5.4-mini", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
_ANTHROPIC = ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5")
_CREATED = 1_735_689_600
_CREATED_AT = "2025-01-01T00:00:00Z"


def openai_models() -> dict[str, Any]:
    names = (*_OPENAI, *_ANTHROPIC)
    models = [
        {"id": name, "object": "model", "created": _CREATED, "owned_by": "local-stand-in"}
        for name in names
    ]
    return {"object": "list", "data": models}


def anthropic_models() -> dict[str, Any]:
    models = [
        {
            "type": "model",
            "id": name,
            "display_name": f"{name} (local stand-in)",
            "created_at": _CREATED_AT,
            "lifecycle": "active",
        }
        for name in _ANTHROPIC
    ]
    return {
        "data": models,
        "has_more": False,
        "first_id": _ANTHROPIC[0],
        "last_id": _ANTHROPIC[-1],
    }
