"""Whatever is sent to the paths of the gateway's document: it is answered as documented.

`make test-api` runs it; a run of all tests leaves it out. `test_any_body` goes deeper into bodies.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.service.gateway.stage import Client
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

_EXAMPLES = 20
_NOT_CHECKED = (
    # A request that fits the document may still name what there is not.
    "positive_data_acceptance",
    # Bodies are open: what else is in them is the provider's to refuse. A parameter that is not
    # known is left out, as SDKs send some of their own.
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
)


@pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "long", reason="takes minutes; `make test-api` runs it"
)
async def test_any_request_is_answered_as_documented(
    gateway: Client, books: Books, tmp_path: Path
) -> None:
    url = str(gateway.http.base_url).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *(
            "run",
            f"{url}/openapi.json",
            "--header",
            f"Authorization: Bearer {await books.add_key()}",
        ),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(_EXAMPLES)),
        *("--checks", "all", "--exclude-checks", ",".join(_NOT_CHECKED)),
        *("--continue-on-failure", "--seed", "1", "--no-color"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
