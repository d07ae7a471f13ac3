"""When Python's collector of cycles runs, in a process that has made what it keeps."""

import gc

from libs.common.collector import collect_rarely, uncollected


def test_collections_are_rare_and_skip_what_lives_as_long_as_the_process() -> None:
    thresholds = gc.get_threshold()
    kept: list[list[int]] = [[]]
    try:
        collect_rarely()
        assert gc.get_threshold()[0] > 700
        assert not any(each is kept for each in gc.get_objects())
    finally:
        gc.set_threshold(*thresholds)


def test_objects_created_uncollected_are_never_scanned() -> None:
    with uncollected():
        kept: list[list[int]] = [[]]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not any(each is kept for each in gc.get_objects())
