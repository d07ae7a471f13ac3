"""Settings of Python's collector of reference cycles."""

import gc

_THRESHOLDS = (20_000, 20, 20)


def collect_rarely() -> None:
    """Call this once all objects that live as long as the process exist.

    Collections then need not visit modules and tables. A request or a posting makes thousands of
    objects but hardly a cycle, so the default threshold of 700 collects too often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
