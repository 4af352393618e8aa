"""Metadata of a file: keys that muxers write themselves, and those that MP4 and MOV have a place for."""

import re
from collections.abc import Iterable

from rescale.io.record import KEY

_NOT_OURS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "alpha_mode", KEY}
"""Keys that the muxer writes itself."""
_STATISTICS = re.compile(r"(bps|duration|number_of_(frames|bytes)|_statistics_\w+)(-\w+)?", re.IGNORECASE)
"""Keys of mkvmerge about the packets of a stream, which are untrue of one that is encoded anew."""
_NEUTRAL = {"creation_time", "location"}
"""Keys that every MP4 has a place for, beside its other metadata."""
_ITUNES = _NEUTRAL | {
    "title", "artist", "album_artist", "album", "composer", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort", "season_number",
    "media_type", "hd_video", "gapless_playback", "compilation", "track", "disc",
}  # fmt: skip
_QUICKTIME = _NEUTRAL | {"title", "artist", "album", "date", "comment", "genre", "copyright", "make", "model"}
_PLACES = {"mp4": _ITUNES, "mov": _QUICKTIME}
"""Keys that FFmpeg writes to where readers look for them; it writes any other as QuickTime's own kind, and then all."""


def of_file(metadata: dict[str, str]) -> dict[str, str]:
    """Select the metadata that a new file takes from the old one."""
    return {key: value for key, value in metadata.items() if key.lower() not in _NOT_OURS}


def of_film(metadata: dict[str, str]) -> dict[str, str]:
    """Select the metadata that a stream which is encoded anew takes from the old one."""
    return {key: value for key, value in of_file(metadata).items() if not _STATISTICS.fullmatch(key)}


def keeps_any_key(keys: Iterable[str], container: str, *, has_record: bool) -> bool:
    """Choose how MP4 and MOV hold metadata: under keys of any name, which no reader of iTunes' tags sees, or as those.

    Any names are for a record, for what phones write (com.apple...), and where no tag of a known name would go astray;
    in MOV, where QuickTime looks for both, for every other name.
    """
    names, known = {_plain(key) for key in keys}, _PLACES.get(container)
    if known is None:
        return False
    others = names - known
    is_phone = any("." in name for name in others)
    return has_record or is_phone or bool(others and (container == "mov" or not names & known - _NEUTRAL))


def lost(keys: Iterable[str], container: str, *, has_record: bool) -> list[str]:
    """Note what cannot be kept of the metadata of a file."""
    keys = list(keys)
    known = _PLACES.get(container)
    if known is None or keeps_any_key(keys, container, has_record=has_record):
        return []
    names = sorted(key for key in keys if _plain(key) not in known)
    return [f"tags without a place among those of iTunes are lost: {', '.join(names)}; MKV keeps them"] * bool(names)


def _plain(key: str) -> str:
    """Return a key in lower case and without its language."""
    return re.sub(r"-[a-z]{3}$", "", key.lower())
