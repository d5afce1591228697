"""Make the figures of the pages.

    python docs/make_pictures.py before-after
    python docs/make_pictures.py flaws SEED
    python docs/make_pictures.py branches
    python docs/make_pictures.py training RUN
    python docs/make_pictures.py app
    python docs/make_pictures.py site
    python docs/make_pictures.py video

- ``before-after``: color photographs of examples/ before and after enhancement with the default
  network and settings.
- ``flaws``: details of them, beside the results of the recipe of Zero-DCE-improved. SEED is a
  network that was trained with that recipe.
- ``branches``: dark branches in front of a bright sky, with curve maps of a reduced image and with
  a bilateral grid.
- ``training``: the log of the training run in the folder RUN.
- ``app``: screenshots of the page of `zerodce app` in Chromium.
- ``site``: screenshots of the site in build/site, and of its demo.
- ``video``: a flickering video, enhanced frame by frame and with smoothing over the frames.
"""

import functools
import http.server
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
from PIL import Image, ImageDraw

from zerodce_jax import Enhancer, EnhanceSettings, NetworkConfig
from zerodce_jax.models import serialization
from zerodce_jax.training.journal import LOG_FILE

DOCS = Path(__file__).parent
EXAMPLES = ("coffee.jpg", "astronaut.jpg", "chelsea.jpg")
HEIGHT = 280
# Widths of a phone, a tablet and a computer, for the screenshots of the page.
WIDTHS = (1440, 768, 390)
# Left, top, right and bottom of the details that show highlights, noise, and texture.
FLAWS = {
    "astronaut.jpg": (150, 0, 470, 240),
    "coffee_night.jpg": (0, 0, 320, 240),
    "chelsea.jpg": (100, 20, 420, 260),
}


def before_after() -> None:
    """Write before_after.jpg: examples side by side, inputs above results."""
    before = [Image.open(DOCS.parent / "examples" / name).convert("RGB") for name in EXAMPLES]
    after = list(Enhancer.load().many(before))
    rows = [np.concatenate([_scaled(image) for image in row], axis=1) for row in (before, after)]
    Image.fromarray(np.concatenate(rows)).save(DOCS / "before_after.jpg", quality=90)


def flaws(seed: str, /) -> None:
    """Write flaws.jpg: a row for each detail; input, recipe of Zero-DCE-improved, this project.

    Args:
        seed: Network to run with the recipe of Zero-DCE-improved.
    """
    enhancers = [(Enhancer.load(seed), EnhanceSettings()), (Enhancer.load(), None)]
    rows = []
    for name, box in FLAWS.items():
        image = np.asarray(Image.open(DOCS.parent / "examples" / name).convert("RGB"))
        images = [image, *(enhancer(image, settings) for enhancer, settings in enhancers)]
        details = [Image.fromarray(pixels).crop(box).resize((320, 240)) for pixels in images]
        rows.append(np.concatenate([np.asarray(detail) for detail in details], axis=1))
    Image.fromarray(np.concatenate(rows)).save(DOCS / "flaws.jpg", quality=92)


def branches() -> None:
    """Write branches.png: input, upsampled curve maps, and curve maps of a bilateral grid."""
    image = _tree()
    reduced = serialization.load_network("reduced")
    assert isinstance(reduced.config, NetworkConfig)
    at_small_scale = replace(reduced, config=replace(reduced.config, scale=16))
    networks = (at_small_scale, serialization.load_network("scene"))
    # Only the curves.
    settings = EnhanceSettings(gamma=1.0)
    results = [Enhancer(network)(image, settings) for network in networks]
    Image.fromarray(np.concatenate([image, *results], axis=1)).save(DOCS / "branches.png")


