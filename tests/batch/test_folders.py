"""Folders as people have them: what is taken, what is left out and counted, and where results go."""

import json
import os
import sys
from pathlib import Path

import pytest
from conftest import PHOTO
from filming import film
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rescale import downscale_video
from rescale.batch import plan as planning
from rescale.batch import results
from rescale.errors import MachineError
from rescale.io import folders, images, peek

BICUBIC = ("-m", "bicubic-x4")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photos(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(PHOTO) as photo:
            photo.crop((60, 40, 84, 60)).save(name)


def names(folder: str = ".") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def notes(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("note: left out of folders")]


# ------------------------------------------------------------------------------------------- what is taken


def test_hidden_files_are_left_out_and_counted(call):
    """As a glob does: doubles of macOS, thumbnails of galleries and of a NAS, what was thrown away."""
    photos("in/a.png", "in/.b.png", "in/.thumbnails/t.png", "in/@eaDir/a.png/THUMB.jpg", "in/$RECYCLE.BIN/c.png")
    Path("in/._a.png").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ")
    for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
        Path("in", name).write_bytes(b"no picture")
    code, out, err = call("down", "in", *BICUBIC, "-o", "out/")
    assert (code, out) == (0, "out/a.x4.png\n") and names("out") == ["a.x4.png"]
    assert err.startswith("note: left out of folders: hidden 5; such as in/") and err.count("\n") == 1


def test_what_is_named_is_taken_though_it_is_hidden(call):
    photos(".hidden/a.png", ".hidden/.b.png", ".c.png")
    code, out, _ = call("down", ".hidden", ".c.png", ".hidden/.b.png", *BICUBIC, "-n")
    assert code == 0 and out.splitlines() == [".hidden/a.x4.png", ".c.x4.png", ".hidden/.b.x4.png"]


def test_everything_that_lists_images_leaves_hidden_ones_out():
    photos("in/a.png", "in/._b.png", "in/.c/d.png")
    assert images.find(Path("in")) == [Path("in/a.png")]


def test_videos_links_and_other_formats_are_named_in_the_note(call):
    photos("in/a.png", "other/b.png")
    Path("in/clip.mp4").write_bytes(b"video")
    Path("in/raw.CR2").write_bytes(b"raw")
    Path("in/link").symlink_to(Path("other").absolute())
    code, out, err = call("down", "in", *BICUBIC, "-n")
    assert (code, out) == (0, "in/a.x4.png\n")
    assert [
        word in notes(err)[0] for word in ("videos 1", "links to folders 1", "formats that are not read 1")
    ] == 3 * [True]


def test_videos_of_folders_are_enlarged_and_the_tree_is_mirrored(call):
    Path("in/2").mkdir(parents=True)
    film(Path("in/e01.mp4"), [0, 1, 2])
    film(Path("in/e01.avi"), [0, 1, 2], codec="mpeg4")
    film(Path("in/2/e02.mkv"), [0, 1, 2])
    Path("in/module.ts").write_text("export const x = 1\n")
    photos("in/cover.png")
    code, _, err = call("up", "in", "--scale", 2, "-o", "out/")
    assert (code, notes(err)) == (0, [])
    wanted = ["2/e02.upscaled.mkv", "cover.upscaled.png", "e01.avi.upscaled.mkv", "e01.upscaled.mp4"]
    assert names("out") == wanted
    for name in wanted:
        (Path("in") / name).write_bytes((Path("out") / name).read_bytes())
    code, _, err = call("up", "in", "--scale", 2, "-o", "again/")
    assert code == 0 and names("again") == wanted and "results of earlier runs 4" in notes(err)[0]
    Path("in/broken.mp4").write_bytes(b"no video")
    code, _, err = call("up", "in", "--scale", 2, "-o", "more/")
    assert code == 3 and names("more") == wanted and "1 of 5 files failed" in err


def test_a_folder_of_small_videos_restores_by_their_records(call):
    Path("in").mkdir()
    film(Path("clip.mp4"), [0, 1, 2])
    for name in ("in/clip.x2.mkv", "in/other.mkv"):
        downscale_video("bicubic-x2", "clip.mp4", name)
    film(Path("in/plain.mp4"), [0, 1, 2])
    code, _, err = call("up", "in", "-o", "out/")
    assert code == 0 and names("out") == ["clip.x2.restored.mkv", "other.restored.mkv"]
    assert "without a record 1" in notes(err)[0] and "plain.mp4" in err


def test_a_template_of_pictures_leaves_videos_out_and_the_reverse(call):
    photos("in/a.png")
    film(Path("in/b.mp4"), [0])
    Path("out").mkdir()
    for template, left in (("out/{stem}.png", "videos 1"), ("out/{stem}.mkv", "pictures 1")):
        code, out, err = call("up", "in", "--scale", 2, "-o", template, "-n")
        assert code == 0 and out.count("\n") == 1 and left in notes(err)[0]


@pytest.mark.parametrize("content", [None, "clip.mp4", ".hidden.png", "a.svg"])
def test_a_folder_without_sources_fails_and_says_why(call, content):
    Path("in").mkdir()
    if content:
        Path("in", content).write_bytes(b"x")
    code, out, err = call("down", "in", *BICUBIC)
    assert (code, out) == (3, "") and err.count("error: in: no picture") == 1
    assert len(notes(err)) == bool(content) and (not content or content in err)


def test_circles_of_links_end(call):
    photos("in/sub/a.png")
    Path("in/sub/up").symlink_to(Path("in").absolute())
    Path("in/self").symlink_to("self")
    code, out, _ = call("down", "in", *BICUBIC)
    assert (code, out) == (0, "in/sub/a.x4.png\n")


def test_a_broken_link_and_a_pipe_are_failures_and_not_dropped(call):
    photos("in/a.png")
    Path("in/b.png").symlink_to("none.png")
    os.mkfifo("in/c.png")
    code, out, err = call("down", "in", *BICUBIC)
    assert (code, out) == (3, "in/a.x4.png\n") and "2 of 3 pictures failed" in err
    assert "cannot read in/b.png" in err and "got a pipe" in err


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_read_is_a_failure(folder):
    photos("in/a.png", "in/locked/b.png")
    Path("in/locked").chmod(0o000)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        pairs, _ = planning.plan(["in"], None, lambda file: f"{file.stem}.x4.png")
        assert [source for source, _ in pairs] == [Path("in/a.png"), Path("in/locked")]
        with pytest.raises(MachineError, match="cannot read the folder in/locked: Permission denied"):
            planning.check(*pairs[1], overwrite=False)
        with pytest.raises(MachineError, match="in/locked"):
            images.find(Path("in"))
    finally:
        os.seteuid(0)


# ------------------------------------------------------------------------------------------- own results


def test_a_second_scale_takes_the_originals_only(call):
    photos("in/a.png", "in/b.png")
    assert call("down", "in", *BICUBIC)[0] == call("up", "in")[0] == call("up", "in", "--scale", 2)[0] == 0
    made = {f"{x}{end}.png" for x in "ab" for end in ("", ".x4", ".x4.restored", ".upscaled")}
    assert set(names("in")) == made
    code, out, err = call("down", "in", "-m", "bicubic-x2")
    assert (code, out) == (0, "in/a.x2.png\nin/b.x2.png\n") and "results of earlier runs 6" in notes(err)[0]
    code, out, err = call("up", "in", "--scale", 3, "--overwrite")
    assert (code, out) == (0, "in/a.upscaled.png\nin/b.upscaled.png\n")


def test_up_of_a_folder_restores_what_has_a_record(call):
    photos("in/a.png")
    call("down", "in", *BICUBIC, "-o", "in/{stem}.webp")
    assert call("up", "in")[:2] == (0, "in/a.restored.png\n")
    code, out, err = call("up", "in", "--overwrite")
    assert (code, out) == (0, "in/a.restored.png\n") and "results of earlier runs 1, without a record 1" in notes(err)[
        0
    ]


def test_a_lost_record_is_said_and_not_passed_over(call):
    photos("in/a.png")
    call("down", "in", *BICUBIC)
    Image.open("in/a.x4.png").save("in/b.x4.png")
    code, out, err = call("up", "in")
    assert (code, out) == (3, "in/a.x4.restored.png\n") and "b.x4.png: this picture carries no record" in err


def test_a_model_restores_what_has_no_record_but_no_original(call):
    photos("in/a.png", "in/a.x4.png", "in/b.png")
    code, out, err = call("up", "in", *BICUBIC)
    assert (code, out) == (0, "in/a.x4.restored.png\nin/b.restored.png\n") and "without a record 1" in err


def test_results_that_are_named_are_taken(call):
    photos("in/a.png")
    call("down", "in", *BICUBIC)
    assert call("down", "in/a.x4.png", *BICUBIC, "-n")[:2] == (0, "in/a.x4.x4.png\n")
    assert call("down", "in/a.x4.png", "in", *BICUBIC, "-n", "--overwrite")[0] == 4, "it would be replaced"


def test_somebody_elses_names_are_no_results():
    found = [Path(name) for name in ("grandma.restored.jpg", "b.upscaled.png", "x.x4.y.png", "wall.1920x1080.png")]
    assert results.of_down(found) == results.of_up(found, has_model=False, has_scale=True) == {}


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "avif", "jpg"])
def test_a_record_is_seen_without_decoding(call, suffix):
    photos("a.png")
    call("down", "a.png", *BICUBIC, "-o", f"s.{suffix}")
    assert peek.may_carry_record(Path(f"s.{suffix}")) and not peek.may_carry_record(Path("a.png"))
    assert not peek.may_carry_record(Path("none.png")) and not peek.may_carry_record(Path())


