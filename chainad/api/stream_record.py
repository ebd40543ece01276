"""Records of Jacobians that are streamed: which blocks are in their place, whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainad.errors import InputError

_FORMAT = "chainad stream 1"

# What a record tells of its Jacobian, and what is said where that differs.
_DIFFERENCES = {
    "format": "another version of chainad",
    "version": "another version of chainad",
    "results": "another shape or dtype",
    "function": "another function, or other values that it reads",
    "arguments": "other arguments",
    "blocks": "another number of blocks",
    "plan": "another plan",
}


class StreamRecord:
    """A file with what a Jacobian is of, and for every finished block a digest of its entries.

    It exists while the Jacobian is not whole: it is written before the first block, a line is added
    after each, and it is removed after the last. A line that was cut off counts for nothing.

    Attributes
    ----------
    path : Path
    finished : dict
        By the number of each finished block, the digest of its entries.
    """

    def __init__(self, path: str | os.PathLike[str], **of: Any) -> None:
        self.path = Path(path)
        self.finished: dict[int, str] = {}
        self._of = {"format": _FORMAT, **of}
        if self.path.exists():
            self._read()
        else:
            self._begin()

    def _begin(self) -> None:
        # A file of another name first: a record is there as a whole or not at all.
        draft = self.path.with_name(f"{self.path.name}.new")
        _write(draft, "w", f"{json.dumps(self._of)}\n")
        draft.replace(self.path)

    def _read(self) -> None:
        text = self.path.read_text()
        *lines, cut_off = text.split("\n")
        if cut_off:
            with self.path.open("r+b") as file:
                file.truncate(len(text.encode()) - len(cut_off.encode()))
        try:
            found, *pairs = [json.loads(line) for line in lines]
            self.finished = dict(pairs)
            is_record = found["format"].startswith("chainad stream")
        except (ValueError, TypeError, KeyError, AttributeError):
            is_record = False
        if not is_record:
            raise InputError(
                f"{self.path} is no record of chainad.stream; choose another file by record="
            )
        for name, difference in _DIFFERENCES.items():
            if found.get(name) != self._of[name]:
                raise InputError(
                    f"{self.path} records a Jacobian that was begun with {difference}, and does not"
                    " go with this one; delete that file to begin anew"
                )

    def check(self, digest_of: Callable[[int], str]) -> None:
        """Refuse finished blocks that are no longer what was written.

        Raises
        ------
        InputError
        """
        for number, digest in self.finished.items():
            if digest_of(number) != digest:
                raise InputError(
                    f"block {number} is finished by the record {self.path}, but what `into` has"
                    " there is something else: open an existing file for reading and writing"
                    " ('r+'), which keeps what is in it, or delete the record to begin anew"
                )

    def add(self, number: int, digest: str) -> None:
        """Note that a block is in its place."""
        _write(self.path, "a", f"{json.dumps([number, digest])}\n")
        self.finished[number] = digest

    def remove(self) -> None:
        """Remove the file: all blocks are in their places."""
        self.path.unlink()


def _write(path: Path, mode: str, text: str) -> None:
    with path.open(mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
