"""A progress that keeps what a person would read."""

from contextlib import nullcontext


class Heard:
    """Every line, oldest first."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def tick(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.lines.append(f"{label} {done} {total}")

    def waiting(self, text: str) -> nullcontext[None]:
        self.lines.append(text)
        return nullcontext()
