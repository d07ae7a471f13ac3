"""OpenAI Chat Completions, in both directions, as OpenAI and the many others speak it."""

from services.gateway.upstream.translation.chat.answer_reader import read_answer
from services.gateway.upstream.translation.chat.answer_writer import write_answer
from services.gateway.upstream.translation.chat.errors import read_error
from services.gateway.upstream.translation.chat.family import SIGNATURES
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.chat.request_reader import read_request
from services.gateway.upstream.translation.chat.request_writer import write_request
from services.gateway.upstream.translation.chat.stream_reader import ChatStreamReader
from services.gateway.upstream.translation.chat.stream_writer import ChatStreamWriter
from services.gateway.upstream.translation.language import Language

CHAT = Language(
    name="chat",
    family=SIGNATURES,
    paths=PATHS,
    closest=("chat", "responses", "messages"),
    parts="choices",
    read_request=read_request,
    write_request=write_request,
    read_answer=read_answer,
    write_answer=write_answer,
    read_error=read_error,
    reader=ChatStreamReader,
    writer=ChatStreamWriter,
)
