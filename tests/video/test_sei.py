"""NAL units, SEI messages and the fields of a neural-network post-filter, down to the bits of the standard."""

import base64

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale.models import ESPCN, ESPCNConfig
from rescale.video.embedded import postfilter
from rescale.video.embedded.bits import BitReader, BitWriter
from rescale.video.embedded.bundle import NetworkBundle
from rescale.video.embedded.partition import Partition
from rescale.video.io import nal

RISKY = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=60).map(bytes)
"""Bytes that look like start codes, and like what prevents them."""
CODEC = st.sampled_from(nal.CODECS)


def bundle(parts: int = 2, scale: int = 3, side: int = 48) -> NetworkBundle:
    torch.manual_seed(1)
    config = ESPCNConfig(scale, (8,), (3, 3), residual=True, cell=2, activation="relu")
    return NetworkBundle([ESPCN(config) for _ in range(parts)], Partition(torch.zeros(1, 2, 2).byte(), side))


# ------------------------------------------------------------------------------------------------- bytes and bits


@given(RISKY)
def test_no_start_code_is_emulated_and_the_bytes_come_back(data):
    made = nal.escape(data)
    assert not any(b"\x00\x00" + bytes([k]) in made for k in range(3)) and nal.unescape(made) == data


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [("000000", "00000300"), ("000001", "00000301"), ("000003", "00000303"), ("000004", "000004"),
     ("00000000000000", "000003000003000003 00"), ("0100000201", "010000030201")],
)  # fmt: skip
def test_emulation_is_prevented_as_the_standard_has_it(plain, escaped):
    assert nal.escape(bytes.fromhex(plain)) == bytes.fromhex(escaped)


def test_golomb_numbers_are_those_of_the_standard():
    """Table 9-1 of H.264."""
    for value, bits in enumerate(["1", "010", "011", "00100", "00101", "00110", "00111", "0001000"]):
        writer = BitWriter()
        writer.golomb(value)
        assert "".join(writer._parts) == bits


@given(st.lists(st.one_of(st.integers(0, 2**32 - 2), st.booleans(), st.text(st.characters(min_codepoint=1)))))
def test_numbers_flags_and_strings_come_back(values):
    writer = BitWriter()
    for value in values:
        if isinstance(value, str):
            writer.align()
            writer.string(value)
        else:
            writer.number(value, 1) if isinstance(value, bool) else writer.golomb(value)
    reader = BitReader(writer.payload())
    for value in values:
        if isinstance(value, str):
            reader.align()
            assert reader.string() == value
        else:
            assert (reader.number(1) if isinstance(value, bool) else reader.golomb()) == value


@given(st.binary(max_size=30))
def test_whatever_is_read_as_bits_ends_in_numbers_or_one_error(data):
    for read in (BitReader.golomb, BitReader.string, lambda reader: reader.number(9)):
        reader = BitReader(data)
        with pytest.raises(ValueError):
            while True:
                read(reader)


# ------------------------------------------------------------------------------------------------- units and packets


@given(st.lists(st.tuples(st.integers(0, 600), st.one_of(RISKY, st.integers(0, 800).map(bytes))), min_size=1), CODEC)
def test_messages_come_back(sent, codec):
    unit = nal.sei_unit(sent, codec)
    assert list(nal.messages(unit, codec)) == sent and b"\x00\x00\x01" not in unit


def test_types_and_sizes_count_in_bytes_of_255():
    assert nal.sei_unit([(210, b"a" * 3)], "h264") == bytes.fromhex("06 d2 03 616161 80")
    assert nal.sei_unit([(5, b"a" * 255)], "hevc") == bytes.fromhex("4e01 05 ff00") + b"a" * 255 + b"\x80"
    assert nal.sei_unit([(300, b"a" * 511)], "h264")[:6] == bytes.fromhex("06 ff2d ffff01")


@given(st.binary(max_size=40), CODEC)
def test_any_bytes_are_units_and_messages_of_something(data, codec):
    for size in (0, 1, 2, 4):
        for unit in nal.units(data, size):
            list(nal.messages(unit, codec))


