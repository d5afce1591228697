"""The page in a real browser: upload, sliders, downloads, bad files, two visitors, leaving."""

import io
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from helpers import browser, video_files
from helpers.command import run
from helpers.raw_files import encode_dng
from zerodce_jax import Enhancer
from zerodce_jax.errors import install_command
from zerodce_jax.media import photo

# The pictures of the page are compared with those of this process, bit by bit.
pytestmark = pytest.mark.usefixtures("as_installed")


@dataclass
class Visit:
    """The page in a tab of a browser."""

    driver: webdriver.Chrome
    address: str

    def __post_init__(self) -> None:
        self.tab = self.driver.current_window_handle

    def all(self, selector: str) -> list[Any]:
        self.driver.switch_to.window(self.tab)
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, 60).until(lambda _: condition())

    def open(self) -> None:
        self.driver.switch_to.window(self.tab)
        self.driver.get(self.address)
        self.wait(lambda: self.all("#files input[type=file]"))

    def upload(self, *files: Path) -> None:
        field = self.all("#files input[type=file]")[0]
        field.send_keys("\n".join(map(str, files)))

    def open_more_settings(self) -> None:
        self.all("#more button")[0].click()
        self.wait(lambda: self.all("#denoise"))

    def press(self) -> None:
        """Press the button that enhances all files."""
        self.wait(lambda: self.all("#make"))[0].click()

    def choose(self, name: str) -> None:
        """Choose the file that is shown."""
        self.all("#which input")[0].click()
        (option,) = (x for x in self.wait(lambda: self.all("[role=option]")) if name in x.text)
        option.click()

    def in_view(self, selector: str) -> bool:
        """Return whether the first of some elements is in view."""
        script = (
            "const box = arguments[0].getBoundingClientRect();"
            "return box.height > 0 && box.top > -1 && box.bottom < innerHeight + 1"
        )
        return self.driver.execute_script(script, self.all(selector)[0])

    def shown(self) -> list[str]:
        """Return the addresses of the images before and after."""
        found = [image.get_attribute("src") for image in self.all("#slider img")]
        return [address for address in found if address] if len(found) == 2 else []

    def until_shown(self, before: np.ndarray, after: np.ndarray) -> None:
        """Wait for these two images; others may come first, such as while a number is typed."""

        def are_there() -> bool:
            try:
                return all(
                    np.array_equal(pixels(address), wanted)
                    for address, wanted in zip(self.shown(), (before, after), strict=True)
                )
            except (ValueError, urllib.error.HTTPError):  # not loaded yet, or removed
                return False

        self.wait(are_there)

    def set(self, name: str, value: float) -> None:
        field = self.all(f"#{name} input[type=number]")[0]
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(value), Keys.ENTER)

    def value(self, name: str) -> float:
        return float(self.all(f"#{name} input[type=number]")[0].get_attribute("value"))

    def results(self) -> dict[str, bytes]:
        """Return the downloads by name."""
        links = self.wait(lambda: self.all("#results a[href*='/file=']"))
        return {
            address.rpartition("/")[2]: fetched(address)
            for address in (link.get_attribute("href") for link in links)
        }


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address) as reply:
        return reply.read()


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(fetched(address))).convert("RGB"))


@dataclass
class Server:
    address: str
    process: subprocess.Popen
    folder: Path

    def files(self) -> dict[Path, bytes]:
        """Return its files by path; visitors may be leaving meanwhile."""
        found = {}
        for file in self.folder.rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):
                found[file] = file.read_bytes()
        return found


