"""A look at a file before any work: whether it may carry a record."""

import os
import re
from pathlib import Path

_HEAD, _TAIL = 2**22, 2**20
_MARKS = re.compile(rb"[tiz][TE]Xtrescale\0|rescale:record")


def may_carry_record(path: Path) -> bool:
    """Tell whether a file has the mark of a record, without decoding it; a damaged record has it too.

    Every format keeps metadata in front of the samples or behind them, and this one as plain text: as a PNG text chunk
    of its own, or in XMP. A file that cannot be read has none.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
            rest = max(len(head), os.fstat(file.fileno()).st_size - _TAIL)
            file.seek(rest)
            tail = file.read(_TAIL)
    except OSError:
        return False
    return bool(_MARKS.search(head) or _MARKS.search(tail))