AUD, SPS, PPS, NOTE, IDR = (bytes.fromhex(text) for text in ("09f0", "6742c01e", "68ce3c80", "060501ff80", "658884"))
VPS, KEY = bytes.fromhex("40010c01"), bytes.fromhex("2601af09")


@pytest.mark.parametrize("start", [b"\x00\x00\x01", b"\x00\x00\x00\x01"])
@pytest.mark.parametrize(
    ("codec", "before", "slices"),
    [("h264", [], [IDR]), ("h264", [AUD, SPS, PPS, NOTE], [IDR, IDR]), ("hevc", [VPS], [KEY, KEY])],
)
def test_units_stand_behind_parameters_and_in_front_of_slices(start, codec, before, slices):
    packet = b"".join(start + unit for unit in before + slices)
    added = [nal.sei_unit([(210, b"x" * 300)], codec), nal.sei_unit([(5, b"\x00" * 9)], codec)]
    made = nal.splice(packet, added, codec)
    assert list(nal.units(made, 0)) == [*before, *added, *slices]
    lengths = b"".join(len(unit).to_bytes(4) + unit for unit in before + added + slices)
    assert list(nal.units(lengths, 4)) == [*before, *added, *slices]


def test_the_length_of_lengths_is_read_from_the_headers_of_mp4():
    avcc, hvcc = bytes.fromhex("01640028 ff e1"), b"\x01" + b"\x00" * 20 + b"\x0f\x03"
    assert nal.length_size(avcc, "h264") == 4 and nal.length_size(hvcc, "hevc") == 4
    assert nal.length_size(bytes.fromhex("01640028 fd e1"), "h264") == 2
    assert nal.length_size(b"\x00\x00\x00\x01\x67", "h264") == nal.length_size(None, "hevc") == 0


# ------------------------------------------------------------------------------------------------- the post-filter


URIS = b"tag:rescale.invalid,2026:networks\x00data:application/x-rescale;base64,YWJj\x00"


def test_the_fields_are_the_bits_of_the_standard():
    """Written out by hand, field by field, for two networks of 2,924 numbers on cells of 2x2 pixels."""
    assert [network.parameter_count for network in bundle().networks] == [2924, 2924]
    head = "0000000000000100 1 1 010 000"  # purpose 4: resolution; id 0; a base; mode 1: URIs; alignment
    fields = (
        "1 1"  # properties are present; one input picture
        "011 1 011 1"  # three times the width and the height
        "0 010 1 1 011"  # input: components first, integers, nothing auxiliary, luma only, of 10 bits
        "010 1 011"  # output: integers, luma only, of 10 bits
        "0"  # colours as of the stream
        "00101 1 00000110000 00000101000"  # overlap of 4; patches of always 48 x 40
        "011"  # padded by reflection
        "1 01 10 000010"  # complexity: floats of 32 bits, fewer than 2048 << 2
        "010 000011001"  # at most 1,000 multiplications a pixel; 24 kB
        "1"  # no further metadata
    )
    (kind, payload), switch = postfilter.pack(bundle(), b"abc", (40, 64), 10)
    made = "".join(f"{byte:08b}" for byte in payload).split("".join(f"{byte:08b}" for byte in URIS))
    assert kind == 210 and made[0] == head.replace(" ", "")
    assert made[1].rstrip("0") == fields.replace(" ", "") + "1"  # the trailing one
    assert switch == (211, bytes([0b1_0_1_1_0_0_1_1]))  # id 0, kept, persistent, the base, no, no, 0 outputs; a one