def test_a_record_behind_a_large_image_is_seen():
    Path("a.png").write_bytes(bytes(9 * 2**20) + b"tEXtrescale\0{}" + bytes(2**19))
    Path("b.png").write_bytes(bytes(9 * 2**20))
    assert peek.may_carry_record(Path("a.png")) and not peek.may_carry_record(Path("b.png"))


def test_an_original_is_never_taken_for_a_result_of_this_very_plan(call):
    """Were it left out, --overwrite would replace it."""
    photos("in/a.png", "in/small/a.png", "pair/a.png", "pair/a.jpg")
    before = {name: Path(name).read_bytes() for name in names()}
    for words in (("down", *BICUBIC), ("up", "--scale", 2)):
        code, out, err = call(*words, "in", "-o", "in/small/{stem}.png", "--overwrite")
        assert (code, out) == (4, "") and "which is a source as well" in err
        code, out, _ = call(*words, "pair", "-o", "pair/{stem}.png", "--overwrite")
        assert (code, out) == (0, "pair/a.jpg.png\npair/a.png.png\n")
        Path("pair/a.jpg.png").unlink()
        Path("pair/a.png.png").unlink()
    assert {name: Path(name).read_bytes() for name in names()} == before


def test_the_journal_knows_results_whatever_their_names(call):
    photos("in/a.png", "in/b.jpg")
    words = ("up", "in", "--scale", 2, "-o", "in/big/{stem}.png", "--resume")
    Path("in/big").mkdir()
    assert call(*words)[0] == 0
    code, out, err = call(*words)
    assert (code, out) == (0, "in/big/a.png\nin/big/b.png\n")
    assert "2 of 2" in err and "results of earlier runs 2" in err