def _tree(width: int = 360, height: int = 300) -> np.ndarray:
    """Draw a tree without leaves at dusk, at four times its final size."""
    sky = np.linspace(0.45, 0.75, 4 * height)[:, None, None] * np.array([210, 225, 255])
    canvas = Image.fromarray(np.broadcast_to(sky, (4 * height, 4 * width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    rng = np.random.default_rng(4)

    def grow(x: float, y: float, angle: float, length: float, thickness: float) -> None:
        if length < 14:
            return
        end = (x + length * np.cos(angle), y - length * np.sin(angle))
        draw.line([(x, y), end], fill=(24, 22, 20), width=max(2, round(thickness)))
        for turn in (-0.45, 0.4):
            branch_angle = angle + turn + rng.normal(0, 0.15)
            grow(*end, branch_angle, length * rng.uniform(0.68, 0.82), thickness * 0.66)

    grow(2 * width, 4 * height, np.pi / 2, 1.15 * height, 46)
    noise = rng.normal(0, 2, (height, width, 3))
    return (np.asarray(canvas.reduce(4)) + noise).clip(0, 255).astype(np.uint8)


def training(run: Path, /) -> None:
    """Write training.png: the losses of a training run by step, and those of its validations.

    Args:
        run: Working folder of the training run.
    """
    log = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    trained = [entry for entry in log if "total" in entry]
    validated = [entry for entry in log if "val_total" in entry]
    names = sorted(trained[0].keys() - {"step", "lr", "grad_norm", "images_per_second"})
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 2.8), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        steps = [entry["step"] for entry in trained]
        axis.plot(steps, [entry[name] for entry in trained], lw=0.6, alpha=0.6, label="training")
        if validated:
            steps = [entry["step"] for entry in validated]
            losses = [entry[f"val_{name}"] for entry in validated]
            axis.plot(steps, losses, "o-", label="validation")
        # The logarithm of an error, and a sum with it, may be negative.
        positive = all(entry[name] > 0 for entry in trained)
        axis.set(title=name, xlabel="step", yscale="log" if positive else "linear")
    axes[0].legend()
    figure.savefig(DOCS / "training.png", dpi=80)


def _scaled(image: Image.Image) -> np.ndarray:
    width = round(image.width * HEIGHT / image.height)
    return np.asarray(image.resize((width, HEIGHT), Image.Resampling.LANCZOS))


def app() -> None:
    """Write app.jpg: the page of `zerodce app` at three widths, light and dark, in Chromium."""
    command = [sys.executable, "-m", "zerodce_jax", "app", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        address = page.stdout.readline().strip()
        _sheet("app.jpg", [(address, _enhance_two)] * len(WIDTHS))
        page.terminate()


def site() -> None:
    """Write site.jpg and demo.jpg: pages of the built site at three widths, light and dark."""
    folder = DOCS.parent / "build" / "site"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        pages = [f"{address}/{name}" for name in ("research/", "photographers/", "")]
        _sheet("site.jpg", [(page, None) for page in pages])
        _sheet("demo.jpg", [(f"{address}/demo/", _enhance_sample)] * len(WIDTHS))
        server.shutdown()


def _sheet(name: str, visits: list[tuple[str, Callable[[Any], None] | None]]) -> None:
    """Write screenshots in Chromium: a page for each width, light above dark.

    Args:
        name: Picture in docs/ to write.
        visits: For each width, the address and what to do there.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    # Without a name, Selenium would download the driver.
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    rows = []
    with webdriver.Chrome(options, service) as driver:
        for theme in ("light", "dark"):
            scheme = {"name": "prefers-color-scheme", "value": theme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            row = []
            for width, (address, act) in zip(WIDTHS, visits, strict=True):
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
                driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                driver.get(address)
                if act:
                    act(driver)
                driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
                screen = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
                row.append(np.asarray(screen.resize((width, 900))))
            rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).reduce(2).save(DOCS / name, quality=80)


def _wait_for(driver: Any, selector: str) -> list[Any]:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, 60).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, selector)
    )


def _enhance_two(driver: Any) -> None:
    """Let the page of `zerodce app` enhance two photographs."""
    from selenium.webdriver.support.wait import WebDriverWait

    examples = [str(DOCS.parent / "examples" / name) for name in EXAMPLES[:2]]
    _wait_for(driver, "#files input[type=file]")[0].send_keys("\n".join(examples))
    for image in _wait_for(driver, "#slider img[src]"):
        WebDriverWait(driver, 60).until(lambda _, image=image: image.get_property("complete"))
    _wait_for(driver, "#make")[0].click()
    _wait_for(driver, "#results a")


def _enhance_sample(driver: Any) -> None:
    """Let the demo enhance its sample, once it has loaded the network."""
    from selenium.webdriver.support.wait import WebDriverWait

    (state,) = _wait_for(driver, "#state")
    WebDriverWait(driver, 60).until(lambda _: state.text.startswith("Ready"))
    _wait_for(driver, "#sample")[0].click()
    _wait_for(driver, "#result:not([hidden])")


def video() -> None:
    """Write video.png: an example as a video at night, and its brightness over time."""
    image = np.asarray(Image.open(DOCS.parent / "examples" / "coffee.jpg").convert("RGB"))
    rng = np.random.default_rng(0)
    count, rate = 60, 30
    # The lamp flickers, and the camera adds noise.
    lamp = 1 + 0.2 * np.sin(2.3 * np.arange(count)) + rng.normal(0, 0.06, count)
    linear = (image / 255) ** 2.2 * 0.04
    frames = [
        ((linear * intensity) ** (1 / 2.2) * 255 + rng.normal(0, 4, image.shape)).clip(0, 255)
        for intensity in lamp
    ]
    dark = [frame.round().astype(np.uint8) for frame in frames]
    enhancer = Enhancer.load()
    timed = [(number / rate, frame) for number, frame in enumerate(dark)]
    rows = {
        "input": dark,
        "frame by frame": list(enhancer.clip(timed, smoothing=0)),
        "smoothed over frames": list(enhancer.clip(timed)),
    }
    figure, (before, after, plot) = plt.subplots(
        1, 3, figsize=(12, 2.7), width_ratios=(1, 1, 1.1), layout="constrained"
    )
    for axis, name in ((before, "input"), (after, "smoothed over frames")):
        axis.imshow(rows[name][20])
        axis.set(xticks=[], yticks=[], title=f"frame 20, {name}")
    for name, row in rows.items():
        means = np.array([frame.mean() for frame in row])
        plot.plot(100 * (means / means.mean() - 1), label=name, lw=1.2)
    plot.set(xlabel="frame", ylabel="%", ylim=(-19, 34), title="deviation from the mean brightness")
    plot.legend(loc="upper right", fontsize="small")
    figure.savefig(DOCS / "video.png", dpi=72)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {
            "before-after": before_after,
            "flaws": flaws,
            "branches": branches,
            "training": training,
            "app": app,
            "site": site,
            "video": video,
        }
    )
