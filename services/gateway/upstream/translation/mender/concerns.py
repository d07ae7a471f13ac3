"""What of a request a rule is about: where a request has none of it, the rule changes nothing.

Most requests have little of all that a format has, and most rules need not be asked then.
"""

from services.gateway.upstream.translation.conversation import (
    NO_LABELS,
    NO_SAMPLING,
    NO_WISH,
    Request,
)
from services.gateway.upstream.translation.parts import Text

# Bits of a set.
ANYTHING = 1
THINKING = 2  # a wish, how the model shall think
TOOLS = 4  # or a choice among them
SAMPLING = 8
SHAPE = 16
LABELS = 32
# A turn of the assistant's, or a part that is not text.
HISTORY = 64


def concerns_of(request: Request) -> int:
    found = ANYTHING
    if request.thinking != NO_WISH:
        found |= THINKING
    if request.tools or request.choice is not None:
        found |= TOOLS
    if request.sampling != NO_SAMPLING:
        found |= SAMPLING
    if request.shape is not None:
        found |= SHAPE
    if request.labels != NO_LABELS:
        found |= LABELS
    for turn in request.turns:
        if turn.role == "assistant":
            return found | HISTORY
        for part in turn.parts:
            if type(part) is not Text:
                return found | HISTORY
    return found
