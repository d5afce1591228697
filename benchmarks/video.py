"""Measure frames per second of a video from file to file, also in PyTorch.

    python benchmarks/video.py

All contenders decode the same file and encode with the same settings, in turns: decoding and
encoding only, `jobs/videos.py` with `scene`, and a plain PyAV loop around Zero-DCE++ at its 1/12
scale in PyTorch eager, without denoising. An enhanced video costs more to encode than a dark one,
because its details and its noise are brighter; decoding and encoding it is measured too.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytorch
import tyro

from zerodce_jax.engines.xla import use_compilation_cache
from zerodce_jax.enhancer import Enhancer, choose_engine
from zerodce_jax.jobs import plan, runner
from zerodce_jax.jobs.videos import VideoExecutor


def main(*, width: int = 1920, height: int = 1080, frames: int = 40, turns: int = 5) -> None:
    """Print frames per second and the ratio to PyTorch.

    Args:
        width: Width of the video, in pixels.
        height: Height of the video, in pixels.
        frames: Number of frames of the video.
        turns: Timed runs of each contender, after one warm-up run.
    """
    use_compilation_cache()
    enhancer = Enhancer.load("scene")
    module = pytorch.PlusPlusDCENet()
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "in.mp4"), Path(place, "out.mp4")
        make_video(source, width, height, frames)
        items = plan.plan([source], target)

        def enhanced(smoothing: float, **changed: Any) -> Callable[[], None]:
            settings = enhancer.network.settings.changed(**changed)

            def run() -> None:
                executor = VideoExecutor(enhancer, settings, smoothing=smoothing)
                (result,) = runner.run(items, executor, overwrite=True)
                assert result.frames == frames, result

            return run

        def looped(
            change: Callable[[np.ndarray], np.ndarray], source: Path = source
        ) -> Callable[[], None]:
            return lambda: loop(source, target, change)

        bright = Path(place, "bright.mp4")
        enhanced(0.5)()
        target.rename(bright)
        contenders = {
            "decoding and encoding only": looped(lambda pixels: pixels),
            "decoding and encoding the enhanced video": looped(lambda pixels: pixels, bright),
            "scene": enhanced(0.5),
            "scene, frame by frame": enhanced(0),
            "scene, frame by frame, curves only": enhanced(0, denoise=0.0),
            "PyTorch eager, plusplus": looped(
                lambda pixels: pytorch.enhance(module, pixels, gamma=1.0, layout="first")
            ),
        }
        rates = {name: [] for name in contenders}
        for turn in range(turns + 1):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                if turn:
                    rates[name].append(frames / (time.perf_counter() - start))
    print(f"{width}x{height}, {frames} frames, engine {choose_engine('auto')}")
    print("| | frames/s | ratio to PyTorch |\n|---|---|---|")
    for name, turn_rates in rates.items():
        ratios = [a / b for a, b in zip(turn_rates, rates["PyTorch eager, plusplus"], strict=True)]
        print(f"| {name} | {spread(turn_rates, 1)} | {spread(ratios, 2)} |")


def make_video(path: Path, width: int, height: int, frames: int) -> None:
    """Write an H.264 video that pans over a dark scene with noise."""
    rng = np.random.default_rng(0)
    patches = np.kron(rng.random((height // 40 + 1, width // 20 + 2, 3)), np.ones((40, 40, 1)))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            view = patches[:height, number : number + width]
            pixels = (view * 50 + rng.normal(0, 3, view.shape)).clip(0, 255).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode(None))


def loop(source: Path, target: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Decode, change and encode one frame after another, as a plain script would."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = after.add_stream("libx264", rate=30, options={"crf": "18"})
        stream.width, stream.height = before.streams.video[0].width, before.streams.video[0].height
        stream.pix_fmt = "yuv420p"
        for frame in before.decode(video=0):
            pixels = change(frame.to_ndarray(format="rgb24"))
            after.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        after.mux(stream.encode(None))


def spread(values: list[float], digits: int) -> str:
    """Format the median and the range of values."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    tyro.cli(main)
