"""Reads a large JSON document piece by piece, so that memory holds its values and never its whole text."""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

SPACE = " \t\r\n"
OF_NUMBERS = "0123456789.eE+-"


class JsonError(ValueError):
    """The text is not JSON."""


class JsonPieces:
    """A cursor over the text of a JSON document that arrives in pieces of bytes. JsonError where it is not JSON."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._place = "", 0

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        try:
            self._text, self._place = self._text[self._place :] + self._utf8.decode(piece), 0
        except UnicodeDecodeError as error:
            raise JsonError(str(error)) from error
        return True

    def peek(self) -> str:
        """The next character that is not a space; "" at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """The next character; JsonError unless it is one of these."""
        piece = self.peek()
        if not piece or piece not in expected:
            raise JsonError(f"{piece or 'the end'} where one of {expected} should be")
        self._place += 1
        return piece

    def value(self) -> Any:
        """The next value as a whole."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._place)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise JsonError(error.msg) from error
                continue
            if self._text[end : end + 1] in OF_NUMBERS and self._more():
                continue  # a number may go on in the next piece: 0 may be the start of 0.5, whose "0." reads as 0 too
            self._place = end
            return value

    def members(self) -> Iterator[str]:
        """Names in the next object; the caller reads the value of each name before it takes the next name."""
        separator = self.take("{")
        if self.peek() == "}":
            separator = self.take("}")
        while separator != "}":
            key = self.value()
            if not isinstance(key, str):
                raise JsonError(f"{key!r} where a key should be")
            self.take(":")
            yield key
            separator = self.take(",}")

    def items(self) -> Iterator[Any]:
        """Values of the next list."""
        separator = self.take("[")
        if self.peek() == "]":
            separator = self.take("]")
        while separator != "]":
            yield self.value()
            separator = self.take(",]")

    def finish(self) -> None:
        if self.peek():
            raise JsonError(f"{self.peek()} after the end")
