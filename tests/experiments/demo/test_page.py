"""The demo's page in a browser: what a visitor does, and that nothing else is asked."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from pinet_jax.checkpoints import save_model
from tests.conftest import ROOT
from tests.experiments.demo.test_analysis import INFERENCE, METHOD
from tests.tiny import lively_variables

pytest.importorskip("gradio", reason="gradio is not installed (the extra `demo`)")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium here", allow_module_level=True)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
PATIENCE = 300_000  # ms: other tests may have the machine


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of a micro network, served by the command."""
    folder = tmp_path_factory.mktemp("demo")
    save_model(folder / "c", METHOD, lively_variables(METHOD), INFERENCE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["demo", "--checkpoint", str(folder / "c"), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *command],
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-tests")},
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(PATIENCE // 500):
        assert process.poll() is None, "the demo has ended"
        try:
            urllib.request.urlopen(address, timeout=30).close()
            break
        except OSError:
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens a tab, as often as wanted."""
    pages, asked = [], []

    def open_():
        pages.append(page := browser.new_page(viewport={"width": 1400, "height": 1400}))
        page.set_default_timeout(PATIENCE)
        page.set_default_navigation_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address, wait_until="domcontentloaded")
        return page

    yield open_
    for page in pages:
        page.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture
def photograph(tmp_path):
    return picture_file(tmp_path / "holiday.png", (240, 180))


def picture_file(path, size):
    coarse = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size))
    return path


def summary(page, text):
    page.wait_for_selector(f"#summary:has-text({json.dumps(text)})")
    return page.text_content("#summary")


def people_in(text):
    return int(re.search(r": (\d+) people", text)[1])


def steps(page):
    return [image.get_attribute("src") for image in page.locator("#steps img").all()]


def changed(page, before):
    """Waits until the pictures are others."""
    for _ in range(PATIENCE // 200):
        if len(now := steps(page)) == 3 and now != before:
            return now
        page.wait_for_timeout(200)
    raise AssertionError("the pictures stay as they are")


def test_upload_switch_and_download(page, photograph):
    page.set_input_files("#photograph input[type=file]", photograph)
    text = summary(page, "holiday.png")
    assert "240 x 180" in text and people_in(text) > 1
    before = changed(page, [])
    for switch in ("PR: pose refinement", "PF: pose fusion", "Flip: average with the mirror image"):
        page.get_by_label(switch).click()
        before = changed(page, before)
    assert page.locator("#steps").get_by_text("best ones:").count() > 0
    assert page.locator("#keypoints").get_by_text("left_ankle", exact=True).count() > 0

    name, entries = poses_file(page)
    assert name == "holiday_poses.json"
    assert len(entries) == people_in(page.text_content("#summary"))
    assert len(entries[0]["keypoints"]) == 51
    assert {entry["image_id"] for entry in entries} == {"holiday.png"}
    assert picture_shape(page) == (180, 240, 3)


def download(page, button):
    with page.expect_download() as started:
        page.click(button)
    return started.value


def poses_file(page):
    """The name and the entries of the JSON file."""
    file = download(page, "#poses")
    return file.suggested_filename, json.loads(Path(file.path()).read_text())


def picture_shape(page):
    return cv2.imread(str(download(page, "#picture").path())).shape


def test_tabs_with_photographs_of_one_name_keep_their_own_files(open_page, photograph, tmp_path):
    (tmp_path / "other").mkdir()
    other = picture_file(tmp_path / "other" / photograph.name, (320, 240))
    first, second = open_page(), open_page()
    first.set_input_files("#photograph input[type=file]", photograph)
    summary(first, "240 x 180")
    second.set_input_files("#photograph input[type=file]", other)
    summary(second, "320 x 240")
    assert picture_shape(second) == (240, 320, 3)
    assert picture_shape(first) == (180, 240, 3)


def test_without_a_photograph_nothing_is_downloaded(page):
    page.click("#poses")
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert "Choose a photograph first." in toast.text_content()


def test_an_example_and_the_other_person(page):
    page.locator("#examples img").first.click()
    summary(page, "people")
    changed(page, [])
    before = page.locator("#candidates img").first.get_attribute("src")
    page.locator("#person input").click()
    page.get_by_role("option").nth(1).click()
    for _ in range(PATIENCE // 200):
        if page.locator("#candidates img").first.get_attribute("src") != before:
            return
        page.wait_for_timeout(200)
    raise AssertionError("the person's picture stays as it is")


@pytest.mark.parametrize(
    ("slider", "value"),
    [
        ("OKS threshold", "0"),  # whoever is a little alike is one
        ("Score threshold", "1"),
    ],
)
def test_sliders(page, photograph, slider, value):
    page.set_input_files("#photograph input[type=file]", photograph)
    before = people_in(summary(page, "holiday.png"))
    changed(page, [])
    number = page.get_by_label(f"number input for {slider}")
    number.fill(value)
    number.press("Enter")
    for _ in range(PATIENCE // 200):
        if people_in(page.text_content("#summary")) < before:
            break
        page.wait_for_timeout(200)
    else:
        raise AssertionError("the slider changes nothing")
    left = people_in(page.text_content("#summary"))
    assert len(poses_file(page)[1]) == left


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture at all", "not a picture"),
        (bytes(100_000_000), "takes files of up to 50 MB"),
    ],
)
def test_what_is_no_photograph_is_said(page, tmp_path, content, message):
    file = tmp_path / "strange.jpg"
    file.write_bytes(content)
    page.set_input_files("#photograph input[type=file]", file)
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert f"strange.jpg: {message}" in toast.text_content().replace("100 MB; this page ", "")


def test_other_names_and_other_machines_are_refused(address):
    request = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
