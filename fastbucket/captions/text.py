"""The rules of a caption's text: what is stored, and what is refused."""

from __future__ import annotations


def clean(text: str) -> str:
    """The caption as it is stored: white space at both ends removed, all else as it is.

    Newlines inside are kept. Raises ValueError for what no `.txt` may hold: NUL, and half of a
    surrogate pair, which is no character and has no UTF-8.
    """
    if "\0" in text:
        raise ValueError(f"NUL at character {text.index(chr(0))}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"lone surrogate U+{ord(text[error.start]):04X} at character {error.start}"
        ) from None
    return text.strip()
