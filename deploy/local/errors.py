"""What can go wrong while a stack starts: one line for a person, and a log's tail if it helps."""


class StackError(Exception):
    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        if detail:
            self.add_note(detail)
