"""The client formats, as a table."""

from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.base import Format
from services.gateway.formats.chat import Chat
from services.gateway.formats.embeddings import Embeddings
from services.gateway.formats.messages import Messages
from services.gateway.formats.responses import Responses

CHAT, MESSAGES, RESPONSES, EMBEDDINGS = Chat(), Messages(), Responses(), Embeddings()
FORMATS: dict[ClientFormat, Format] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "embeddings": EMBEDDINGS,
}


def format_of_path(path: str) -> Format:
    """Errors outside these endpoints take the shape of the API that the path belongs to."""
    return MESSAGES if path.startswith(MESSAGES.path) else CHAT