def parsed(payload: bytes) -> dict[str, int | str]:
    """All fields, with every condition of the reference software (HM, xParseSEINNPostFilterCharacteristics)."""
    bits, f = BitReader(payload), {}

    def read(width: int, *names: str) -> None:
        for name in names:
            f[name] = bits.number(width) if width else bits.golomb()

    read(16, "purpose"), read(0, "id"), read(1, "base_flag"), read(0, "mode_idc")
    if f["mode_idc"] == 1:
        bits.align()
        f["tag_uri"], f["uri"] = bits.string(), bits.string()
    read(1, "property_present_flag")
    if not f["property_present_flag"]:
        return f
    read(0, "num_input_pics_minus1")
    assert not f["num_input_pics_minus1"]
    read(1, *["out_sub_c_flag"] * bool(f["purpose"] & 2))
    read(2, *["out_colour_format_idc"] * bool(f["purpose"] & 32))
    if f["purpose"] & 4:
        read(0, "width_num_minus1", "width_denom_minus1", "height_num_minus1", "height_denom_minus1")
    assert not f["purpose"] & (8 | 64 | 128)
    read(1, "component_last_flag"), read(0, "inp_format_idc", "auxiliary_inp_idc")
    assert not f["auxiliary_inp_idc"] & 6
    read(0, "inp_order_idc")
    for way in ("inp", "out"):
        if way == "out":
            read(0, "out_format_idc", "out_order_idc")
        if f[f"{way}_format_idc"] == 1:
            read(0, *[f"{way}_luma_bitdepth_minus8"] * (f[f"{way}_order_idc"] != 1))
            read(0, *[f"{way}_chroma_bitdepth_minus8"] * (f[f"{way}_order_idc"] != 0))
    read(1, "separate_colour_description_present_flag")
    assert not f["separate_colour_description_present_flag"]
    read(1, *["chroma_loc_info_present_flag"] * (f["out_order_idc"] != 0))
    read(0, "overlap"), read(1, "constant_patch_size_flag")
    read(0, *(("patch_width_minus1", "patch_height_minus1") if f["constant_patch_size_flag"] else ("x", "y")))
    read(0, "padding_type")
    assert f["padding_type"] != 4
    read(1, "complexity_info_present_flag")
    if f["complexity_info_present_flag"]:
        read(2, "parameter_type_idc"), read(2, *["log2_parameter_bit_length_minus3"] * (f["parameter_type_idc"] != 2))
        read(6, "num_parameters_idc"), read(0, "num_kmac_operations_idc", "total_kilobyte_size")
    read(0, "num_metadata_extension_bits")
    assert not bits._at % 8 or bits.number(1)  # a one behind it, where it ends amid a byte
    return f


@given(st.integers(2, 4), st.integers(1, 4), st.sampled_from([8, 10, 12]), st.binary(max_size=90))
@settings(max_examples=20, deadline=None)
def test_a_reader_by_the_reference_software_understands_all_of_it(scale, parts, depth, data):
    networks = bundle(parts, scale)
    (_, payload), _ = postfilter.pack(networks, data, (30, 200), depth)
    f = parsed(payload)
    assert f["purpose"] == 4 and f["base_flag"] and f["tag_uri"] == postfilter.TAG and f["padding_type"] == 2
    assert base64.b64decode(f["uri"].partition(",")[2]) == data
    assert (f["width_num_minus1"], f["width_denom_minus1"]) == (scale - 1, 0)
    assert f["inp_luma_bitdepth_minus8"] == f["out_luma_bitdepth_minus8"] == depth - 8
    assert (f["patch_width_minus1"], f["patch_height_minus1"], f["overlap"]) == (47, 29, networks.networks[0].halo)
    count = sum(network.parameter_count for network in networks.networks)
    most = (2048 << f["num_parameters_idc"]) - 1
    assert count <= most and (f["num_parameters_idc"] == 1 or count > most // 2)
    assert f["total_kilobyte_size"] == -(-count * 4 // 1000) and f["num_metadata_extension_bits"] == 0


@given(st.integers(0, 10**6), st.integers(1, 255), st.binary(min_size=1, max_size=60), CODEC)
def test_a_damaged_filter_is_none_or_has_other_bytes(at, change, data, codec):
    unit = bytearray(nal.sei_unit(postfilter.pack(bundle(), data, (40, 64), 8), codec))
    unit[at % len(unit)] ^= change
    assert len(list(postfilter.unpack(nal.messages(bytes(unit), codec)))) <= 1


def test_filters_of_others_are_passed_over():
    writer = BitWriter()
    writer.number(4, 16), writer.golomb(0), writer.number(1, 1), writer.golomb(1), writer.align()
    writer.string("tag:onnx.ai,2017:onnx"), writer.string("file://./blue.onnx"), writer.number(0, 1)
    ours = postfilter.pack(bundle(), b"abc", (40, 64), 8)
    assert list(postfilter.unpack([(210, writer.payload()), (210, b""), (5, ours[0][1]), *ours])) == [b"abc"]
