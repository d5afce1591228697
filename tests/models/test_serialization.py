"""serialization.py and checkpoint.py: every format there and back, and every way not to fit."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from helpers import pth_files
from helpers.whole_image import random_network as any_network
from zerodce_jax.config import EnhanceSettings, NetworkConfig, flatten, preset
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import checkpoint, serialization
from zerodce_jax.models.network import Network
from zerodce_jax.models.pytorch_pickle import read_state_dict

GOLDEN_FILES = [
    f"{name}_random{kind}"
    for name in ("reduced", "original", "plusplus")
    for kind in ("", "_legacy")
]
ODD = NetworkConfig(features=8, pool=True, iterations=4, scale=12)
ODD_SHARED = NetworkConfig(features=5, separable=True, shared_curve=True, pool=True, iterations=3)


def assert_same(ours: Network, theirs: Network) -> None:
    """Every tensor is the same bit by bit, and so are configuration and settings."""
    assert ours.config == theirs.config
    assert ours.settings == theirs.settings
    ours_flat, theirs_flat = flatten(ours.params), flatten(theirs.params)
    assert set(ours_flat) == set(theirs_flat) == set(ours.config.param_shapes)
    for name, array in ours_flat.items():
        assert array.dtype == theirs_flat[name].dtype == np.float32
        assert array.tobytes() == theirs_flat[name].tobytes(), name


def torch_file(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """A .pth of the preset `reduced` with something changed in it."""
    tensors = pytorch_layout.to_torch(any_network(NetworkConfig.reduced()))
    change(tensors)
    path.write_bytes(pth_files.both(tensors)[0])
    return path


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_pth_to_orbax_to_safetensors_and_back(name: str, goldens: Path, tmp_path: Path) -> None:
    original = serialization.load_network(goldens / f"{name}.pth")
    assert original.config.preset == name.split("_")[0]
    serialization.save_network(original, tmp_path / "net")
    from_orbax = serialization.load_network(tmp_path / "net")
    assert_same(from_orbax, original)

    torch_layout = tmp_path / "torch.safetensors"
    serialization.save_network(from_orbax, torch_layout, layout="torch")
    # What torch would load: the names and OIHW arrays of the .pth, nothing more or less.
    as_torch_sees = safetensors.numpy.load_file(torch_layout)
    as_it_was = read_state_dict(goldens / f"{name}.pth")
    assert set(as_torch_sees) == set(as_it_was)
    for key, array in as_it_was.items():
        assert as_torch_sees[key].shape == array.shape
        assert as_torch_sees[key].dtype == array.dtype
        assert as_torch_sees[key].tobytes() == array.tobytes()
    assert_same(serialization.load_network(torch_layout), original)

    serialization.save_network(
        serialization.load_network(torch_layout), tmp_path / "jax.safetensors"
    )
    assert_same(serialization.load_network(tmp_path / "jax.safetensors"), original)


@pytest.mark.parametrize("config", [ODD, ODD_SHARED], ids=["dense", "separable"])
def test_the_whole_config_travels(config: NetworkConfig, tmp_path: Path) -> None:
    network = any_network(config)
    for name, layout in (("net", "jax"), ("j.safetensors", "jax"), ("t.safetensors", "torch")):
        serialization.save_network(network, tmp_path / name, layout=layout)
        loaded = serialization.load_network(tmp_path / name)
        assert_same(loaded, network)
        assert loaded.notes == ()


SETTINGS = [
    EnhanceSettings(),
    EnhanceSettings.adaptive(),
    EnhanceSettings(exposure=0.55, gamma=0.9, strength=1.3, protect_highlights=0.25, denoise=1),
]
FILES = [("net", "jax"), ("jax.safetensors", "jax"), ("torch.safetensors", "torch")]


@pytest.mark.parametrize(("name", "layout"), FILES)
def test_settings_travel_with_the_network(name: str, layout: str, tmp_path: Path) -> None:
    for settings in SETTINGS:
        network = replace(any_network(ODD_SHARED), settings=settings)
        serialization.save_network(network, tmp_path / name, layout=layout)
        assert_same(serialization.load_network(tmp_path / name), network)
    # At another scale it is still the same network.
    assert serialization.load_network(tmp_path / name, scale=3).settings == SETTINGS[-1]


def test_settings_go_from_format_to_format(tmp_path: Path) -> None:
    network = replace(any_network(ODD), settings=SETTINGS[2])
    for name, layout in (*FILES, *FILES):
        serialization.save_network(network, tmp_path / name, layout=layout)
        network = serialization.load_network(tmp_path / name)
    assert_same(network, replace(any_network(ODD), settings=SETTINGS[2]))


def test_files_that_say_nothing_of_settings_have_the_recipe_of_the_original(
    goldens: Path, tmp_path: Path
) -> None:
    recipe = EnhanceSettings(exposure="off", gamma=1.15)
    assert serialization.load_network(goldens / "reduced_random.pth").settings == recipe
    network = replace(any_network(ODD), settings=SETTINGS[1])
    config = {"config": json.dumps(ODD.to_dict())}
    safetensors.numpy.save_file(flatten(network.params), tmp_path / "jax.safetensors", config)
    tensors = {
        name: np.ascontiguousarray(array)
        for name, array in pytorch_layout.to_torch(network).items()
    }
    given = {"torch": config | {"format": "pt"}, "bare": None}
    for name, metadata in given.items():
        safetensors.numpy.save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
    folder = tmp_path / "net"
    serialization.save_network(network, folder)
    checkpoint.write_config(folder, {"network": ODD.to_dict()})
    for name in ("jax.safetensors", "torch.safetensors", "bare.safetensors", "net"):
        assert serialization.load_network(tmp_path / name).settings == recipe


def test_some_settings_leave_the_others_to_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    serialization.save_network(replace(any_network(ODD), settings=SETTINGS[1]), folder)
    some = {"network": ODD.to_dict(), "settings": {"exposure": 0.3}}
    checkpoint.write_config(folder, some)
    assert serialization.load_network(folder).settings == EnhanceSettings(exposure=0.3)


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
def test_settings_in_files_that_make_no_sense(settings: str, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    serialization.save_network(any_network(ODD), path, layout=layout)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | {"settings": settings}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)
    message = refusal_of(path)
    assert message is not None
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    assert BAD_SETTINGS[settings] in message


@pytest.mark.parametrize("settings", ["", "{", "null", "3", "[]", "[1]", '"auto"'])
def test_metadata_that_are_no_settings(settings: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    metadata = {"config": json.dumps(ODD.to_dict()), "settings": settings}
    safetensors.numpy.save_file(flatten(any_network(ODD).params), path, metadata)
    message = refusal_of(path)
    assert message is not None
    assert message.startswith(f"{path}: its metadata describe no network")


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_settings_in_folders_that_make_no_sense(settings: str, tmp_path: Path) -> None:
    config = f'{{"network": {json.dumps(ODD.to_dict())}, "settings": {settings}}}'
    (tmp_path / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError) as caught:
        serialization.load_network(tmp_path)
    message = str(caught.value)
    assert not isinstance(caught.value, UsageError)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{tmp_path / checkpoint.CONFIG_FILE}: ")
    assert BAD_SETTINGS[settings] in message


@pytest.mark.parametrize("settings", ["null", "3", "[]", "[1]"])
def test_folders_whose_settings_are_none(settings: str, tmp_path: Path) -> None:
    config = f'{{"network": {json.dumps(ODD.to_dict())}, "settings": {settings}}}'
    (tmp_path / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError, match=f"^{tmp_path / checkpoint.CONFIG_FILE}: "):
        serialization.load_network(tmp_path)


@pytest.mark.parametrize("part", ["config", "settings"])
def test_metadata_too_deep_to_read(part: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    metadata = {"config": json.dumps(ODD.to_dict())} | {part: "[" * 200_000}
    safetensors.numpy.save_file(flatten(any_network(ODD).params), path, metadata)
    with pytest.raises(InputError, match=f"^{path}: its metadata describe no network"):
        serialization.load_network(path)
    (tmp_path / checkpoint.CONFIG_FILE).write_text("[" * 200_000)
    with pytest.raises(InputError, match="damaged"):
        serialization.load_network(tmp_path)


def test_metadata_names_format_and_preset(tmp_path: Path) -> None:
    network = any_network(replace(preset("plusplus"), scale=12))
    for layout, kind in (("jax", "jax"), ("torch", "pt")):
        path = tmp_path / f"{layout}.safetensors"
        serialization.save_network(network, path, layout=layout)
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        assert metadata["format"] == kind
        assert metadata["preset"] == "plusplus"
        assert json.loads(metadata["config"]) == network.config.to_dict()
        assert json.loads(metadata["settings"]) == network.settings.to_dict()


def test_names_and_layouts_by_hand() -> None:
    kernel = np.arange(3 * 3 * 3 * 16, dtype=np.float32).reshape(16, 3, 3, 3)
    tensors = pytorch_layout.to_torch(any_network(NetworkConfig.reduced()))
    ours = pytorch_layout.from_torch(tensors | {"e_conv1.weight": kernel}).params["conv1"]["kernel"]
    # (out, in, height, width) becomes (height, width, in, out).
    assert ours.shape == (3, 3, 3, 16)
    assert ours[2, 1, 0, 5] == kernel[5, 0, 2, 1]
    separable = pytorch_layout.to_torch(any_network(preset("plusplus")))
    assert separable["e_conv2.depth_conv.weight"].shape == (32, 1, 3, 3)
    assert separable["e_conv7.point_conv.weight"].shape == (3, 64, 1, 1)


def test_module_prefixes_of_data_parallel(goldens: Path) -> None:
    tensors = read_state_dict(goldens / "reduced_random.pth")
    parallel = pytorch_layout.from_torch(
        {f"module.{name}": array for name, array in tensors.items()}
    )
    assert_same(parallel, pytorch_layout.from_torch(tensors))


@pytest.mark.parametrize(
    ("config", "recognised"),
    [
        (NetworkConfig.reduced(), "preset reduced, with its max-pool"),
        (NetworkConfig.original(), "preset original, without a max-pool"),
        (NetworkConfig.plusplus(), "preset plusplus, without a max-pool"),
        (NetworkConfig(features=8, pool=False), "architecture of its own, without a max-pool"),
        (NetworkConfig(features=16, iterations=4), "architecture of its own, with its max-pool"),
    ],
)
def test_shapes_tell_the_architecture(config: NetworkConfig, recognised: str) -> None:
    network = pytorch_layout.from_torch(
        pytorch_layout.to_torch(any_network(config)), source="net.pth"
    )
    assert network.config == config
    (note,) = network.notes
    assert note.startswith("net.pth: ")
    assert recognised in note
    assert "--preset" in note


def test_preset_overrides_what_shapes_suggest(goldens: Path) -> None:
    network = serialization.load_network(goldens / "reduced_random.pth", preset="reduced")
    assert network.config == preset("reduced")
    assert network.notes == ()
    with pytest.raises(InputError, match="do not fit original"):
        serialization.load_network(goldens / "reduced_random.pth", preset="original")
    with pytest.raises(UsageError, match="no preset 'tiny'"):
        serialization.load_network(goldens / "reduced_random.pth", preset="tiny")


def test_scale_can_be_set(goldens: Path) -> None:
    network = serialization.load_network(goldens / "plusplus_random.pth", scale=12)
    assert network.config == replace(preset("plusplus"), scale=12)
    with pytest.raises(UsageError, match="scale"):
        serialization.load_network(goldens / "plusplus_random.pth", scale=0)


def test_number_of_parameters(goldens: Path) -> None:
    assert serialization.load_network(goldens / "reduced_random.pth").parameters == 23_592


def misfit(tensors: dict[str, np.ndarray]) -> None:
    del tensors["e_conv2.bias"]
    del tensors["e_conv5.weight"]
    tensors["e_conv8.weight"] = np.zeros((3, 4, 5, 6), np.float32)
    tensors["extra"] = np.zeros(7, np.float32)
    tensors["e_conv3.weight"] = np.zeros((16, 15, 3, 3), np.float32)
    tensors["e_conv4.bias"] = np.zeros(17, np.float32)


MISFITS = [
    "e_conv2.bias: missing, expected (16,)",
    "e_conv5.weight: missing, expected (3, 3, 32, 16)",
    "e_conv8.weight: left over, shape (5, 6, 4, 3)",
    "extra: left over, shape (7,)",
    "e_conv3.weight: shape (3, 3, 15, 16), expected (3, 3, 16, 16)",
    "e_conv4.bias: shape (17,), expected (16,)",
]


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_everything_that_does_not_fit_is_named_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{kind}"
    if kind == "pth":
        torch_file(path, misfit)
    else:
        tensors = pytorch_layout.to_torch(any_network(NetworkConfig.reduced()))
        misfit(tensors)
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        safetensors.numpy.save_file(contiguous, path)
    with pytest.raises(InputError) as caught:
        serialization.load_network(path)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{path}: 6 tensors do not fit reduced")
    assert sorted(line.strip() for line in lines) == sorted(MISFITS)


def test_misfits_of_the_jax_layout_go_by_our_names(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    config = NetworkConfig.reduced()
    flat = flatten(any_network(config).params)
    flat["conv1.kernel"] = np.zeros((3, 3, 3, 15), np.float32)
    del flat["conv7.bias"]
    safetensors.numpy.save_file(flat, path, {"config": json.dumps(config.to_dict())})
    with pytest.raises(InputError) as caught:
        serialization.load_network(path)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "conv7.bias: missing, expected (24,)",
        "conv1.kernel: shape (3, 3, 3, 15), expected (3, 3, 3, 16)",
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
def test_other_networks_are_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"other\.pth: not a DCE-Net"):
        pytorch_layout.from_torch(tensors, source="other.pth")


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        "[1]",
        "null",
        '{"features": 0}',
        '{"features": "many"}',
        '{"colour": 1}',
    ],
)
def test_metadata_that_describe_no_network(metadata: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, path, {"config": metadata})
    with pytest.raises(InputError, match=f"{path}: its metadata describe no network") as caught:
        serialization.load_network(path)
    assert not isinstance(caught.value, UsageError)


def test_metadata_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    flat = flatten(any_network(NetworkConfig.reduced()).params)
    other = {"config": json.dumps(NetworkConfig(features=32).to_dict())}
    safetensors.numpy.save_file(flat, path, other)
    with pytest.raises(InputError, match="tensors do not fit its config"):
        serialization.load_network(path)


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    serialization.save_network(any_network(NetworkConfig(features=2)), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole + b"x", bytes(8) + whole, b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=str(path)):
            serialization.load_network(path)


def test_safetensors_of_types_that_numpy_has_not(tmp_path: Path) -> None:
    path = tmp_path / "brain.safetensors"
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match=str(path)):
        serialization.load_network(path)


def test_steps_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    network = any_network(ODD)
    serialization.save_network(network, folder)
    assert_same(serialization.load_network(f"{folder}@0"), network)
    assert_same(serialization.load_network(Path(f"{folder}@0")), network)
    with pytest.raises(InputError, match=rf"{folder}: no checkpoint of step 7; there are 0"):
        serialization.load_network(f"{folder}@7")


def test_folders_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for source in (tmp_path / "photos", f"{tmp_path}/photos@3", f"{tmp_path}/missing@3"):
        with pytest.raises(InputError, match="holds no checkpoint of this program"):
            serialization.load_network(source)


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
def test_folders_with_a_damaged_config(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / checkpoint.CONFIG_FILE).write_text(config)
    with pytest.raises(InputError, match=str(folder)) as caught:
        serialization.load_network(folder)
    # A damaged file is no wrong usage.
    assert not isinstance(caught.value, UsageError)


def test_folder_without_a_finished_step(tmp_path: Path) -> None:
    checkpoint.write_config(tmp_path, {"network": ODD.to_dict()})
    with pytest.raises(InputError, match="no finished checkpoint"):
        serialization.load_network(tmp_path)


def test_folder_whose_config_does_not_fit_its_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    serialization.save_network(any_network(ODD), folder)
    checkpoint.write_config(folder, {"network": replace(ODD, features=9).to_dict()})
    with pytest.raises(InputError, match=rf"{folder}: the parameters of step 0 do not fit"):
        serialization.load_network(folder)


def refusal_of(source: Path) -> str | None:
    """What is said where a network is refused, or None where it is not."""
    try:
        serialization.load_network(source)
    except InputError as error:
        return str(error)
    return None


# Orbax leaves unfinished reads behind, which complain when they are collected.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_folder_with_damaged_files(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    serialization.save_network(any_network(ODD), folder)
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
            # Orbax keeps parts that are never read.
            if message is not None:
                assert str(folder) in message
                assert len(message.splitlines()) == 1
                refused += 1
    assert refused >= 3
    serialization.load_network(folder)
    gc.collect()


def test_unknown_names_list_the_shipped_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "shipped", lambda: ["one", "two"])
    with pytest.raises(InputError, match=r"^nonesuch: no such network file.*\(one, two\)"):
        serialization.load_network("nonesuch")


def test_a_package_without_its_folder_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As git leaves it while no network ships: it keeps no empty folders.
    monkeypatch.setattr(serialization.resources, "files", lambda _: tmp_path)
    assert serialization.shipped_networks() == []
    with pytest.raises(InputError, match=r"no such network file.*\(none yet\)"):
        serialization.load_network("reduced")


def test_shipped_networks_load_by_their_names_with_settings_of_their_own() -> None:
    for name in serialization.shipped_networks():
        network = serialization.load_network(name)
        assert network.parameters > 0
        assert (network.settings.exposure, network.settings.gamma) == ("auto", 1)
        assert network.settings.protect_highlights > 0


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".npz", ".onnx"])
def test_formats_that_are_not_written(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors or as a folder"):
        serialization.save_network(any_network(ODD), tmp_path / f"net{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_failed_writes_leave_what_was_there(
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
                serialization.save_network(any_network(ODD), path)

    write()
    assert list(tmp_path.iterdir()) == []
    serialization.save_network(any_network(ODD, seed=1), path)
    write()
    assert list(tmp_path.iterdir()) == [path]
    assert_same(serialization.load_network(path), any_network(ODD, seed=1))


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    for path in (tmp_path / "net.safetensors", tmp_path / "net" / "config.json"):
        serialization.save_network(any_network(ODD), tmp_path / path.relative_to(tmp_path).parts[0])
        (tmp_path / "plain").touch()
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_networks_are_replaced_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "below" / name
    serialization.save_network(any_network(ODD, seed=1), path)
    serialization.save_network(any_network(ODD_SHARED, seed=2), path)
    assert_same(serialization.load_network(path), any_network(ODD_SHARED, seed=2))
    assert list(path.parent.iterdir()) == [path]


def test_round_trip_finds_no_difference() -> None:
    network = any_network(ODD)
    rows = serialization.round_trip_differences(network)
    assert [(name, shape) for name, shape, _ in rows] == list(ODD.param_shapes.items())
    assert all(difference == 0 for *_, difference in rows)


def test_round_trip_finds_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    real = safetensors.numpy.save

    def coarse(tensors: dict[str, np.ndarray], *rest: object) -> bytes:
        return real({name: array.astype(np.float16) for name, array in tensors.items()}, *rest)

    monkeypatch.setattr(safetensors.numpy, "save", coarse)
    differences = {
        name: difference
        for name, _, difference in serialization.round_trip_differences(any_network(ODD))
    }
    assert 0 < differences["conv1.kernel"] < 1e-2
