"""The demo in a real browser: Chromium of the system's packages, without a window."""

import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO
from filming import film
from PIL import Image
from visiting import serving
from waiting import HANG_S, until

from rescale.io import images

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WAIT_MS = 1000 * HANG_S

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: install the system's package chromium")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("demo") / "log") as running:
        yield running
        assert "Traceback" not in running.said, running.said[-3000:]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS, timeout=WAIT_MS)
        yield running
        running.close()


@pytest.fixture
def opened(server, browser):
    """Open a page of a visitor's own: opened(query, settings of the browser)."""
    contexts = []

    def open_(query="", **settings):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **settings}))
        contexts[-1].set_default_timeout(WAIT_MS)
        page = contexts[-1].new_page()
        page.fetched = []
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto(f"{server.url}/{query}")
        page.wait_for_selector("#photo input[type=file]", state="attached")
        return page

    yield open_
    for context in contexts:
        context.close()


def dropped(page, path, where="photo"):
    page.set_input_files(f"#{where} input[type=file]", str(path))


def shown(page, where):
    """The pictures of a part of the page, as the browser has fetched them."""
    page.wait_for_selector(f"#{where} img")
    page.wait_for_function(f"[...document.querySelectorAll('#{where} img')].every(i => i.complete && i.naturalWidth)")
    urls = page.eval_on_selector_all(f"#{where} img", "all => all.map(one => one.src)")
    return [np.asarray(Image.open(BytesIO(page.request.get(url).body())).convert("RGB")) for url in urls]


def downloaded(page, where, folder):
    with page.expect_download() as waiting:
        page.click(f"#{where}")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def restored(path):
    """By the command line."""
    target = path.with_name("by-command.png")
    assert (
        subprocess.run([sys.executable, "-m", "rescale", "up", str(path), "-o", str(target)], check=False).returncode
        == 0
    )
    return images.read(target).pixels


def complaint(page):
    return page.inner_text(".toast-body")


def test_a_photograph_goes_down_and_comes_back(opened, tmp_path):
    page = opened()
    dropped(page, PHOTO)
    page.wait_for_selector("#table td:has-text('AVIF')")
    left, right = shown(page, "compare")
    assert page.is_visible("#compare img") and np.array_equal(right, images.read(PHOTO).pixels)
    (small,) = shown(page, "small")
    assert small.shape == (100, 150, 3)
    box = page.locator("#small img").bounding_box()
    assert (round(box["width"]), round(box["height"])) == (150, 100)  # pixel for pixel
    for name in ("irn-x4-small", "bicubic", "JPEG", "WebP", "AVIF"):
        assert page.is_visible(f"#table td:has-text('{name}')")
    file = downloaded(page, "download", tmp_path)
    assert file.name == "photo.x4.png" and np.array_equal(restored(file), left)
    elsewhere = {url for url in page.fetched if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))}
    assert not elsewhere


def test_the_slider_compares_with_others_and_shows_errors(opened):
    page = opened()
    dropped(page, PHOTO)
    page.wait_for_selector("#table td:has-text('AVIF')")
    before = shown(page, "compare")
    page.check("#against input[value=bicubic]")
    page.wait_for_selector("text=irn-x4-small | bicubic")
    after = shown(page, "compare")
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
    page.check("#view input[value='error map']")
    page.wait_for_selector("text=irn-x4-small | bicubic, error map")
    ours, bicubic = shown(page, "compare")
    assert ours.mean() < bicubic.mean()  # less is lit
    handle = page.locator("#compare img").first.bounding_box()
    assert handle["width"] > 300


def test_an_example_a_size_and_settings_in_the_address(opened):
    page = opened("?scale=150x100&steps=5")
    page.wait_for_function("document.querySelector('#scale input, #scale textarea')?.value === '150x100'")
    page.click("#examples button >> nth=0")
    page.wait_for_selector("#table td:has-text('AVIF')")
    assert shown(page, "small")[0].shape[0] <= 100
    assert page.input_value("#scale input, #scale textarea") == "150x100"
    page.fill("#scale input, #scale textarea", "2.5")
    page.keyboard.press("Tab")
    page.wait_for_function("location.search.includes('scale=2.5') && location.search.includes('steps=5')")
    page.click("button[role=tab]:has-text('Super-resolve')")
    page.wait_for_function("location.search.includes('tab=super-resolve')")
    again = opened(page.url[page.url.index("?") :])
    again.wait_for_selector("#ordinary input[type=file]", state="attached")
    assert again.is_visible("#ordinary") and not again.is_visible("#photo")


def test_what_was_downloaded_restores_without_settings(opened, tmp_path):
    page = opened("?scale=3.3")
    page.wait_for_function("document.querySelector('#scale input, #scale textarea')?.value === '3.3'")
    dropped(page, PHOTO)
    page.wait_for_selector("#table td:has-text('AVIF')")
    left, _ = shown(page, "compare")
    file = downloaded(page, "download", tmp_path)
    page.click("button[role=tab]:has-text('Restore')")
    dropped(page, file, "small-input")
    page.wait_for_selector("#restored-words :has-text('iarn-small')")
    assert np.array_equal(shown(page, "restored")[1], left)
    assert np.array_equal(images.read(downloaded(page, "restored-download", tmp_path)).pixels, left)


