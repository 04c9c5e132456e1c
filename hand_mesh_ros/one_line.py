"""Errors that quote what came from outside, and are one readable line all the same."""

from __future__ import annotations

_MOST = 600
"""Letters: more would bury the line in what it quotes."""


def one_line(text: str) -> str:
    """The text without line breaks or control characters, its middle left out where it is long."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join(text.split())
    if len(text) <= _MOST:
        return text
    return f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"


class OneLineError(Exception):
    """An error for the user; whatever it quotes, its text is one line of bounded length."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))
