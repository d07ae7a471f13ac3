"""Runs tools with Anthropic's tool runner, which keeps its conversation at the provider.

Its standard input is a list of `{"name", "url", "key", "model", "stream"}`. Of each run it writes
the ids of the answers, the last text, what the tool was called with, and of each request its thread
and how many messages it had. With `continues`, a run only goes on from that message, and what that
raised is written.
"""

import json
import sys
from typing import Any

import anthropic

_THREADS = "message-threads-2026-08-12"
_PROMPT = "[[stand-in tool_call=look]] Look at the sky."


def _run(case: dict[str, Any]) -> dict[str, Any]:
    echoes: list[str] = []

    @anthropic.beta_tool
    def look(echo: str, stand_in: bool) -> str:
        """Looks at something.

        Args:
            echo: What to look at.
            stand_in: Always true.
        """
        echoes.append(echo)
        return "It is blue."

    sent: list[Any] = []

    def note(request: Any) -> None:
        body = json.loads(request.content)
        sent.append([body.get("thread"), len(body["messages"])])

    hooks = {"request": [note]}
    with _client(case, http_client=anthropic.DefaultHttpxClient(event_hooks=hooks)) as client:
        runner = client.beta.messages.tool_runner(
            model=case["model"],
            max_tokens=100,
            tools=[look],
            messages=[{"role": "user", "content": _PROMPT}],
            stream=bool(case.get("stream")),
        )
        answers: list[Any] = [
            message.get_final_message() if hasattr(message, "get_final_message") else message
            for message in runner
        ]
    text = "".join(block.text for block in answers[-1].content if block.type == "text")
    return {"ids": [answer.id for answer in answers], "text": text, "seen": echoes, "sent": sent}


def _go_on(case: dict[str, Any]) -> dict[str, Any]:
    with _client(case) as client:
        try:
            client.beta.messages.create(
                model=case["model"],
                max_tokens=100,
                messages=[{"role": "user", "content": "What did I say?"}],
                thread={"type": "continue", "previous_message_id": case["continues"]},
                betas=[_THREADS],
            )
        except anthropic.APIStatusError as error:
            return {"class": type(error).__name__, "status": error.status_code}
    return {"class": None, "status": 200}


def _client(case: dict[str, Any], **options: Any) -> anthropic.Anthropic:
    url, key = case["url"], case["key"]
    return anthropic.Anthropic(base_url=url, auth_token=key, max_retries=0, **options)


if __name__ == "__main__":
    json.dump(
        {
            case["name"]: _go_on(case) if "continues" in case else _run(case)
            for case in json.load(sys.stdin)
        },
        sys.stdout,
    )
