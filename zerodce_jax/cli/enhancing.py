"""What subcommands that enhance have in common: the settings as flags, and an engine made ready."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from zerodce_jax.config import Denoise, Exposure

if TYPE_CHECKING:
    from zerodce_jax.enhancer import EngineName


@dataclass(frozen=True)
class Settings:
    """Flags; what is not given is up to the network."""

    exposure: Annotated[Exposure | None, arg(metavar="auto|off|LEVEL")] = None
    """Mean brightness, 0 to 1, that darker pictures are brought to, each by a strength of its own;
    auto is 0.4, off gives all the same strength. Like the next four, the network's own choice
    where it is not given."""
    strength: Annotated[float | None, arg(metavar="X")] = None
    """How strongly to enhance: 0 not at all, 1 as the network or the exposure chooses, at most
    2."""
    gamma: Annotated[float | None, arg(metavar="X")] = None
    """Exponent applied after the curves, against over-exposure; 1 is off."""
    protect_highlights: Annotated[float | None, arg(metavar="X")] = None
    """How far to keep bright places from getting too bright, 0 to 1."""
    denoise: Annotated[Denoise | None, arg(metavar="auto|X")] = None
    """How strongly to hold down noise where it is amplified, 0 to 1; auto goes by the noise found
    in each picture."""

    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def make_ready(engine: "EngineName") -> "EngineName":
    """The engine that a name stands for here, with its cache of compiled programs in use.

    Raises:
        UsageError: It is not installed.
    """
    from zerodce_jax.enhancer import choose_engine

    chosen = choose_engine(engine)
    if chosen == "xla":
        from zerodce_jax.engines.xla import use_compilation_cache

        use_compilation_cache()
    return chosen
