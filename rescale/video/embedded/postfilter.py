"""Networks as a neural-network post-filter of ITU-T H.274: SEI messages that describe it, carry it and switch it on.

No player applies them: the format of the networks is this package's own, and its tag URI says so. Others can read what
the filter is for, its scale, patches and cost, and pass it over.

```
NNPFC  210      purpose, id, base or update, mode; tag URI of the format, URI of the data; properties
  data URI      the bundle, see `bundle`, in base64
NNPFA  211      the filter holds from this picture on
```

Source: H.274 (V3, 09/2023; V4, 01/2026), and the order of fields in the reference software of H.265 (HM), which agree
for the fields written here.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator

from rescale.geometry import Size
from rescale.video.embedded.bits import BitReader, BitWriter
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.io.nal import Message

NNPFC, NNPFA = 210, 211
"""Types of SEI messages."""
TAG = "tag:rescale.invalid,2026:networks"
"""Name of the bundle's format. The project owns no domain, and .invalid is one that nobody can own (RFC 2606)."""
_DATA = "data:application/x-rescale;base64,"
_GOLOMB = 0
"""Width that stands for ue(v)."""
_RESOLUTION = 4
"""Purpose: a picture of another size."""
_HEAD = {"nnpfc_purpose": 16, "nnpfc_id": _GOLOMB, "nnpfc_base_flag": 1, "nnpfc_mode_idc": _GOLOMB}
"""Bits of the fields in front of the URIs."""
_PROPERTIES = {
    "nnpfc_property_present_flag": 1, "nnpfc_num_input_pics_minus1": _GOLOMB,
    "nnpfc_pic_width_num_minus1": _GOLOMB, "nnpfc_pic_width_denom_minus1": _GOLOMB,
    "nnpfc_pic_height_num_minus1": _GOLOMB, "nnpfc_pic_height_denom_minus1": _GOLOMB,
    "nnpfc_component_last_flag": 1, "nnpfc_inp_format_idc": _GOLOMB, "nnpfc_auxiliary_inp_idc": _GOLOMB,
    "nnpfc_inp_order_idc": _GOLOMB, "nnpfc_inp_tensor_luma_bitdepth_minus8": _GOLOMB,
    "nnpfc_out_format_idc": _GOLOMB, "nnpfc_out_order_idc": _GOLOMB,
    "nnpfc_out_tensor_luma_bitdepth_minus8": _GOLOMB, "nnpfc_separate_colour_description_present_flag": 1,
    "nnpfc_overlap": _GOLOMB, "nnpfc_constant_patch_size_flag": 1, "nnpfc_patch_width_minus1": _GOLOMB,
    "nnpfc_patch_height_minus1": _GOLOMB, "nnpfc_padding_type": _GOLOMB, "nnpfc_complexity_info_present_flag": 1,
    "nnpfc_parameter_type_idc": 2, "nnpfc_log2_parameter_bit_length_minus3": 2, "nnpfc_num_parameters_idc": 6,
    "nnpfc_num_kmac_operations_idc": _GOLOMB, "nnpfc_total_kilobyte_size": _GOLOMB,
    "nnpfc_num_metadata_extension_bits": _GOLOMB,
}  # fmt: skip
"""Bits of the fields behind them, in their order, as far as this purpose, luma alone, and these flags have them."""
_SWITCH = {
    "nnpfa_target_id": _GOLOMB, "nnpfa_cancel_flag": 1, "nnpfa_persistence_flag": 1, "nnpfa_target_base_flag": 1,
    "nnpfa_no_prev_clvs_flag": 1, "nnpfa_no_foll_clvs_flag": 1, "nnpfa_num_output_entries": _GOLOMB,
}  # fmt: skip


def pack(bundle: NetworkBundle, data: bytes, small: Size, depth: int) -> list[Message]:
    """Make the SEI messages of a bundle; the opposite of `unpack`.

    Args:
        bundle: the networks.
        data: the same as bytes.
        small: height and width of the LR video.
        depth: bits of its samples.
    """
    bits = BitWriter()
    _write(bits, _HEAD, {"nnpfc_purpose": _RESOLUTION, "nnpfc_base_flag": 1, "nnpfc_mode_idc": 1})
    bits.align()
    bits.string(TAG)
    bits.string(_DATA + base64.b64encode(data).decode())
    _write(bits, _PROPERTIES, _properties(bundle, small, depth))
    switch = BitWriter()
    _write(switch, _SWITCH, {"nnpfa_persistence_flag": 1, "nnpfa_target_base_flag": 1})
    return [(NNPFC, bits.payload()), (NNPFA, switch.payload())]


def unpack(messages: Iterable[Message]) -> Iterator[bytes]:
    """Yield the bundles among SEI messages, unchecked: whoever knows their digests knows whether they are whole."""
    found = (_data(payload) for kind, payload in messages if kind == NNPFC)
    return (data for data in found if data is not None)


def _data(payload: bytes) -> bytes | None:
    """Read the data of a filter; None for one of another format, or that is damaged."""
    bits = BitReader(payload)
    try:
        head = _read(bits, _HEAD)
        bits.align()
        if head["nnpfc_mode_idc"] != 1 or bits.string() != TAG:
            return None
        uri = bits.string()
        return base64.b64decode(uri.removeprefix(_DATA), validate=True)
    except (ValueError, binascii.Error):
        return None


def _properties(bundle: NetworkBundle, small: Size, depth: int) -> dict[str, int]:
    """Describe a bundle, in the standard's words; what is not named is 0."""
    first, side = bundle.networks[0], bundle.partition.side
    count = sum(network.parameter_count for network in bundle.networks)
    return {
        "nnpfc_property_present_flag": 1,
        "nnpfc_pic_width_num_minus1": bundle.scale - 1,  # the record crops what is odd
        "nnpfc_pic_height_num_minus1": bundle.scale - 1,
        "nnpfc_inp_format_idc": 1,  # levels
        "nnpfc_inp_tensor_luma_bitdepth_minus8": depth - 8,
        "nnpfc_out_format_idc": 1,
        "nnpfc_out_tensor_luma_bitdepth_minus8": depth - 8,
        "nnpfc_overlap": first.halo,
        "nnpfc_constant_patch_size_flag": 1,
        "nnpfc_patch_width_minus1": min(side, small[1]) - 1,
        "nnpfc_patch_height_minus1": min(side, small[0]) - 1,
        "nnpfc_padding_type": 2,  # reflection
        "nnpfc_complexity_info_present_flag": 1,
        "nnpfc_parameter_type_idc": 1,  # floats
        "nnpfc_log2_parameter_bit_length_minus3": 2,  # of 32 bits
        "nnpfc_num_parameters_idc": max((count // 2048).bit_length(), 1),  # fewer than 2048 << idc
        "nnpfc_num_kmac_operations_idc": -(-first.parameter_count // (1000 * first.cell**2)),
        "nnpfc_total_kilobyte_size": -(-4 * count // 1000),
    }


def _write(bits: BitWriter, fields: dict[str, int], values: dict[str, int]) -> None:
    assert values.keys() <= fields.keys()
    for name, width in fields.items():
        value = values.get(name, 0)
        bits.golomb(value) if width == _GOLOMB else bits.number(value, width)


def _read(bits: BitReader, fields: dict[str, int]) -> dict[str, int]:
    return {name: bits.golomb() if width == _GOLOMB else bits.number(width) for name, width in fields.items()}
