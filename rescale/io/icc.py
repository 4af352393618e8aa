"""Colour profiles: which pixels one belongs to, the profile of another colour space with the same curve, and CICP.

An LR image of a grey one is RGB, and some formats store grey as RGB: then the grey profile becomes one of RGB with the
same tone curve, which carries the grey one along and gives it back for the restored image.
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RGB, _GREY = b"RGB ", b"GRAY"
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_CARRIED = b"rscG"  # a private tag: the grey profile that this one stands for
_WHITE = (0.9642, 1.0, 0.8249)  # D50, to which all profiles relate
_SRGB_PRIMARIES = {b"rXYZ": (0.43607, 0.22249, 0.01392), b"gXYZ": (0.38515, 0.71687, 0.09708),
                   b"bXYZ": (0.14307, 0.06061, 0.71410)}  # fmt: skip
_PRIMARIES = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06), 5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07), 7: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046), 12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}  # fmt: skip
"""x and y of red, green and blue of H.273, of those with the white of D65."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D65 = (0.3127, 0.3290)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_TRANSFERS = {13: _SRGB_CURVE, **dict.fromkeys((1, 6, 14, 15), _VIDEO_CURVE), 4: (2.2,), 5: (2.8,), 8: (1.0,)}
"""Parameters of the curve of H.273 transfers; those of HDR have none in a profile."""
_CURVE_KINDS = {1: 0, 5: 3}


class Fitted(NamedTuple):
    """The profile that may stand beside the pixels, and a note where there is none."""

    profile: bytes | None
    note: str = ""


def is_profile(profile: bytes) -> bool:
    """Tell whether bytes are an ICC profile at all."""
    return len(profile) >= 132 and profile[36:40] == b"acsp"


def space(profile: bytes) -> bytes:
    """Return the signature of a profile's colour space, such as `RGB `."""
    return profile[16:20]


def fitted(profile: bytes | None, *, is_grey: bool) -> Fitted:
    """Return the profile for grey or RGB pixels: itself, or one of the same curve."""
    wanted = _GREY if is_grey else _RGB
    if not profile or not is_profile(profile) or space(profile) == wanted:
        return Fitted(profile)
    ways = {_GREY: _grey_of_rgb, _RGB: _rgb_of_grey}
    made = ways[wanted](profile) if space(profile) in ways else None
    if made:
        return Fitted(made)
    kind, pixels = space(profile).decode("latin-1").strip(), "grey" if is_grey else "RGB"
    return Fitted(None, f"not kept: its colour profile, which is for {kind} and has no equal for {pixels}")


def _rgb_of_grey(profile: bytes) -> bytes | None:
    """Build a profile of RGB with a grey one's curve: equal samples look as they did. None for one without a curve."""
    tags = _tags(profile)
    if b"kTRC" not in tags or profile[20:24] != b"XYZ ":
        return None
    colours = {name: _xyz(*value) for name, value in _SRGB_PRIMARIES.items()}
    curves = dict.fromkeys(_CURVES, tags[b"kTRC"])
    return _profile(profile, _RGB, _shared(tags) | colours | curves | {_CARRIED: b"data\0\0\0\0\0\0\0\1" + profile})


def _grey_of_rgb(profile: bytes) -> bytes | None:
    """Return the grey profile that one of RGB stands for, or build it; None where its three curves are not one."""
    tags = _tags(profile)
    if _CARRIED in tags:
        return tags[_CARRIED][12:]
    curves = {tags.get(name, b"") for name in _CURVES}
    if len(curves) > 1 or curves == {b""} or profile[20:24] != b"XYZ ":
        return None
    return _profile(profile, _GREY, _shared(tags) | {b"kTRC": curves.pop()})


def _shared(tags: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: tags[name] for name in (b"desc", b"cprt", b"wtpt", b"chad") if name in tags}


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Return all tags of a profile; none where its table is broken."""
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 100 or len(profile) < 132 + 12 * count:
        return {}
    table = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
    return {name: profile[at : at + length] for name, at, length in table if at + length <= len(profile)}


def _profile(like: bytes, colours: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Build a profile with the header of another; equal values are stored once."""
    at, places, body = 132 + 12 * len(tags), dict[bytes, int](), b""
    for value in tags.values():
        if value not in places:
            places[value] = at + len(body)
            body += value + b"\0" * (-len(value) % 4)
    table = b"".join(struct.pack(">4sII", name, places[value], len(value)) for name, value in tags.items())
    head = like[4:12] + b"mntr" + colours + b"XYZ " + like[24:84] + bytes(44)
    return struct.pack(">I", at + len(body)) + head + struct.pack(">I", len(tags)) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def of_cicp(primaries: int, transfer: int) -> bytes | None:
    """Build a profile of H.273 code points, for formats that cannot hold them; None for HDR and rare ones."""
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return None
    columns = _to_d50(_PRIMARIES[primaries]).T
    curve = _curve(_TRANSFERS[transfer])
    words = f"H.273 {primaries}/{transfer}".encode()
    tags = {b"desc": _text(words), b"cprt": _text(b"CC0"), b"wtpt": _xyz(*_WHITE)}
    tags |= {name: _xyz(*column) for name, column in zip(_SRGB_PRIMARIES, columns, strict=True)}
    tags |= dict.fromkeys(_CURVES, curve)
    tags[b"cicp"] = b"cicp\0\0\0\0" + bytes([primaries, transfer, 0, 1])
    head = bytes(8) + struct.pack(">I", 0x04400000) + bytes(12) + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    return _profile(head + bytes(28) + _xyz(*_WHITE)[8:] + bytes(48), _RGB, tags)


def _text(words: bytes) -> bytes:
    wide = words.decode().encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(wide), 28) + wide


def _curve(parameters: tuple[float, ...]) -> bytes:
    kind = _CURVE_KINDS[len(parameters)]
    return (
        b"para\0\0\0\0"
        + struct.pack(">HH", kind, 0)
        + b"".join(struct.pack(">i", round(value * 65536)) for value in parameters)
    )


def _to_d50(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ that relates to D50, adapted by Bradford."""
    corners = np.array([_from_xy(*primaries[n : n + 2]) for n in (0, 2, 4)]).T
    white = np.array(_from_xy(*_D65))
    matrix = corners * np.linalg.solve(corners, white)
    cones = np.diag((_BRADFORD @ _WHITE) / (_BRADFORD @ white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ matrix
    return adapted


def _from_xy(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y
