"""Bits of SEI messages: fixed numbers, Exp-Golomb numbers and strings, written and read."""


class BitWriter:
    """Bits in the order of a bit stream, the most significant one first."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._count = 0

    def number(self, value: int, width: int) -> None:
        """Write u(v), of so many bits."""
        assert 0 <= value < 1 << width, (value, width)
        self._parts.append(f"{value:0{width}b}")
        self._count += width

    def golomb(self, value: int) -> None:
        """Write ue(v): one less zeros than the bits of the number and one, then these."""
        self.number(value + 1, 2 * (value + 1).bit_length() - 1)

    def align(self) -> None:
        """Write zeros up to a whole byte."""
        if self._count % 8:
            self.number(0, -self._count % 8)

    def string(self, text: str) -> None:
        """Write st(v): UTF-8 and a zero, from a whole byte on."""
        data = text.encode() + b"\x00"
        self.number(int.from_bytes(data), 8 * len(data))

    def payload(self) -> bytes:
        """Return all bits as the payload of an SEI message: a one and zeros behind them, if they are no whole bytes."""
        if self._count % 8:
            self.number(1, 1)
        self.align()
        return int("0" + "".join(self._parts), 2).to_bytes(self._count // 8)


class BitReader:
    """Opposite of `BitWriter`; each method raises ValueError where the data ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, width: int) -> int:
        """Read u(v)."""
        begin, self._at = self._at, self._at + width
        if self._at > 8 * len(self._data):
            raise ValueError(f"expected {width} more bits")
        covering = int.from_bytes(self._data[begin // 8 : -(-self._at // 8)])
        return covering >> -self._at % 8 & (1 << width) - 1

    def golomb(self) -> int:
        """Read ue(v), of at most 32 bits."""
        zeros = 0
        while not self.number(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("expected a number of at most 32 bits")
        return (1 << zeros | self.number(zeros)) - 1

    def align(self) -> None:
        """Skip to the next whole byte."""
        self._at += -self._at % 8

    def string(self) -> str:
        """Read st(v)."""
        begin = self._at // 8
        end = self._data.index(b"\x00", begin)
        self._at = 8 * (end + 1)
        return self._data[begin:end].decode()
