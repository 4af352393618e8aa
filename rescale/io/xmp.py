"""XMP packets: join the extended part, and take out what speaks of pixels that did not come along."""

import re
from collections.abc import Callable, Iterator

EMPTY = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"</rdf:RDF></x:xmpmeta>"
)
"""A packet that says nothing."""
RECORD = re.compile(rb'<rdf:Description rdf:about="" xmlns:rescale="urn:rescale:1.0" rescale:record="[^"]*"/>')
"""The record of an LR image, as we write it."""
_GAIN_MAP = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/")
_CONTAINER = (
    b"http://ns.google.com/photos/1.0/container/", b"http://ns.google.com/photos/1.0/container/item/",
    b"http://ns.google.com/photos/dd/1.0/container/", b"http://ns.google.com/photos/dd/1.0/item/",
    b"http://ns.google.com/photos/dd/1.0/device/",
)  # fmt: skip
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_IMAGE = b"http://ns.google.com/photos/1.0/image/"
_THUMBNAIL = b"http://ns.adobe.com/xap/1.0/"
_ORIENTATION = re.compile(rb"""tiff:Orientation\s*=\s*(?:"\d"|'\d')|<tiff:Orientation>\d</tiff:Orientation>""")
_EXTENDED = re.compile(
    rb"""xmpNote:HasExtendedXMP(?:\s*=\s*(?:"([^"]*)"|'([^']*)')|>([^<]*)</xmpNote:HasExtendedXMP>)"""
)
_NOTED = re.compile(
    rb"""xmpNote:HasExtendedXMP\s*=\s*(?:"[^"]*"|'[^']*')|<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>"""
)
_RDF = re.compile(rb"<rdf:RDF[^<>]*>")
_DECLARED = re.compile(rb"""xmlns:([\w.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def cleaned(xmp: bytes) -> tuple[bytes, list[str]]:
    """Remove the orientation, which is applied, and claims of what was not kept; name the latter."""
    names = list[str]()
    xmp = _ORIENTATION.sub(b"", xmp)
    for namespaces, words, name in _claims():
        for prefix in _prefixes(xmp, namespaces):
            less = _without(xmp, prefix, words)
            names += [name] if less != xmp and name and name not in names else []
            xmp = less
    return xmp, names


def _claims() -> Iterator[tuple[tuple[bytes, ...], bytes, str]]:
    """Yield namespaces, words in them, and what these speak of; a thumbnail that shows the old image has no name."""
    yield _GAIN_MAP, rb"[\w.-]+", "gain map"
    yield (_CAMERA,), rb"(?:MotionPhoto|MicroVideo)[\w.-]*", "video of a motion photograph"
    yield _CONTAINER, rb"[\w.-]+", "images behind the first one"
    yield (_IMAGE,), rb"Data", "second picture in its XMP"
    yield (_THUMBNAIL,), rb"Thumbnails", ""


def _prefixes(xmp: bytes, namespaces: tuple[bytes, ...]) -> list[bytes]:
    return sorted({prefix for prefix, a, b in _DECLARED.findall(xmp) if (a or b) in namespaces})


def _without(xmp: bytes, prefix: bytes, words: bytes) -> bytes:
    """Remove attributes and elements of a prefix."""
    name = re.escape(prefix) + b":(?:" + words + b")"
    return _without_elements(re.sub(rb"""\s""" + name + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", b"", xmp), name)


def _without_elements(xmp: bytes, name: bytes) -> bytes:
    """Remove elements with all that they hold; the first that does not end stays, with what follows."""
    kept, at = [], 0
    for start in re.finditer(b"<(" + name + rb")(?=[\s/>])[^<>]*>", xmp):
        if start.start() < at:
            continue
        tail = b"</" + start[1] + b">"
        end = start.end() if start[0].endswith(b"/>") else xmp.find(tail, start.end()) + len(tail)
        if end < start.end():
            break
        kept.append(xmp[at : start.start()])
        at = end
    return b"".join([*kept, xmp[at:]])


def extension_of(xmp: bytes) -> bytes:
    """Return the digest by which a packet names its extended part; empty if it has none."""
    found = _EXTENDED.search(xmp)
    return found[found.lastindex or 0] if found else b""


def joined(xmp: bytes, extended: bytes) -> bytes | None:
    """Put the extended part of a JPEG's XMP into its main packet; None where either is no RDF of the usual form."""
    inner = _inner(extended)
    head, end = _RDF.search(xmp), xmp.rfind(b"</rdf:RDF>")
    if inner is None or head is None or end < head.end():
        return None
    known = {name for name, _, _ in _DECLARED.findall(xmp[: head.end()])}
    new = b"".join(
        b' xmlns:%s="%s"' % (name, a or b)
        for name, a, b in _DECLARED.findall(extended[: extended.find(inner)])
        if name not in known
    )
    at = head.end() - 1
    return _NOTED.sub(b"", xmp[:at] + new + xmp[at:end] + inner + xmp[end:])


def _inner(xmp: bytes) -> bytes | None:
    head, end = _RDF.search(xmp), xmp.rfind(b"</rdf:RDF>")
    return xmp[head.end() : end] if head and head.end() <= end and not head[0].endswith(b"/>") else None


def added(xmp: bytes, description: bytes) -> bytes | None:
    """Add a description to a packet; None to what is no RDF of the usual form."""
    before, mark, after = xmp.rpartition(b"</rdf:RDF>")
    return before + description + mark + after if mark else None


def divided(xmp: bytes, digest_of: Callable[[bytes], bytes]) -> tuple[bytes, bytes, bytes]:
    """Divide a packet that is too long: a main one, which holds the record, the digest that it names, and the rest.

    Args:
        xmp: the packet.
        digest_of: computes by what name the main one speaks of the rest.
    """
    rest = RECORD.sub(b"", xmp)
    note = b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/>'
    digest = digest_of(rest)
    main = added(EMPTY, b"".join([note % digest, *RECORD.findall(xmp)]))
    assert main
    return main, digest, rest
