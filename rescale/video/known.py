"""Frames of an overfitted video that other tools cut or joined: each by its own networks, others as ordinary ones."""

from dataclasses import dataclass

from rescale.models import LumaSR
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.frames import key_of
from rescale.video.io.frames import Frame


@dataclass
class FrameFinder:
    """Bundle and time for each frame, by the tables of the bundles in a video.

    Args:
        bundles: of one scale, the one that the record names first.
        generic: network for frames of none.
        is_trusting: take each frame for one of the first bundle, by its time, as without a table.
    """

    bundles: list[NetworkBundle]
    generic: LumaSR
    is_trusting: bool = False
    unknown: int = 0
    """Number of frames that were found in no table."""

    def find(self, frame: Frame, time_ms: int) -> tuple[int, int] | None:
        """Return the number of a frame's bundle, and a time at which its networks were trained on it; None if unknown.

        Args:
            frame: an LR frame.
            time_ms: when it is shown, from the first frame on; it decides between frames that are the same.
        """
        if self.is_trusting:
            return 0, time_ms
        found = self._in_tables(frame, time_ms)
        self.unknown += found is None
        return found

    def knows(self, frame: Frame) -> bool:
        """Tell whether a frame is in a table."""
        return self._in_tables(frame, 0) is not None

    def _in_tables(self, frame: Frame, time_ms: int) -> tuple[int, int] | None:
        key = key_of(frame.planes)
        for number, bundle in enumerate(self.bundles):
            slots, partition = bundle.frames.slots.get(key), bundle.partition
            if slots:
                own = partition.slot(time_ms)
                return number, (own if own in slots else slots[0]) * partition.slot_ms
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Note on what was met so far."""
        count = f"{self.unknown} frames are not of the video that was overfitted"
        return (f"{count}, and are enlarged as an ordinary one",) * bool(self.unknown)
