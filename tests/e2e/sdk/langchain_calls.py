"""Makes calls with langchain's clients, and writes what each gave.

Its standard input is `{"url", "key", "models": {"chat", "responses", "messages"}}`.
"""

import json
import sys
import warnings
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

_TOKENS = "input_tokens=120 output_tokens=34"
_SAY = f"[[stand-in {_TOKENS}]] How is the weather in Oslo?"
_CALL = f"[[stand-in {_TOKENS} tool_call=weather]] How is the weather in Oslo?"
_STRUCTURE = f"""[[stand-in {_TOKENS} text='{{"city": "Oslo"}}']] Which city?"""


class City(BaseModel):
    """Where it is."""

    city: str


class weather(BaseModel):  # noqa: N801 - the tool's name
    """The weather of a city."""

    city: str


def _clients(config: dict[str, Any]) -> dict[str, Any]:
    key, models = SecretStr(config["key"]), config["models"]
    openai: dict[str, Any] = {
        "base_url": f"{config['url']}/v1",
        "api_key": key,
        "max_retries": 0,
        "stream_usage": True,
    }
    return {
        "chat": ChatOpenAI(model=models["chat"], **openai),
        "responses": ChatOpenAI(model=models["responses"], use_responses_api=True, **openai),
        "messages": ChatAnthropic(
            model_name=models["messages"],
            base_url=config["url"],
            api_key=key,
            max_retries=0,
            max_tokens_to_sample=200,
            timeout=None,
            stop=None,
        ),
    }


def _gist(message: BaseMessage) -> dict[str, Any]:
    assert isinstance(message, AIMessage)
    usage = message.usage_metadata
    assert usage is not None
    return {
        "text": message.text,
        "tools": [[call["name"], call["args"]] for call in message.tool_calls],
        "tokens": [usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]],
    }


def _stream_gist(client: Any, prompt: str) -> dict[str, Any]:
    message: Any = None
    for chunk in client.stream(prompt):
        message = chunk if message is None else message + chunk
    return _gist(message)


def results(config: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, client in _clients(config).items():
        with_tools = client.bind_tools([weather])
        structured = client.with_structured_output(City, method="json_schema")
        rows[f"{name} text whole"] = _gist(client.invoke(_SAY))
        rows[f"{name} text stream"] = _stream_gist(client, _SAY)
        rows[f"{name} tools whole"] = _gist(with_tools.invoke(_CALL))
        rows[f"{name} tools stream"] = _stream_gist(with_tools, _CALL)
        rows[f"{name} structure"] = structured.invoke(_STRUCTURE).model_dump()
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=f"{config['url']}/v1",
        api_key=SecretStr(config["key"]),
        # It would fetch a tokeniser.
        check_embedding_ctx_length=False,
    )
    rows["embeddings"] = embeddings.embed_documents(["a", "b"])
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump(results(json.load(sys.stdin)), sys.stdout)
