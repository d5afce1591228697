"""Tests of serialization.py, pytorch_layout.py and checkpoint.py: all formats, all misfits."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from helpers import pth_files
from helpers.whole_image import random_network
from zerodce_jax.config import EnhanceSettings, NetworkConfig, SceneConfig, preset
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import checkpoint, serialization
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.models.pytorch_layout import from_torch, to_torch
from zerodce_jax.models.serialization import (
    load_network,
    round_trip_differences,
    save_network,
    shipped_networks,
)

GOLDEN_FILES = [
    f"{name}_random{kind}"
    for name in ("reduced", "original", "plusplus")
    for kind in ("", "_legacy")
]
CUSTOM = NetworkConfig(features=8, pool=True, iterations=4, scale=12)
CUSTOM_SHARED = NetworkConfig(
    features=5, separable=True, shared_curve=True, pool=True, iterations=3
)


def assert_same(network: Network, expected: Network) -> None:
    """Assert that tensors are equal bit by bit, and that config and settings are equal."""
    assert network.config == expected.config
    assert network.settings == expected.settings
    arrays, expected_arrays = flatten(network.params), flatten(expected.params)
    assert set(arrays) == set(expected_arrays) == set(network.config.param_shapes)
    for name, array in arrays.items():
        assert array.dtype == expected_arrays[name].dtype == np.float32
        assert array.tobytes() == expected_arrays[name].tobytes(), name


def torch_file(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """Write a .pth file of the preset `reduced` after a change of its tensors."""
    tensors = to_torch(random_network(NetworkConfig.reduced()))
    change(tensors)
    path.write_bytes(pth_files.both(tensors)[0])
    return path


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_conversions_from_pth_keep_every_bit(name: str, goldens: Path, tmp_path: Path) -> None:
    original = load_network(goldens / f"{name}.pth")
    assert original.config.preset == name.split("_")[0]
    save_network(original, tmp_path / "net")
    from_orbax = load_network(tmp_path / "net")
    assert_same(from_orbax, original)

    torch_layout = tmp_path / "torch.safetensors"
    save_network(from_orbax, torch_layout, layout="torch")
    # PyTorch loads exactly the names and OIHW arrays of the .pth file.
    converted = safetensors.numpy.load_file(torch_layout)
    state_dict = pth_files.read(goldens / f"{name}.pth")
    assert set(converted) == set(state_dict)
    for key, array in state_dict.items():
        assert converted[key].shape == array.shape
        assert converted[key].dtype == array.dtype
        assert converted[key].tobytes() == array.tobytes()
    assert_same(load_network(torch_layout), original)

    save_network(load_network(torch_layout), tmp_path / "jax.safetensors")
    assert_same(load_network(tmp_path / "jax.safetensors"), original)


@pytest.mark.parametrize("config", [CUSTOM, CUSTOM_SHARED], ids=["dense", "separable"])
def test_every_format_stores_the_whole_config(config: NetworkConfig, tmp_path: Path) -> None:
    network = random_network(config)
    for name, layout in (("net", "jax"), ("j.safetensors", "jax"), ("t.safetensors", "torch")):
        save_network(network, tmp_path / name, layout=layout)
        loaded = load_network(tmp_path / name)
        assert_same(loaded, network)
        assert loaded.notes == ()


SCENE = SceneConfig(features=8, blocks=1, levels=3, iterations=4)


def test_every_format_stores_scene_networks(tmp_path: Path) -> None:
    for config in (SCENE, SceneConfig()):
        network = replace(random_network(config), settings=EnhanceSettings.scene())
        for name in ("net", "jax.safetensors"):
            save_network(network, tmp_path / name)
            loaded = load_network(tmp_path / name)
            assert_same(loaded, network)
            assert loaded.notes == ()
        rows = round_trip_differences(network)
        assert [name for name, _, _ in rows] == list(config.param_shapes)
        assert all(difference == 0 for _, _, difference in rows)
    assert loaded.architecture == "scene"
    assert loaded.parameter_count == 47_034


def test_scene_networks_have_no_torch_layout_and_no_scale(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network = random_network(SceneConfig())
    with pytest.raises(UsageError, match=r"^scene has no original in PyTorch; use the layout jax$"):
        save_network(network, path, layout="torch")
    assert not path.exists()
    save_network(network, path)
    with pytest.raises(UsageError, match="scene always sees a thumbnail; omit the scale"):
        load_network(path, scale=2)


def test_tensors_that_do_not_fit_a_scene_network_are_named(tmp_path: Path) -> None:
    tensors = flatten(random_network(SCENE).params)
    del tensors["grid1.bias"]
    tensors["down1.kernel"] = tensors["down1.kernel"][:2]
    metadata = {"config": json.dumps(SCENE.to_dict())}
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        tmp_path / "net.safetensors",
        metadata,
    )
    with pytest.raises(InputError, match="2 tensors do not fit its config") as raised:
        load_network(tmp_path / "net.safetensors")
    message = str(raised.value)
    assert "grid1.bias: missing, expected (8,)" in message
    assert "down1.kernel: shape (2, 3, 8, 4), expected (3, 3, 8, 4)" in message


def test_files_of_unknown_architectures_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    metadata = {"config": json.dumps({"architecture": "unet"})}
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, path, metadata)
    with pytest.raises(
        InputError, match=r"do not describe a network \(unknown architecture 'unet'"
    ):
        load_network(path)


@pytest.mark.parametrize("layout", ["jax", "torch"])
def test_float16_halves_the_file_and_is_read_as_float32(layout: str, tmp_path: Path) -> None:
    network = random_network(preset("reduced"))
    large, small = tmp_path / "large.safetensors", tmp_path / "small.safetensors"
    save_network(network, large, layout=layout)
    save_network(network, small, layout=layout, dtype="float16")
    assert large.stat().st_size - small.stat().st_size == pytest.approx(2 * 23_592, abs=16)
    loaded = load_network(small)
    assert (loaded.config, loaded.settings) == (network.config, network.settings)
    before, after = flatten(network.params), flatten(loaded.params)
    for name, array in before.items():
        assert after[name].dtype == np.float32
        # 11 bits of precision, and 2^-24 as the smallest number.
        np.testing.assert_allclose(after[name], array, rtol=2**-11, atol=2**-25)
    assert any((after[name] != array).any() for name, array in before.items())
    # Another round trip loses nothing more.
    save_network(loaded, large, layout=layout, dtype="float16")
    assert_same(load_network(large), loaded)


def test_parameters_beyond_float16_are_refused(tmp_path: Path) -> None:
    network = random_network(CUSTOM)
    network.params["conv1"]["bias"][2] = -7e4
    path = tmp_path / "net.safetensors"
    with pytest.raises(InputError, match=r"conv1\.bias: a parameter of 70000 does not fit float16"):
        save_network(network, path, dtype="float16")
    assert list(tmp_path.iterdir()) == []
    save_network(network, path)
    assert_same(load_network(path), network)
    network.params["conv1"]["bias"][2] = np.nan
    with pytest.raises(InputError, match=r"conv1\.bias: a parameter of nan does not fit float32"):
        save_network(network, tmp_path / "nan.safetensors")


SETTINGS = [
    EnhanceSettings(),
    EnhanceSettings.adaptive(),
    EnhanceSettings(exposure=0.55, gamma=0.9, strength=1.3, protect_highlights=0.25, denoise=1),
]
FILES = [("net", "jax"), ("jax.safetensors", "jax"), ("torch.safetensors", "torch")]


@pytest.mark.parametrize(("name", "layout"), FILES)
def test_every_format_stores_the_settings(name: str, layout: str, tmp_path: Path) -> None:
    for settings in SETTINGS:
        network = replace(random_network(CUSTOM_SHARED), settings=settings)
        save_network(network, tmp_path / name, layout=layout)
        assert_same(load_network(tmp_path / name), network)
    assert load_network(tmp_path / name, scale=3).settings == SETTINGS[-1]


def test_settings_survive_repeated_conversion(tmp_path: Path) -> None:
    network = replace(random_network(CUSTOM), settings=SETTINGS[2])
    for name, layout in (*FILES, *FILES):
        save_network(network, tmp_path / name, layout=layout)
        network = load_network(tmp_path / name)
    assert_same(network, replace(random_network(CUSTOM), settings=SETTINGS[2]))


def test_configs_of_earlier_versions_hold_the_levels_of_a_grid(tmp_path: Path) -> None:
    network, path = random_network(CUSTOM), tmp_path / "net.safetensors"
    save_network(network, path)
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()

    def save_with(levels: int) -> None:
        config = json.dumps({**CUSTOM.to_dict(), "levels": levels})
        safetensors.numpy.save_file(tensors, path, {**metadata, "config": config})

    save_with(levels=1)
    assert_same(load_network(path), network)
    save_with(levels=2)
    with pytest.raises(InputError, match=r"DCE-Nets with a bilateral grid are no longer supported"):
        load_network(path)


def test_files_without_settings_take_the_recipe_of_zero_dce_improved(
    goldens: Path, tmp_path: Path
) -> None:
    recipe = EnhanceSettings(exposure="off", gamma=1.15)
    assert load_network(goldens / "reduced_random.pth").settings == recipe
    network = replace(random_network(CUSTOM), settings=SETTINGS[1])
    config = {"config": json.dumps(CUSTOM.to_dict())}
    safetensors.numpy.save_file(flatten(network.params), tmp_path / "jax.safetensors", config)
    tensors = {name: np.ascontiguousarray(array) for name, array in to_torch(network).items()}
    all_metadata = {"torch": config | {"format": "pt"}, "bare": None}
    for name, metadata in all_metadata.items():
        safetensors.numpy.save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
    folder = tmp_path / "net"
    save_network(network, folder)
    checkpoint.write_config(folder, {"network": CUSTOM.to_dict()})
    for name in ("jax.safetensors", "torch.safetensors", "bare.safetensors", "net"):
        assert load_network(tmp_path / name).settings == recipe


def test_settings_that_a_folder_does_not_store_come_from_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    save_network(replace(random_network(CUSTOM), settings=SETTINGS[1]), folder)
    config = {"network": CUSTOM.to_dict(), "settings": {"exposure": 0.3}}
    checkpoint.write_config(folder, config)
    assert load_network(folder).settings == EnhanceSettings(exposure=0.3)


BAD_SETTINGS = {
    '{"warmth": 1}': "warmth",
    '{"gamma": 0}': "gamma",
    '{"gamma": NaN}': "gamma",
    '{"strength": 2.5}': "strength",
    '{"exposure": 1}': "exposure",
    '{"denoise": -1}': "denoise",
    '{"protect_highlights": 1e999}': "protect_highlights",
}


@pytest.mark.parametrize("settings", BAD_SETTINGS)
@pytest.mark.parametrize("layout", ["jax", "torch"])
def test_wrong_settings_in_files_are_refused(settings: str, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_network(random_network(CUSTOM), path, layout=layout)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | {"settings": settings}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)
    message = refusal_of(path)
    assert message is not None
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    assert BAD_SETTINGS[settings] in message


@pytest.mark.parametrize("settings", ["", "{", "null", "3", "[]", "[1]", '"auto"'])
def test_malformed_settings_in_files_are_refused(settings: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    metadata = {"config": json.dumps(CUSTOM.to_dict()), "settings": settings}
    safetensors.numpy.save_file(flatten(random_network(CUSTOM).params), path, metadata)
    message = refusal_of(path)
    assert message is not None
    assert message.startswith(f"{path}: its metadata do not describe a network")


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_wrong_settings_in_folders_are_refused(settings: str, tmp_path: Path) -> None:
    config = f'{{"network": {json.dumps(CUSTOM.to_dict())}, "settings": {settings}}}'
    (tmp_path / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError) as caught:
        load_network(tmp_path)
    message = str(caught.value)
    assert not isinstance(caught.value, UsageError)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{tmp_path / checkpoint.CONFIG_FILE}: ")
    assert BAD_SETTINGS[settings] in message


@pytest.mark.parametrize("settings", ["null", "3", "[]", "[1]"])
def test_malformed_settings_in_folders_are_refused(settings: str, tmp_path: Path) -> None:
    config = f'{{"network": {json.dumps(CUSTOM.to_dict())}, "settings": {settings}}}'
    (tmp_path / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError, match=f"^{tmp_path / checkpoint.CONFIG_FILE}: "):
        load_network(tmp_path)


@pytest.mark.parametrize("part", ["config", "settings"])
def test_deeply_nested_metadata_are_refused(part: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    metadata = {"config": json.dumps(CUSTOM.to_dict())} | {part: "[" * 200_000}
    safetensors.numpy.save_file(flatten(random_network(CUSTOM).params), path, metadata)
    with pytest.raises(InputError, match=f"^{path}: its metadata do not describe a network"):
        load_network(path)
    (tmp_path / checkpoint.CONFIG_FILE).write_text("[" * 200_000)
    with pytest.raises(InputError, match="damaged"):
        load_network(tmp_path)


def test_metadata_hold_format_preset_config_and_settings(tmp_path: Path) -> None:
    network = random_network(replace(preset("plusplus"), scale=12))
    for layout, kind in (("jax", "jax"), ("torch", "pt")):
        path = tmp_path / f"{layout}.safetensors"
        save_network(network, path, layout=layout)
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        assert metadata["format"] == kind
        assert metadata["preset"] == "plusplus"
        assert json.loads(metadata["config"]) == network.config.to_dict()
        assert json.loads(metadata["settings"]) == network.settings.to_dict()


def test_torch_layout_has_the_names_and_axes_of_pytorch() -> None:
    kernel = np.arange(3 * 3 * 3 * 16, dtype=np.float32).reshape(16, 3, 3, 3)
    tensors = to_torch(random_network(NetworkConfig.reduced()))
    converted = from_torch(tensors | {"e_conv1.weight": kernel}).params["conv1"]["kernel"]
    # (out, in, height, width) becomes (height, width, in, out).
    assert converted.shape == (3, 3, 3, 16)
    assert converted[2, 1, 0, 5] == kernel[5, 0, 2, 1]
    separable = to_torch(random_network(preset("plusplus")))
    assert separable["e_conv2.depth_conv.weight"].shape == (32, 1, 3, 3)
    assert separable["e_conv7.point_conv.weight"].shape == (3, 64, 1, 1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NetworkConfig.reduced(), "preset reduced with a max-pool"),
        (NetworkConfig.original(), "preset original without a max-pool"),
        (NetworkConfig.plusplus(), "preset plusplus without a max-pool"),
        (NetworkConfig(features=8, pool=False), "a custom architecture without a max-pool"),
        (NetworkConfig(features=16, iterations=4), "a custom architecture with a max-pool"),
    ],
)
def test_shapes_determine_the_architecture(config: NetworkConfig, expected: str) -> None:
    network = from_torch(to_torch(random_network(config)), source="net.pth")
    assert network.config == config
    (note,) = network.notes
    assert note.startswith("net.pth: ")
    assert expected in note
    assert "--preset" in note


def test_preset_overrides_the_shapes(goldens: Path) -> None:
    network = load_network(goldens / "reduced_random.pth", preset="reduced")
    assert network.config == preset("reduced")
    assert network.notes == ()
    with pytest.raises(InputError, match="do not fit original"):
        load_network(goldens / "reduced_random.pth", preset="original")
    with pytest.raises(UsageError, match="no preset 'tiny'"):
        load_network(goldens / "reduced_random.pth", preset="tiny")


def test_scale_replaces_the_stored_one(goldens: Path) -> None:
    network = load_network(goldens / "plusplus_random.pth", scale=12)
    assert network.config == replace(preset("plusplus"), scale=12)
    with pytest.raises(UsageError, match="scale"):
        load_network(goldens / "plusplus_random.pth", scale=0)


def test_a_key_is_for_pytorch_checkpoints(tmp_path: Path) -> None:
    for name in ("net", "net.safetensors"):
        save_network(random_network(CUSTOM), tmp_path / name)
        with pytest.raises(UsageError, match=f"^{tmp_path / name}: not a PyTorch checkpoint"):
            load_network(tmp_path / name, key="params")
    with pytest.raises(UsageError, match="not a PyTorch checkpoint, so omit the key"):
        load_network("scene", key="params")


def test_parameter_count(goldens: Path) -> None:
    assert load_network(goldens / "reduced_random.pth").parameter_count == 23_592


def make_misfits(tensors: dict[str, np.ndarray]) -> None:
    del tensors["e_conv2.bias"]
    del tensors["e_conv5.weight"]
    tensors["e_conv8.weight"] = np.zeros((3, 4, 5, 6), np.float32)
    tensors["extra"] = np.zeros(7, np.float32)
    tensors["e_conv3.weight"] = np.zeros((16, 15, 3, 3), np.float32)
    tensors["e_conv4.bias"] = np.zeros(17, np.float32)


MISFITS = [
    "e_conv2.bias: missing, expected (16,)",
    "e_conv5.weight: missing, expected (3, 3, 32, 16)",
    "e_conv8.weight: unexpected, shape (5, 6, 4, 3)",
    "extra: unexpected, shape (7,)",
    "e_conv3.weight: shape (3, 3, 15, 16), expected (3, 3, 16, 16)",
    "e_conv4.bias: shape (17,), expected (16,)",
]


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_the_error_names_every_tensor_that_does_not_fit(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{kind}"
    if kind == "pth":
        torch_file(path, make_misfits)
    else:
        tensors = to_torch(random_network(NetworkConfig.reduced()))
        make_misfits(tensors)
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        safetensors.numpy.save_file(contiguous, path)
    with pytest.raises(InputError) as caught:
        load_network(path)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{path}: 6 tensors do not fit reduced")
    assert sorted(line.strip() for line in lines) == sorted(MISFITS)


def test_misfits_of_the_jax_layout_have_our_names(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    config = NetworkConfig.reduced()
    flat = flatten(random_network(config).params)
    flat["conv1.kernel"] = np.zeros((3, 3, 3, 15), np.float32)
    del flat["conv7.bias"]
    safetensors.numpy.save_file(flat, path, {"config": json.dumps(config.to_dict())})
    with pytest.raises(InputError) as caught:
        load_network(path)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "conv1.kernel: shape (3, 3, 3, 15), expected (3, 3, 3, 16)",
        "conv7.bias: missing, expected (24,)",
    ]


@pytest.mark.parametrize(
    "tensors",
    [
        {"fc.weight": np.zeros((2, 2), np.float32)},
        {"e_conv1.weight": np.zeros((16, 3, 3, 3), np.float32)},
        {
            "e_conv1.weight": np.zeros((0, 3, 3, 3), np.float32),
            "e_conv7.weight": np.zeros((24, 0, 3, 3), np.float32),
        },
        {
            "e_conv1.weight": np.zeros((16, 3, 3, 3), np.float32),
            "e_conv7.weight": np.zeros((25, 32, 3, 3), np.float32),
        },
        {
            "e_conv1.weight": np.zeros((), np.float32),
            "e_conv7.weight": np.zeros((), np.float32),
        },
    ],
    ids=["another network", "one layer", "no features", "25 maps", "scalars"],
)
def test_state_dicts_of_other_networks_are_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"other\.pth: not a DCE-Net"):
        from_torch(tensors, source="other.pth")


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        "[1]",
        "null",
        '{"features": 0}',
        '{"features": "many"}',
        '{"color": 1}',
    ],
)
def test_malformed_configs_in_files_are_refused(metadata: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, path, {"config": metadata})
    with pytest.raises(
        InputError, match=f"{path}: its metadata do not describe a network"
    ) as caught:
        load_network(path)
    assert not isinstance(caught.value, UsageError)


def test_tensors_that_do_not_fit_the_stored_config_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    flat = flatten(random_network(NetworkConfig.reduced()).params)
    other = {"config": json.dumps(NetworkConfig(features=32).to_dict())}
    safetensors.numpy.save_file(flat, path, other)
    with pytest.raises(InputError, match="tensors do not fit its config"):
        load_network(path)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_network(random_network(NetworkConfig(features=2)), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole + b"x", bytes(8) + whole, b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=str(path)):
            load_network(path)


def test_a_step_of_a_folder_can_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    network = random_network(CUSTOM)
    save_network(network, folder)
    assert_same(load_network(f"{folder}@0"), network)
    assert_same(load_network(Path(f"{folder}@0")), network)
    with pytest.raises(InputError, match=rf"{folder}: no checkpoint of step 7; existing steps: 0"):
        load_network(f"{folder}@7")


def test_folders_without_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for source in (tmp_path / "photos", f"{tmp_path}/photos@3", f"{tmp_path}/missing@3"):
        with pytest.raises(InputError, match="not a checkpoint folder of zerodce_jax"):
            load_network(source)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"network": 3}',
        '{"network": {"features": 0}}',
        '{"network": {"x": 1}}',
    ],
)
def test_folders_with_a_damaged_config_are_refused(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError, match=str(folder)) as caught:
        load_network(folder)
    # A damaged file is not wrong usage.
    assert not isinstance(caught.value, UsageError)


def test_a_folder_without_a_finished_step_is_refused(tmp_path: Path) -> None:
    checkpoint.write_config(tmp_path, {"network": CUSTOM.to_dict()})
    with pytest.raises(InputError, match="no finished checkpoint"):
        load_network(tmp_path)


def test_a_folder_whose_config_does_not_fit_its_parameters_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    save_network(random_network(CUSTOM), folder)
    checkpoint.write_config(folder, {"network": replace(CUSTOM, features=9).to_dict()})
    with pytest.raises(InputError, match=rf"{folder}: the parameters of step 0 do not fit"):
        load_network(folder)


def refusal_of(source: Path) -> str | None:
    """Return the error message if a network is refused, or None."""
    try:
        load_network(source)
    except InputError as error:
        return str(error)
    return None


# Orbax leaves unfinished reads behind, which raise when they are garbage-collected.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_files_in_a_folder_give_one_line_or_do_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    save_network(random_network(CUSTOM), folder)
    files = sorted(path for path in (folder / "0").rglob("*") if path.is_file())
    refused = 0
    for path in files:
        whole = path.read_bytes()
        for damaged in (None, b"", whole[: len(whole) // 2]):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            message = refusal_of(folder)
            path.write_bytes(whole)
            # Orbax stores some files that it never reads.
            if message is not None:
                assert str(folder) in message
                assert len(message.splitlines()) == 1
                refused += 1
    assert refused >= 3
    load_network(folder)
    gc.collect()


def test_the_error_for_unknown_names_lists_the_shipped_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serialization, "shipped_networks", lambda: ["one", "two"])
    with pytest.raises(
        InputError, match=r"^nonesuch: no such file, and no shipped network \(one, two\)$"
    ):
        load_network("nonesuch")


def test_a_package_without_a_weights_folder_ships_no_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialization.resources, "files", lambda _: tmp_path)
    assert shipped_networks() == []
    with pytest.raises(InputError, match=r"no shipped network \(none\)$"):
        load_network("reduced")


def test_shipped_networks_are_small_and_load_by_name_with_stored_settings() -> None:
    networks = {name: load_network(name) for name in shipped_networks()}
    assert {name: network.settings for name, network in networks.items()} == {
        "reduced": EnhanceSettings.adaptive(),
        "scene": EnhanceSettings.scene(),
    }
    assert [network.config.preset for network in networks.values()] == list(networks)
    for file in (resources.files("zerodce_jax") / "weights").iterdir():
        # The published file of Zero-DCE-improved has 99,295 bytes.
        assert len(file.read_bytes()) <= 97_000, file


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".npz", ".onnx"])
def test_formats_that_cannot_be_written_are_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors or as a folder"):
        save_network(random_network(CUSTOM), tmp_path / f"net{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_failed_writes_keep_the_old_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    def write() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(safetensors.numpy, "save", fail)
            patched.setattr(checkpoint, "write_config", fail)
            with pytest.raises(OSError, match="disk full"):
                save_network(random_network(CUSTOM), path)

    write()
    assert list(tmp_path.iterdir()) == []
    save_network(random_network(CUSTOM, seed=1), path)
    write()
    assert list(tmp_path.iterdir()) == [path]
    assert_same(load_network(path), random_network(CUSTOM, seed=1))


def test_written_networks_have_default_permissions(tmp_path: Path) -> None:
    for path in (tmp_path / "net.safetensors", tmp_path / "net" / "config.json"):
        save_network(random_network(CUSTOM), tmp_path / path.relative_to(tmp_path).parts[0])
        (tmp_path / "plain").touch()
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_save_network_replaces_a_whole_network(name: str, tmp_path: Path) -> None:
    path = tmp_path / "below" / name
    save_network(random_network(CUSTOM, seed=1), path)
    save_network(random_network(CUSTOM_SHARED, seed=2), path)
    assert_same(load_network(path), random_network(CUSTOM_SHARED, seed=2))
    assert list(path.parent.iterdir()) == [path]


def test_round_trips_change_no_parameter() -> None:
    network = random_network(CUSTOM)
    rows = round_trip_differences(network)
    assert [(name, shape) for name, shape, _ in rows] == list(CUSTOM.param_shapes.items())
    assert all(difference == 0 for *_, difference in rows)


def test_round_trips_report_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    save = safetensors.numpy.save

    def save_float16(tensors: dict[str, np.ndarray], *rest: object) -> bytes:
        return save({name: array.astype(np.float16) for name, array in tensors.items()}, *rest)

    monkeypatch.setattr(safetensors.numpy, "save", save_float16)
    differences = {
        name: difference for name, _, difference in round_trip_differences(random_network(CUSTOM))
    }
    assert 0 < differences["conv1.kernel"] < 1e-2