@contextmanager
def serving(
    folder: Path, setup: str = "", browser: str = "", host: str = "127.0.0.1"
) -> Iterator[Server]:
    """Run the page in a process that keeps its files in a folder, and opens a browser."""
    arguments = ["app", "--host", host, "--port", "0", "--max-pixels", "2000000"]
    if not browser:
        arguments.append("--no-browser")
    code = f"import sys\nfrom zerodce_jax.cli import main\n{setup}\n"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}main({arguments})"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder), "BROWSER": browser},
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip(), process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, command = (
        tmp_path_factory.mktemp("temporary"),
        tmp_path_factory.mktemp("bin") / "browse",
    )
    command.write_text('#!/bin/sh\nprintf %s "$1" > "$0.txt"\n')
    command.chmod(0o700)
    with serving(folder, browser=f"{command} %s") as server:
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "Press Ctrl-C to stop the page.\n"
        yield server
        assert command.with_suffix(".txt").read_text() == server.address
    # The page removes all files when it ends.
    assert list(folder.glob("zerodce-*")) == []


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with browser.chromium() as driver:
        yield driver


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_a_photograph_is_shown_and_downloaded(
    root: Path, server: Server, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    assert server.address.startswith("http://127.0.0.1:")
    visit = Visit(driver, server.address)
    visit.open()
    # Without a photograph, nothing else has an effect.
    assert visit.all("#settings") == visit.all("#make") == visit.all("#preview") == []
    source = root / "examples" / "chelsea.jpg"
    dark = np.asarray(Image.open(source).convert("RGB"))
    visit.upload(source)
    enhancer = Enhancer.load()
    visit.until_shown(dark, enhancer(dark))

    # The curve acts most where the photograph is dark.
    visit.all("#where button")[0].click()
    gain = pixels(visit.wait(lambda: visit.all("#gain img"))[0].get_attribute("src"))
    assert gain.shape == dark.shape
    dim, light = np.quantile(dark.mean(-1), [0.2, 0.8])
    assert gain[dark.mean(-1) < dim].mean() > gain[dark.mean(-1) > light].mean() > 10

    visit.set("strength", 0.5)
    visit.until_shown(dark, enhancer(dark, strength=0.5))
    visit.open_more_settings()
    visit.set("gamma", 1.5)
    visit.until_shown(dark, enhancer(dark, strength=0.5, gamma=1.5))
    assert visit.all("#level") == []
    visit.all("#exposure label")[1].click()
    visit.wait(lambda: visit.all("#level"))
    visit.set("level", 0.3)
    visit.until_shown(dark, enhancer(dark, exposure=0.3, strength=0.5, gamma=1.5))

    # The download is the file that the command line writes.
    visit.press()
    results = visit.results()
    options = ("--exposure", 0.3, "--strength", 0.5, "--gamma", 1.5)
    assert run("enhance", source, "-o", tmp_path, *options) == 0
    assert results == {"chelsea.jpg": (tmp_path / "chelsea.jpg").read_bytes()}

    # The browser sent no request to another server.
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    asked = visit.driver.execute_script(script)
    assert len(asked) > 5
    assert [name for name in asked if not name.startswith(f"{server.address}/")] == []

    # With a strength of 0 the curve changes nothing.
    visit.set("strength", 0)
    visit.set("gamma", 1)
    visit.until_shown(dark, dark)
    visit.wait(lambda: pixels(visit.all("#gain img")[0].get_attribute("src")).max() == 0)


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_a_network_brings_its_settings_and_the_meaning_of_auto(
    root: Path, server: Server, driver: webdriver.Chrome
) -> None:
    visit = Visit(driver, server.address)
    visit.open()

    def exposure() -> tuple[list[str], list[str]]:
        """Return the choices, and those that are selected."""
        labels = visit.all("#exposure label")
        chosen = [x for x in labels if x.find_element(By.TAG_NAME, "input").is_selected()]
        return [label.text for label in labels], [label.text for label in chosen]

    visit.upload(root / "examples" / "coffee.jpg")
    dark = np.asarray(Image.open(root / "examples" / "coffee.jpg").convert("RGB"))
    visit.until_shown(dark, Enhancer.load()(dark))
    assert exposure() == (["Automatic", "Fixed level"], ["Automatic"])
    assert "Automatic lets the network decide" in visit.all("#exposure")[0].text
    visit.open_more_settings()
    assert visit.value("protection") == 0.2
    visit.all("#exposure label")[1].click()
    visit.wait(lambda: visit.all("#level"))
    visit.all("#denoise label")[1].click()
    visit.wait(lambda: visit.all("#amount"))
    visit.set("strength", 0.5)
    # Each control has one line of help.
    names = ("network", "exposure", "level", "strength", "protection", "gamma", "denoise", "amount")
    for name in names:
        (line,) = visit.all(f"#{name} .info-text")
        assert 10 < len(line.text) < 60, name

    visit.all("#network input")[1].click()
    visit.until_shown(dark, Enhancer.load("reduced")(dark))
    assert exposure() == (["Automatic", "Fixed level", "Off"], ["Automatic"])
    assert "Automatic is a mean brightness of 0.4" in visit.all("#exposure")[0].text
    assert (visit.value("protection"), visit.value("strength")) == (1, 1)
    visit.wait(lambda: visit.all("#level") == visit.all("#amount") == [])


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_several_files_with_a_bad_one(
    root: Path, server: Server, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    visit = Visit(driver, server.address)
    visit.open()
    bad, large, deep = tmp_path / "bad.jpg", tmp_path / "large.png", tmp_path / "deep.png"
    bad.write_bytes(b"no picture")
    Image.new("RGB", (2000, 1001)).save(large)
    gray = np.linspace(0, 20000, 60 * 80).reshape(60, 80).astype(np.uint16)
    Image.fromarray(gray).save(deep)
    coffee = root / "examples" / "coffee.jpg"
    visit.upload(bad, coffee, large, deep)
    # The first photograph that can be read is shown.
    dark = np.asarray(Image.open(coffee).convert("RGB"))
    visit.until_shown(dark, Enhancer.load()(dark))
    problem = visit.all("#refused")[0].text
    assert problem.startswith("bad.jpg: ")
    assert str(server.folder) not in problem
    # One button adds files, and has a name.
    buttons = visit.all("#files .icon-button")
    assert [button.get_attribute("aria-label") for button in buttons] == ["Add files", "Clear"]
    assert visit.all("#files button button:not([inert])") == []
    count = "asked = 0; document.querySelector('#files input').onclick = () => {asked += 1}"
    visit.driver.execute_script(count)
    buttons[0].click()
    assert visit.driver.execute_script("return asked") == 1
    # Choosing one that cannot be read says so; the others can still be chosen.
    visit.choose("large.png")
    visit.wait(lambda: "2000x1001" in "".join(line.text for line in visit.all("#problem")))
    assert visit.all("#slider") == []
    visit.choose("deep.png")
    visit.wait(visit.shown)
    visit.wait(lambda: visit.all("#problem") == [])
    visit.press()
    results = visit.results()
    assert sorted(results) == ["coffee.jpg", "deep.png", "enhanced.zip"]
    assert visit.all("#outcome p")[0].text == "Enhanced 2 of 4."
    lines = visit.all("#outcome li")
    assert [line.text.partition(":")[0] for line in lines] == ["bad.jpg", "large.png"]
    assert "2000x1001" in lines[1].text
    visit.wait(lambda: visit.in_view("#results"))
    with Image.open(io.BytesIO(results["deep.png"])) as made:
        assert made.mode == "I;16"
    with zipfile.ZipFile(io.BytesIO(results["enhanced.zip"])) as archive:
        for name in ("coffee.jpg", "deep.png"):
            assert archive.read(name) == results[name]


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_two_visitors_and_their_files_when_they_leave(
    root: Path, server: Server, driver: webdriver.Chrome
) -> None:
    first = Visit(driver, server.address)
    driver.switch_to.new_window("tab")
    second = Visit(driver, server.address)
    names = ("coffee.jpg", "astronaut.jpg")
    for visit, name in zip((first, second), names, strict=True):
        visit.open()
        visit.upload(root / "examples" / name)
    for visit, name in zip((first, second), names, strict=True):
        dark = np.asarray(Image.open(root / "examples" / name).convert("RGB"))
        visit.until_shown(dark, Enhancer.load()(dark))
    first.set("strength", 0.3)
    second.open_more_settings()
    second.all("#denoise label")[1].click()
    second.wait(lambda: second.all("#amount"))
    second.set("amount", 0.9)
    overrides = ({"strength": 0.3}, {"denoise": 0.9})
    for visit, name, values in zip((first, second), names, overrides, strict=True):
        dark = np.asarray(Image.open(root / "examples" / name).convert("RGB"))
        visit.until_shown(dark, Enhancer.load()(dark, **values))
        visit.press()
    made = [visit.results() for visit in (first, second)]
    assert [list(results) for results in made] == [["coffee.jpg"], ["astronaut.jpg"]]
    # A setting of one visitor does not apply to the other.
    for results, name, values in zip(made, names, overrides, strict=True):
        dark = np.asarray(Image.open(root / "examples" / name).convert("RGB"))
        expected = Enhancer.load()(dark, **values).astype(int)
        found = np.asarray(Image.open(io.BytesIO(results[name])).convert("RGB")).astype(int)
        assert np.abs(found - expected).mean() < 3
    content = (root / "examples" / "coffee.jpg").read_bytes()
    assert content in server.files().values()
    driver.close()
    driver.switch_to.window(first.tab)
    driver.get("about:blank")
    first.wait(lambda: not [file for file in server.files() if "visitor-" in str(file)])
    first.wait(lambda: content not in server.files().values())


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_duplicate_names_and_names_with_markup(
    root: Path, server: Server, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    visit = Visit(driver, server.address)
    visit.open()
    other, odd = tmp_path / "coffee.jpg", tmp_path / "_a_ b.jpg"
    other.write_bytes((root / "examples" / "camera.jpg").read_bytes())
    odd.write_text("no picture")
    visit.upload(root / "examples" / "coffee.jpg", other, odd)
    visit.wait(visit.shown)
    visit.press()
    results = visit.results()
    assert sorted(results) == ["coffee-2.jpg", "coffee.jpg", "enhanced.zip"]
    with Image.open(io.BytesIO(results["coffee-2.jpg"])) as made, Image.open(other) as brought:
        assert made.size == brought.size
    with zipfile.ZipFile(io.BytesIO(results["enhanced.zip"])) as archive:
        assert sorted(archive.namelist()) == ["coffee-2.jpg", "coffee.jpg"]
    (line,) = visit.all("#outcome li")
    assert line.text.startswith("_a_ b.jpg: ")

    # A change of the settings hides the results.
    visit.set("strength", 0.5)
    visit.wait(lambda: not visit.all("#results a"))


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_settings_without_a_number(root: Path, server: Server, driver: webdriver.Chrome) -> None:
    visit = Visit(driver, server.address)
    visit.open()
    visit.upload(root / "examples" / "coffee.jpg")
    visit.wait(visit.shown)
    visit.open_more_settings()
    field = visit.all("#gamma input[type=number]")[0]
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE, Keys.ENTER)
    visit.wait(lambda: [x.text for x in visit.all("#problem")] == ["a setting has no number"])
    visit.set("gamma", 1)
    visit.wait(visit.shown)
    visit.wait(lambda: visit.all("#problem") == [])
    buttons = visit.wait(lambda: visit.all("#slider button"))
    assert [button for button in buttons if button.get_attribute("title") == "Share"] == []
    # Without files, nothing else has an effect.
    visit.all("#files button[aria-label='Clear']")[0].click()
    visit.wait(lambda: visit.all("#settings") == visit.all("#make") == [])


@pytest.mark.slow
@pytest.mark.needs("gradio", "av", "rawpy")
@pytest.mark.browser
@browser.NEEDED
def test_camera_raw_videos_their_progress_and_stopping(
    server: Server, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    raw, short, long = (tmp_path / name for name in ("a.dng", "short.mkv", "long.mkv"))
    raw.write_bytes(encode_dng(np.full((48, 64, 3), 0.1)))
    video_files.write(short, video_files.noisy_frames(4), audio=None)
    video_files.write(long, video_files.noisy_frames(1) * 3000, audio=None)
    visit = Visit(driver, server.address)
    visit.open()
    visit.upload(short)
    visit.wait(visit.shown)
    # The last frame of a video of less than a second.
    last = video_files.pixels_of(short)[-1]
    np.testing.assert_allclose(pixels(visit.shown()[0]), last, atol=4)
    visit.upload(raw)
    visit.wait(lambda: visit.all("#which"))
    visit.press()
    results = visit.results()
    assert sorted(results) == ["a.tif", "enhanced.zip", "short.mkv"]
    assert run("enhance", raw, short, "-o", tmp_path / "out") == 0
    assert results["a.tif"] == (tmp_path / "out" / "a.tif").read_bytes()
    (tmp_path / "made.mkv").write_bytes(results["short.mkv"])
    videos = (tmp_path / "made.mkv", tmp_path / "out" / "short.mkv")
    np.testing.assert_array_equal(*map(video_files.pixels_of, videos))

    visit.choose("a.dng")
    developed = np.rint(photo.read(raw).pixels * (255 / 65535)).astype(np.uint8)
    visit.until_shown(developed, Enhancer.load()(developed))
    visit.upload(long)
    visit.wait(lambda: not visit.all("#results a"))
    visit.press()
    visit.wait(lambda: visit.all("#stop"))
    (make,) = visit.all("#make")
    assert (make.text, make.is_enabled()) == ("Enhancing …", False)
    progress = visit.wait(lambda: "(3 of 3)" in (text := visit.all("#outcome")[0].text) and text)
    assert "long.mkv" in progress
    assert visit.in_view("#outcome")
    visit.all("#stop")[0].click()
    assert sorted(visit.results()) == ["a.tif", "enhanced.zip", "short.mkv"]
    assert visit.all("#outcome")[0].text == "Enhanced 2 of 3."
    visit.wait(lambda: visit.all("#make")[0].is_enabled() and not visit.all("#stop"))
    assert not [file for file in server.files() if file.match("enhanced/*long*")]


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.browser
@browser.NEEDED
def test_large_files_and_videos_without_their_extra_are_refused(
    root: Path, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    visit = Visit(driver, "")
    with serving(
        tmp_path,
        "from zerodce_jax.webapp import page; page.LARGEST_FILE = '20kb'; sys.modules['av'] = None",
    ) as server:
        visit.address = server.address
        visit.open()
        large, tiny = root / "examples" / "coffee.jpg", tmp_path / "a.mp4"
        tiny.write_bytes(b"0")
        visit.upload(large)
        message = visit.wait(lambda: visit.all(".toast-body")[0].text)
        assert "exceed the maximum allowed size of 20.0 Kb" in message
        # The server refuses it as well, without the check of the page.
        body = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.jpg\r\n\r\n"
        request = urllib.request.Request(
            f"{server.address}/gradio_api/upload",
            body + large.read_bytes() + b"\r\n--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        with pytest.raises(urllib.error.HTTPError, match="413"):
            urllib.request.urlopen(request)
        assert [len(content) for content in server.files().values() if len(content) > 20000] == []
        visit.upload(tiny)
        wanted = f"{tiny.name}: videos need a package: {install_command('video')}"
        visit.wait(lambda: [line.text for line in visit.all("#refused")] == [wanted])
        visit.driver.get("about:blank")


@pytest.mark.slow
@pytest.mark.needs("gradio")
def test_computations_run_one_at_a_time(python: Callable, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom zerodce_jax import webapp\n"
        f"page = webapp.build(Path({str(tmp_path)!r}))\n"
        "events = [event for event in page.fns.values() if event.name in {'show', 'enhance'}]\n"
        "print(len(events), {(event.concurrency_id, event.concurrency_limit) for event in events})"
    )
    assert python("-c", code).stdout == "11 {('enhancing', 1)}\n"


@pytest.mark.slow
@pytest.mark.needs("gradio")
def test_the_browser_opens_an_address_of_this_machine(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as server:
        assert server.address.startswith("http://localhost:")
        assert fetched(server.address)


@pytest.mark.slow
@pytest.mark.needs("gradio")
def test_files_of_a_killed_page_are_removed(tmp_path: Path) -> None:
    with serving(tmp_path) as alive:
        with serving(tmp_path) as server:
            server.process.kill()
        assert len(list(tmp_path.glob("zerodce-app-*"))) == 2
        with serving(tmp_path):
            assert len(list(tmp_path.glob("zerodce-app-*"))) == 2
        assert fetched(alive.address)


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run("app") == 2
    assert install_command("app") in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.needs("gradio")
def test_an_address_that_is_taken_is_named(python: Callable) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = python("-m", "zerodce_jax", "app", "--port", port)
    assert result.returncode == 1
    assert result.stderr == f"zerodce: 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.slow
@pytest.mark.needs("gradio")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--port", 99999), 2, "--port must be from 0 to 65535, not 99999"),
        (("--host", "192.0.2.1"), 1, "192.0.2.1:7860: Cannot assign requested address"),
    ],
)
def test_invalid_addresses(arguments: tuple, status: int, message: str, python: Callable) -> None:
    result = python("-m", "zerodce_jax", "app", *arguments)
    assert (result.returncode, result.stderr) == (status, f"zerodce: {message}\n")
