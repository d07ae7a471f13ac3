"""The error of a failed start: one line for a person, and the tail of a log if it helps."""


class StackError(Exception):
    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        if detail:
            self.add_note(detail)
