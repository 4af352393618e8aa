"""Recognition of video containers by their first bytes: the allow-list of demuxers, none of which opens other files."""

HEAD = 8192
"""Bytes that tell what a file is."""
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STARTS = (
    (b"\x1a\x45\xdf\xa3", "matroska"), (b"FLV\x01", "flv"), (b"OggS\0", "ogg"), (b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"DKIF\0\0", "ivf"), (b"\0\0\x01\xba", "mpeg"),
    (b"\0\0\x01\xb3", "mpegvideo"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", "asf"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01", "mxf"), (b"\x1f\x07\x00\x3f", "dv"),
    (b"\x1f\x07\x00\xbf", "dv"),
)  # fmt: skip
"""First bytes, and FFmpeg's name of the demuxer."""
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "png_pipe"), (b"\xff\xd8\xff", "jpeg_pipe"), (b"BM", "bmp_pipe"), (b"P5", "pgm_pipe"),
    (b"P6", "ppm_pipe"), (b"SDPX", "dpx_pipe"), (b"XPDS", "dpx_pipe"),
)  # fmt: skip
_SYNC, _PACKETS = 0x47, (188, 192, 204)
"""First byte of a transport stream's packets, and their lengths: plain, with a time (M2TS), with a check."""
LABELS = "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, OGG, MXF, DV, GIF or Y4M"
"""What is read, in a sentence."""


def demuxer(head: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer for a file's first bytes; None for what is no video, and for playlists."""
    if head[4:8] in _ATOMS:
        return "mov"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    if head.startswith(b"\x89PNG\r\n\x1a\n") and b"acTL" in head[: head.find(b"IDAT")]:
        return "apng"
    known = next((name for start, name in _STARTS if head.startswith(start)), None)
    return known or ("mpegts" if _is_transport(head) else None)


def picture_demuxer(head: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer for pictures that follow each other, by the first one's first bytes."""
    return next((name for start, name in _PICTURES if head.startswith(start)), None)


def _is_transport(head: bytes) -> bool:
    """Tell whether packets of one length follow each other, from any byte on, as a recording may begin anywhere."""
    for length in _PACKETS:
        for start in range(length):
            places = range(start, len(head), length)
            if len(places) >= 3 and all(head[place] == _SYNC for place in places):
                return True
    return False
