"""Reads problem documents."""

from typing import Any

import httpx2

from services.admin.problems import KINDS, MEDIA_TYPE


def problem(answer: httpx2.Response) -> dict[str, Any]:
    """The document, after a check of what all have."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    told: dict[str, Any] = answer.json()
    assert told["status"] == answer.status_code
    kind = KINDS[told["code"]]
    assert (told["type"], told["title"]) == (f"/docs#{told['code']}", kind.title)
    assert told["status"] == kind.status
    assert told["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    return told


def wrong_fields(answer: httpx2.Response) -> dict[str, str]:
    """What is wrong with each field, by its path."""
    return {error["field"]: error["detail"] for error in problem(answer)["errors"]}