# ------------------------------------------------------------------------------------------- where results go


def test_the_tree_is_mirrored(call):
    photos("tree/2023/a/IMG_1.png", "tree/2024/a/IMG_1.png", "tree/top.png")
    code, out, _ = call("down", "tree", *BICUBIC, "-o", "out/", "--resume")
    mirrored = ["2023/a/IMG_1.x4.png", "2024/a/IMG_1.x4.png", "top.x4.png"]
    assert code == 0 and sorted(out.splitlines()) == [f"out/{name}" for name in mirrored]
    assert "3 of 3" in call("down", "tree", *BICUBIC, "-o", "out/", "--resume")[2]
    assert call("up", "out", "-o", "back")[0] == 2, "a folder that is to be made ends in a slash"
    assert call("up", "out", "-o", "back/")[0] == 0
    assert names("back") == [name.replace(".png", ".restored.png") for name in mirrored]


def test_two_trees_stand_side_by_side(call):
    photos("p/2023/a.png", "p/2024/a.png", "q/2024/a.png")
    assert call("down", "p/2023", "p/2024", *BICUBIC, "-o", "x/", "-n")[1].split() == [
        "x/2023/a.x4.png",
        "x/2024/a.x4.png",
    ]
    assert call("down", "p/2024", "q/2024/", *BICUBIC, "-o", "x/")[1].split() == [
        "x/p/2024/a.x4.png",
        "x/q/2024/a.x4.png",
    ]
    assert call("down", "p", "p/2023", *BICUBIC, "-o", "y/")[1].split() == ["y/2023/a.x4.png", "y/2024/a.x4.png"]


def test_a_template_may_say_the_path(call):
    photos("tree/2023/a/1.png", "tree/2024/a/1.png", "tree/1.png")
    Path("flat").mkdir()
    assert call("down", "tree", *BICUBIC, "-o", "flat/{path}/{stem}.png")[0] == 0
    assert names("flat") == ["1.png", "2023/a/1.png", "2024/a/1.png"]
    both = ["tree/2023/a/1.png", str(Path("tree/2024/a/1.png").absolute())]
    code, out, err = call("down", *both, *BICUBIC, "-o", "flat/")
    assert code == 2 and "{path}" in err
    assert call("down", *both, *BICUBIC, "-o", "flat/s/{path}/{stem}.png")[0] == 2, "flat/s is no folder"
    code, out, _ = call("down", *both, *BICUBIC, "-o", "flat/s{path}/{stem}.png")
    assert code == 0 and out.splitlines()[0] == "flat/stree/2023/a/1.png" and len(out.splitlines()) == 2
    assert (
        call("down", "tree/../tree/1.png", *BICUBIC, "-o", "flat/{path}/{stem}.s.png")[1] == "flat/tree/tree/1.s.png\n"
    )


