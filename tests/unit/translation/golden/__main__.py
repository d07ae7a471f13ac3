"""Writes the golden conversations anew, to be reviewed as a diff."""

import asyncio

from tests.unit.translation.golden.player import DIRECTORY, file_of, given, names, play, text_of


async def rewrite() -> None:
    for name in names():
        content = file_of(await play(given(name)))
        if content != text_of(name):
            (DIRECTORY / f"{name}.json").write_text(content)
            print(f"{name}: changed")


asyncio.run(rewrite())
