"""Flags that several subcommands share."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from zerodce_jax.config import Denoise, Exposure, SettingOverrides

if TYPE_CHECKING:
    from zerodce_jax.enhancer import EngineName

Engine = Literal["auto", "xla", "onnx"]
ResultFormat = Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif"]


@dataclass(frozen=True)
class SettingFlags:
    """How to enhance. The network decides each setting that is not given."""

    exposure: Annotated[Exposure | None, arg(metavar="auto|off|LEVEL")] = None
    """Mean brightness, 0 to 1, to which a darker image is brought by a strength of its own; auto is
    0.4, off gives all images the same strength. Without this flag, the network decides, as for the
    next four."""
    strength: Annotated[float | None, arg(metavar="X")] = None
    """Strength of the enhancement, 0 to 2: 0 changes nothing, 1 is what the network or the exposure
    chooses."""
    gamma: Annotated[float | None, arg(metavar="X")] = None
    """Exponent applied after the curves, against over-exposure; 1 is off."""
    protect_highlights: Annotated[float | None, arg(metavar="X")] = None
    """Strength of the highlight protection, 0 to 1; it keeps bright areas from becoming too
    bright."""
    denoise: Annotated[Denoise | None, arg(metavar="auto|X")] = None
    """Denoising strength where the curve amplifies noise, 0 to 1; auto measures the noise of each
    image."""

    def overrides(self) -> SettingOverrides:
        """Return the settings that were given."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return SettingOverrides(**given)


def prepare_engine(engine: "EngineName") -> "EngineName":
    """Return the engine that a name stands for, and turn its cache of compiled programs on.

    Raises:
        UsageError: The engine is not installed.
    """
    from zerodce_jax.enhancer import choose_engine

    chosen = choose_engine(engine)
    if chosen == "xla":
        from zerodce_jax.engines.xla import use_compilation_cache

        use_compilation_cache()
    return chosen