def test_a_folder_that_is_missing_is_not_made_but_below_the_output(call):
    photos("in/sub/a.png")
    for output in ("none/new/", "none/{stem}.png", "none/{path}/{stem}.png", "none/a.png"):
        code, _, err = call("down", "in", *BICUBIC, "-o", output)
        assert code == 2 and err.count("\n") == 1 and "is no folder" in err
    assert names() == ["in/sub/a.png"] and not Path("none").exists()


def test_an_output_folder_among_the_sources(call):
    photos("in/a.png", "in/sub/b.png")
    for _ in range(2):
        code, out, _ = call("down", "in", *BICUBIC, "-o", "in/small/", "--overwrite")
        assert (code, out) == (0, "in/small/a.x4.png\nin/small/sub/b.x4.png\n")


# ------------------------------------------------------------------------------------------- names that clash


def test_a_pair_that_differs_in_its_suffix_is_told_apart(call):
    photos("in/a.png", "in/a.jpg", "in/b.png")
    code, out, err = call("down", "in", *BICUBIC, "--resume")
    assert (code, err) == (0, "") and out.splitlines() == ["in/a.jpg.x4.png", "in/a.png.x4.png", "in/b.x4.png"]
    assert "3 of 3" in call("down", "in", *BICUBIC, "--resume")[2]
    code, out, _ = call("up", "in")
    assert code == 0 and out.splitlines()[0] == "in/a.jpg.x4.restored.png" and len(out.splitlines()) == 3
    Path("t").mkdir()
    assert call("down", "in/a.png", "in/a.jpg", *BICUBIC, "-o", "t/{stem}-s.png")[1] == "t/a.png-s.png\nt/a.jpg-s.png\n"
    assert call("down", "in/a.png", "in/a.jpg", *BICUBIC, "-o", "t/s.png")[0] == 2


def test_a_name_that_clashes_with_one_that_was_told_apart(call):
    photos("a.png", "a.jpg", "a.png.png")
    code, out, _ = call("down", "a.png", "a.jpg", "a.png.png", *BICUBIC, "-n")
    assert code == 0 and out.splitlines() == ["a.png.x4.png", "a.jpg.x4.png", "a.png.png.x4.png"]


@pytest.mark.parametrize(
    "name",
    [
        "a b.png",
        "-a.png",
        "100%.png",
        "{stem}.png",
        "{odd.png",
        "a\nb.png",
        "é.png",
        "e\u0301.png",
        "'$x`.png",
        "@a.png",
        "~.png",
    ],
)
def test_names_as_people_have_them(call, name):
    photos(f"in/{name}")
    for output in ("out/", "out/{path}{stem}.x4.png"):
        code, _, err = call("down", "in", *BICUBIC, "-o", output, "--overwrite")
        assert (code, err) == (0, "") and names("out") == [f"{Path(name).stem}.x4.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one name")
def test_names_that_differ_for_linux_alone_are_two(call):
    photos("in/a.png", "in/A.png", "in/é.png", "in/e\u0301.png")
    assert call("down", "in", *BICUBIC, "-o", "out/")[0] == 0 and len(names("out")) == 4


def test_one_file_by_many_names_is_done_once(call):
    photos("in/a.png")
    Path("link").symlink_to("in")
    words = ("in", "in/a.png", "./in/../in/a.png", "link", "in/*.png", "link/a.png")
    assert call("down", *words, *BICUBIC)[:2] == (0, "in/a.x4.png\n")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "s", "s/t"]),
            st.sampled_from(["a", "a.png", "b.x4"]),
            st.sampled_from([".png", ".jpg", ".PNG", ".webp"]),
        ),
        min_size=1,
        max_size=9,
        unique=True,
    )
)
def test_no_two_sources_of_a_folder_ever_share_a_target(tmp_path_factory, files):
    top = tmp_path_factory.mktemp("tree")
    for path, stem, suffix in files:
        (top / path).mkdir(parents=True, exist_ok=True)
        (top / path / f"{stem}{suffix}").touch()
    pairs, left_out = planning.plan([str(top)], f"{top}/new/", lambda file: f"{file.stem}.x4.png")
    assert len(pairs) == len({target for _, target in pairs}) == len(files) and not left_out
    for source, target in pairs:
        assert target.parent.relative_to(top / "new") == source.parent.relative_to(top)


# ------------------------------------------------------------------------------------------- what is told


def test_the_report_counts_what_was_left_out(call):
    photos("in/a.png", "in/.b.png")
    assert call("down", "in", *BICUBIC, "--report", "report.json")[0] == 0
    assert json.loads(Path("report.json").read_text())["summary"]["left_out"] == {"hidden": 1}


def test_a_walk_is_sorted_and_whole():
    photos("in/b/1.png", "in/a.png", "in/b.png")
    found = folders.walk(Path("in"))
    assert found.images == [Path("in/a.png"), Path("in/b/1.png"), Path("in/b.png")] and not found.unreadable
