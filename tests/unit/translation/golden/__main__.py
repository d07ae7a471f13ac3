"""Writes the golden conversations anew, to be reviewed as a diff."""

import asyncio

from tests.unit.translation.golden.player import DIRECTORY, file_of, given, names, played, text_of


async def rewrite() -> None:
    for name in names():
        content = file_of(await played(given(name)))
        if content != text_of(name):
            (DIRECTORY / f"{name}.json").write_text(content)
            print(f"{name}: changed")


asyncio.run(rewrite())
