"""The controls of the page, and the settings that they stand for."""

# Gradio does not export the names that it documents.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

from typing import Any

import gradio as gr

from zerodce_jax.config import AUTO_EXPOSURE, EnhanceSettings, SceneConfig
from zerodce_jax.errors import UsageError
from zerodce_jax.models.network import Network
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH

NETWORKS = {
    "scene": "Whole photograph (scene)",
    "reduced": "Each place by itself (reduced)",
}
"""Names of the networks that the page offers, and words for them; the first is the default."""


def network_choice() -> gr.Radio:
    """Return the control that chooses the network."""
    return gr.Radio(
        [(words, name) for name, words in NETWORKS.items()],
        value=next(iter(NETWORKS)),
        label="What the network looks at",
        info="The whole photograph suits all kinds of light.",
        elem_id="network",
    )


def main_controls(network: Network) -> list[gr.components.Component]:
    """Return the controls that most photographs need, with the settings of a network as values."""
    exposure, level, strength, *_ = _values(network.settings)
    choices = [("Automatic", "auto"), ("Fixed level", "level")]
    if isinstance(network.config, SceneConfig):
        # For these networks, auto and off are the same.
        info = "Automatic lets the network decide."
    else:
        choices.append(("Off", "off"))
        info = f"Automatic is a mean brightness of {AUTO_EXPOSURE}, for dark photographs."
    return [
        gr.Radio(choices, value=exposure, label="Exposure", info=info, elem_id="exposure"),
        _number(
            (0.05, 0.95),
            level,
            label="Level",
            info="Mean brightness of the result.",
            visible=shows_level(exposure),
            elem_id="level",
        ),
        _number(
            (0, 2),
            strength,
            label="Strength",
            info="1 is the network's own choice.",
            elem_id="strength",
        ),
    ]


def more_controls(network: Network) -> list[gr.components.Component]:
    """Return the other controls, with the settings of a network as their values."""
    *_, gamma, protection, denoise, amount = _values(network.settings)
    return [
        _number(
            (0, 1),
            protection,
            label="Protect highlights",
            info="1 protects them fully.",
            elem_id="protection",
        ),
        _number(
            (0.2, 3),
            gamma,
            label="Gamma",
            info="Above 1 makes it darker.",
            elem_id="gamma",
        ),
        gr.Radio(
            [("Automatic", "auto"), ("Fixed amount", "amount")],
            value=denoise,
            label="Remove noise",
            info="Automatic measures the noise of each file.",
            elem_id="denoise",
        ),
        _number(
            (0, 1),
            amount,
            label="Amount",
            info="0 is off, 1 is the most.",
            visible=shows_amount(denoise),
            elem_id="amount",
        ),
    ]


def shows_level(exposure: str) -> bool:
    """Return whether the exposure level has an effect."""
    return exposure == "level"


def shows_amount(denoise: str) -> bool:
    """Return whether the amount of denoising has an effect."""
    return denoise == "amount"


def settings_of(*values: Any) -> EnhanceSettings:
    """Return the settings for the values of the main and the other controls.

    Raises:
        UsageError: A field is empty.
    """
    if None in values:
        raise UsageError("a setting has no number")
    exposure, level, strength, protection, gamma, denoise, amount = values
    return EnhanceSettings(
        exposure=level if shows_level(exposure) else exposure,
        strength=strength,
        gamma=gamma,
        protect_highlights=protection,
        denoise=amount if shows_amount(denoise) else denoise,
    )


def _number(bounds: tuple[float, float], value: float, **options: Any) -> gr.Slider:
    """Return a slider whose value is None if its field is empty; Gradio alone would fail."""
    slider = gr.Slider(*bounds, value, step=0.05, **options)
    preprocess = slider.preprocess
    slider.preprocess = lambda payload: None if payload is None else preprocess(payload)
    return slider


def _values(settings: EnhanceSettings) -> list[Any]:
    """Return the values of the controls for some settings."""
    named, auto = settings.exposure in ("auto", "off"), settings.denoise == "auto"
    return [
        settings.exposure if named else "level",
        AUTO_EXPOSURE if named else settings.exposure,
        settings.strength,
        settings.gamma,
        settings.protect_highlights,
        "auto" if auto else "amount",
        MIN_AUTO_STRENGTH if auto else settings.denoise,
    ]
