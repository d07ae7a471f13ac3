"""The exceptions that decoding foreign bytes raises."""

import msgspec

# Text that is not UTF-8, values out of their range and endless nesting are not MsgspecErrors.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
