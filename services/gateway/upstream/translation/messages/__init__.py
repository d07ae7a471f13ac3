"""Anthropic's Messages."""

from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.messages.answer_reader import read_answer
from services.gateway.upstream.translation.messages.answer_writer import write_answer
from services.gateway.upstream.translation.messages.errors import read_error
from services.gateway.upstream.translation.messages.family import FAMILY, PATHS
from services.gateway.upstream.translation.messages.request_reader import read_request
from services.gateway.upstream.translation.messages.request_writer import write_request
from services.gateway.upstream.translation.messages.stream_reader import MessagesStreamReader
from services.gateway.upstream.translation.messages.stream_writer import MessagesStreamWriter

MESSAGES = Language(
    name="messages",
    family=FAMILY,
    paths=PATHS,
    closest=("messages", "responses", "chat"),
    parts="content",
    read_request=read_request,
    write_request=write_request,
    read_answer=read_answer,
    write_answer=write_answer,
    read_error=read_error,
    reader=MessagesStreamReader,
    writer=MessagesStreamWriter,
)
