"""What decoding bytes from elsewhere raises."""

import msgspec

# Text that is not UTF-8, values out of their range and endless nesting are not MsgspecErrors.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
