"""What docs/operations.md says of alerts holds: the table, the examples, and the receiver."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.children import tied
from deploy.local.environment import ROOT
from libs.common.schemas.alert import ALERT_KINDS, PAYLOADS, AlertKind
from tests.servers import HOST, free_port
from tests.service.ledger_worker.test_alert_sender import Desk
from tests.service.ledger_worker.worker_stage import Stage
from tests.support.polling import eventually
from tests.support.receivers import SECRET, receiver

SECTION = re.search(
    r"^## Alerts\n(.*?)^## ", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.MULTILINE
)


def section() -> str:
    assert SECTION is not None
    return SECTION[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section(), re.DOTALL | re.MULTILINE)


def examples() -> Iterator[dict[str, Any]]:
    [text] = blocks("json")
    decoder = json.JSONDecoder(parse_float=Decimal)
    while text := text.lstrip():
        example, end = decoder.raw_decode(text)
        yield example
        text = text[end:]


def test_the_table_has_each_kind() -> None:
    assert tuple(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", section(), re.MULTILINE)) == ALERT_KINDS


@pytest.mark.parametrize("kind", ALERT_KINDS)
def test_each_kind_has_an_example(kind: AlertKind) -> None:
    [example] = [each for each in examples() if each["type"] == kind]
    assert set(example) == {"type", "timestamp", "data"}
    data = msgspec.convert(example["data"], PAYLOADS[kind])
    assert list(example["data"]) == list(PAYLOADS[kind].__struct_fields__)
    assert data.version == 1


async def test_the_receiver_of_the_docs_receives(stage: Stage, tmp_path: Path) -> None:
    [program] = blocks("python")
    port = free_port()
    assert "9000" in program
    program = program.replace("9000", str(port))
    log = tmp_path / "receiver.log"
    environment = {**os.environ, "SECRET": SECRET}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *tied((sys.executable, "-W", "error", "-c", program)),
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        desk = Desk(stage)

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                return False
            writer.close()
            return True

        await eventually(listens)
        url = f"http://{HOST}:{port}/"
        await desk.add(receiver("rcv_1", url))
        other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
        await desk.add(receiver("rcv_forged", url, secret=other))
        [mine] = await desk.tell("rcv_1")
        await desk.tell("rcv_forged")
        await desk.turn()
        states = {each.receiver_id: each.state for each in await desk.all()}
        assert states == {"rcv_1": "delivered", "rcv_forged": "pending"}
        assert f"{mine.alert_id} receiver.test" in log.read_text()
    finally:
        process.kill()
        await process.wait()
