"""Makes calls that fail, and writes which error the SDK raised for each.

Its standard input is a list of `{"name", "format", "url", "key", "model", "prompt"}`.
"""

import json
import sys
from typing import Any

import anthropic
import openai


def _call(case: dict[str, Any]) -> None:
    url, key, model, prompt = case["url"], case["key"], case["model"], case["prompt"]
    turns: Any = [{"role": "user", "content": prompt}]
    if case["format"] == "messages":
        with anthropic.Anthropic(base_url=url, auth_token=key, max_retries=0) as client:
            client.messages.create(model=model, max_tokens=100, messages=turns)
        return
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        match case["format"]:
            case "chat":
                client.chat.completions.create(model=model, messages=turns)
            case "responses":
                client.responses.create(model=model, input=prompt)
            case "embeddings":
                client.embeddings.create(model=model, input=prompt)
            case "model":
                client.models.retrieve(model)
            case "response":
                client.responses.retrieve(prompt)


def _error(case: dict[str, Any]) -> dict[str, Any]:
    try:
        _call(case)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return {"class": type(error).__name__, "status": error.status_code}
    return {"class": None, "status": 200}


if __name__ == "__main__":
    json.dump({case["name"]: _error(case) for case in json.load(sys.stdin)}, sys.stdout)
