"""OpenAI Responses, in both directions."""

from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.responses.answer_reader import read_answer
from services.gateway.upstream.translation.responses.answer_writer import write_answer
from services.gateway.upstream.translation.responses.errors import read_error
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.request_reader import read_request
from services.gateway.upstream.translation.responses.request_writer import write_request
from services.gateway.upstream.translation.responses.stream_reader import ResponsesStreamReader
from services.gateway.upstream.translation.responses.stream_writer import ResponsesStreamWriter

RESPONSES = Language(
    name="responses",
    family="openai",
    paths=PATHS,
    closest=("responses", "chat", "messages"),
    parts="output",
    read_request=read_request,
    write_request=write_request,
    read_answer=read_answer,
    write_answer=write_answer,
    read_error=read_error,
    reader=ResponsesStreamReader,
    writer=ResponsesStreamWriter,
)
