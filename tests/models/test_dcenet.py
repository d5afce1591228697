"""Tests of dcenet.py: outputs of the PyTorch originals, precision, initial weights, masks."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers import whole_image
from zerodce_jax.config import NetworkConfig, preset
from zerodce_jax.models.dcenet import DCENet
from zerodce_jax.models.modules import graphdef, init_params
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.ops.curves import apply_curves

CASES = [
    *((name, case, 1) for name in ("reduced", "original", "plusplus") for case in ("odd", "even")),
    ("plusplus", "scale12", 12),
]


def model_of(network: Network, *, scale: int = 1, dtype: jnp.dtype = jnp.float32) -> DCENet:
    config = NetworkConfig.from_dict(network.config.to_dict() | {"scale": scale})
    return nnx.merge(graphdef(config, dtype=jnp.dtype(dtype)), network.params)


@pytest.fixture
def odd_input(goldens: Path) -> jax.Array:
    return jnp.asarray(np.load(goldens / "reduced_forward.npz")["odd_input"])


@pytest.mark.parametrize(
    ("name", "case", "scale"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (case[1] == "even" and case[0] != "reduced"))
        for case in CASES
    ],
)
def test_curve_maps_and_enhanced_images_equal_those_of_pytorch(
    name: str, case: str, scale: int, goldens: Path, random_network: Callable[[str], Network]
) -> None:
    golden = np.load(goldens / f"{name}_forward.npz")
    network = random_network(name)
    image = jnp.asarray(golden[f"{case}_input"])
    curves = jax.jit(DCENet.__call__)(model_of(network, scale=scale), image)
    assert curves.dtype == jnp.float32
    np.testing.assert_allclose(curves, golden[f"{case}_curves"], rtol=0, atol=2e-5)
    enhanced = apply_curves(image, curves, iterations=8)
    np.testing.assert_allclose(enhanced, golden[f"{case}_enhanced"], rtol=0, atol=2e-5)
    if f"{case}_enhanced_after_4" in golden:
        early = apply_curves(image, curves, iterations=4)
        np.testing.assert_allclose(early, golden[f"{case}_enhanced_after_4"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("name", "case", "scale"), CASES)
def test_the_numpy_reference_equals_pytorch(
    name: str, case: str, scale: int, goldens: Path, random_network: Callable[[str], Network]
) -> None:
    golden = np.load(goldens / f"{name}_forward.npz")
    config = NetworkConfig.from_dict(random_network(name).config.to_dict() | {"scale": scale})
    network = Network(config, random_network(name).params)
    image = golden[f"{case}_input"][0]
    curves = whole_image.curve_maps(network, image)
    np.testing.assert_allclose(curves, golden[f"{case}_curves"][0], rtol=0, atol=2e-5)
    enhanced = whole_image.enhance(network, image)
    np.testing.assert_allclose(enhanced, golden[f"{case}_enhanced"][0], rtol=0, atol=2e-5)


def test_jit_does_not_change_the_curve_maps(odd_input: jax.Array, random_network: Callable) -> None:
    model = model_of(random_network("reduced"))
    eager, jitted = model(odd_input), jax.jit(DCENet.__call__)(model, odd_input)
    np.testing.assert_allclose(eager, jitted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_bfloat16_is_close_and_keeps_float32_parameters(
    odd_input: jax.Array, random_network: Callable
) -> None:
    network = random_network("reduced")
    exact, coarse = model_of(network), model_of(network, dtype=jnp.bfloat16)
    maps = coarse(odd_input)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, exact(odd_input), rtol=0, atol=0.03)
    assert not np.array_equal(maps, exact(odd_input))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(coarse, nnx.Param))} == {
        jnp.dtype("float32")
    }


def test_a_mask_of_ones_changes_nothing(odd_input: jax.Array, random_network: Callable) -> None:
    model = model_of(random_network("reduced"))
    masked = model.forward(odd_input, jnp.ones((*odd_input.shape[:3], 1)))
    np.testing.assert_array_equal(masked, model.forward(odd_input))


def test_a_masked_window_equals_the_whole_image(
    odd_input: jax.Array, random_network: Callable
) -> None:
    model = model_of(random_network("reduced"))
    window = jnp.pad(odd_input, ((0, 0), (9, 2), (1, 5), (0, 0)))
    mask = jnp.pad(jnp.ones((*odd_input.shape[:3], 1)), ((0, 0), (9, 2), (1, 5), (0, 0)))
    inside = model.forward(window, mask)[:, 9:-2, 1:-5]
    np.testing.assert_allclose(inside, model.forward(odd_input), rtol=0, atol=1e-6)


def test_initial_weights_have_the_shapes_of_the_configuration() -> None:
    config = NetworkConfig(features=3, shared_curve=True)
    params = flatten(jax.eval_shape(lambda: init_params(config, seed=0)))
    assert {name: leaf.shape for name, leaf in params.items()} == config.param_shapes
    assert {leaf.dtype for leaf in params.values()} == {np.dtype("float32")}


@pytest.mark.slow
def test_initial_weights_depend_only_on_the_seed() -> None:
    # XLA needs seconds to compile a random generator for each shape, so the network is small.
    config = NetworkConfig(features=3, shared_curve=True)
    first, same, other = (
        {name: np.asarray(leaf) for name, leaf in flatten(init_params(config, seed=seed)).items()}
        for seed in (1, 1, 2)
    )
    assert {leaf.dtype for leaf in first.values()} == {np.dtype("float32")}
    kernels = np.concatenate([leaf.ravel() for name, leaf in first.items() if "kernel" in name])
    assert abs(kernels.mean()) < 4 * 0.02 / np.sqrt(kernels.size)
    assert kernels.std() == pytest.approx(0.02, rel=0.1)
    assert not any(leaf.any() for name, leaf in first.items() if "bias" in name)
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["conv1.kernel"], other["conv1.kernel"])
    assert not np.array_equal(first["conv2.kernel"], first["conv3.kernel"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
@pytest.mark.parametrize("size", [(9, 14), (9, 15)])
def test_the_inference_form_differs_only_by_rounding(name: str, size: tuple[int, int]) -> None:
    network = whole_image.random_network(preset(name))
    images = jnp.asarray(np.random.default_rng(0).random((2, *size, 3), dtype=np.float32))
    forms = (
        nnx.merge(
            graphdef(network.config, inference=inference),
            jax.tree.map(jnp.asarray, network.params),
        )
        for inference in (False, True)
    )
    plain, fast = (model.forward(images) for model in forms)
    np.testing.assert_allclose(fast, plain, rtol=0, atol=2e-6)
