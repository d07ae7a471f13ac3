"""What a call leaves behind is freed at once, for a collection is rare and the call's body large.

The collector runs every few hundred calls. Until then a cycle keeps all that hangs from it.
"""

import gc

import pytest

from libs.common.errors import AppError, release_frames
from tests.unit.translation.golden.player import (
    Given,
    answer_of,
    given,
    names,
    provider_bytes,
    stream_of,
    translation_of,
)


async def _serve(call: Given) -> None:
    try:
        if call.answered is not None:
            answer_of(translation_of(call), call.answered)
        if call.streamed is not None:
            chunks = [provider_bytes(call.format, call.streamed)]
            await stream_of(translation_of(call, stream=True), chunks)
    except AppError as error:
        release_frames(error)


@pytest.fixture(scope="module", autouse=True)
def _few_objects() -> None:
    """A collection looks at what comes from here on, not at all that other tests have made."""
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("name", names())
async def test_a_translated_call_leaves_nothing_to_the_collector(name: str) -> None:
    call = given(name)
    await _serve(call)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await _serve(call)
        gc.collect()
        # Threads of other tests may leave some of their own.
        assert [each for each in gc.garbage if type(each).__module__.startswith("services.")] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