def test_an_ordinary_picture_is_enlarged(opened):
    page = opened("?tab=super-resolve&factor=3")
    page.wait_for_selector("#ordinary input[type=file]", state="attached")
    dropped(page, PHOTO, "ordinary")
    page.wait_for_selector("#enlarged-words :has-text('1800x1200')")
    bicubic, network = shown(page, "enlarged")
    assert bicubic.shape == network.shape == (1200, 1800, 3) and not np.array_equal(bicubic, network)


def test_a_clip_is_enlarged_and_plays(opened, tmp_path):
    clip = film(tmp_path / "clip.mp4", list(range(12)), size=(96, 128), sound=[0.0])
    page = opened("?tab=video")
    page.wait_for_selector("#clip input[type=file]", state="attached")
    dropped(page, clip, "clip")
    page.wait_for_selector("#film-words :has-text('12 frames of 256x192')")
    assert [picture.shape for picture in shown(page, "frame")] == [(192, 256, 3)] * 2
    page.wait_for_function("document.querySelector('#film video')?.videoWidth === 256")
    assert downloaded(page, "film-download", tmp_path).name == "clip.upscaled.mp4"


@pytest.mark.parametrize(
    ("data", "said"), [(b"no picture", "expected"), (b"", "expected"), (PHOTO.read_bytes()[:3000], "")]
)
def test_a_bad_file_is_a_sentence(opened, tmp_path, data, said):
    (tmp_path / "bad.png").write_bytes(data)
    page = opened()
    dropped(page, tmp_path / "bad.png")
    page.wait_for_selector(".toast-body")
    sentence = complaint(page)
    assert "bad.png" in sentence and said in sentence
    assert "Traceback" not in sentence and str(tmp_path) not in sentence


def test_a_foreign_picture_is_explained(opened):
    page = opened("?tab=restore")
    page.wait_for_selector("#small-input input[type=file]", state="attached")
    dropped(page, PHOTO, "small-input")
    page.wait_for_selector(".toast-body")
    assert "no record" in complaint(page) and "Super-resolve" in complaint(page)


def test_progress_moves_and_stop_stops(opened, tmp_path, noise):
    Image.fromarray(noise(256, 256, 3)).save(tmp_path / "n.png")
    page = opened("?scale=2&steps=200")
    page.wait_for_function("document.querySelector('#scale input, #scale textarea')?.value === '2'")
    dropped(page, tmp_path / "n.png")
    page.wait_for_selector("text=/refining/")
    seen = set()
    until(lambda: seen.add(page.inner_text("body").split("refining", 1)[-1][:20]) or len(seen) > 2)
    page.click("#rescale-stop")
    page.wait_for_selector(".toast-body:has-text('Stopped')")
    assert not page.is_visible("#table table")


def test_two_visitors_do_not_see_each_other(opened, tmp_path):
    dark, light = tmp_path / "dusk.png", tmp_path / "noon.png"
    Image.new("RGB", (96, 64), (10, 20, 30)).save(dark)
    Image.new("RGB", (96, 64), (210, 220, 230)).save(light)
    pages = opened(), opened()
    for page, path in zip(pages, (dark, light), strict=True):
        dropped(page, path)
    for page, path in zip(pages, (dark, light), strict=True):
        page.wait_for_selector("#table td:has-text('AVIF')")
        mine, other = np.asarray(Image.open(path)), dark if path == light else light
        assert np.array_equal(shown(page, "compare")[1], mine)
        assert abs(shown(page, "small")[0].astype(int).mean() - mine.mean()) < 8
        assert other.stem not in page.content()


def test_a_phone_and_the_dark(opened):
    page = opened("?__theme=dark", **PHONE)
    assert page.eval_on_selector("body", "body => body.classList.contains('dark')")
    dropped(page, PHOTO)
    page.wait_for_selector("#table td:has-text('AVIF')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing to push sideways
    assert page.locator("#rescale-run").bounding_box()["height"] >= 36  # for a thumb


def test_by_keyboard_alone(opened):
    page = opened()
    dropped(page, PHOTO)
    page.wait_for_selector("#table td:has-text('AVIF')")
    page.focus("#against input[value=original]")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("text=irn-x4-small | bicubic")
    page.focus("#rescale-run")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=irn-x4-small | original")


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=FOLDER keeps the pictures of the README")
def test_screenshots(opened):
    for name, settings in (("light", {}), ("dark", {}), ("phone", PHONE)):
        page = opened("?__theme=dark" if name == "dark" else "?__theme=light", **settings)
        dropped(page, PHOTO)
        page.wait_for_selector("#table td:has-text('AVIF')")
        page.check("#against input[value=bicubic]")
        page.wait_for_selector("text=irn-x4-small | bicubic")
        shown(page, "compare")
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png", full_page=True)
