"""What OpenTelemetry's conventions for generative AI call the calls of each format."""

from collections.abc import Mapping
from typing import Literal

from libs.common.schemas.usage import ClientFormat

# An entry without a format is a correction's.
GEN_AI_OPERATIONS: Mapping[ClientFormat | None, Literal["chat", "embeddings"]] = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "embeddings": "embeddings",
    None: "chat",
}
