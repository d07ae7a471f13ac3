"""Reads problem documents."""

from typing import Any

import httpx2

from services.admin.problems import KINDS, MEDIA_TYPE


def problem(answer: httpx2.Response) -> dict[str, Any]:
    """The document, after a check of what all have."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    kind = KINDS[document["code"]]
    assert (document["type"], document["title"]) == (f"/docs#{document['code']}", kind.title)
    assert document["status"] == kind.status
    assert document["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    return document


def wrong_fields(answer: httpx2.Response) -> dict[str, str]:
    """What is wrong with each field, by its path."""
    return {error["field"]: error["detail"] for error in problem(answer)["errors"]}
