"""Tests of hub.py and publish.py: the real client, in processes, with a local hub."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import GOLDENS, hub_server
from helpers.command import run
from helpers.hub_server import Hub, Repo
from zerodce_jax.errors import InputError, install_command
from zerodce_jax.models import publish
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.models.serialization import load_network, to_safetensors

Zerodce = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as server:
        yield server


@pytest.fixture
def zerodce(hub: Hub, tmp_path: Path, environment: dict[str, str]) -> Zerodce:
    """Return a function that runs the command line in a process, with the local hub."""

    def run_process(
        *arguments: object, token: bool = True, **variables: str
    ) -> subprocess.CompletedProcess:
        hub_environment = {
            **environment,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **({"HF_TOKEN": hub_server.TOKEN} if token else {}),
            **variables,
        }
        command = [sys.executable, "-m", "zerodce_jax", *map(str, arguments)]
        return subprocess.run(
            command, env=hub_environment, capture_output=True, text=True, cwd=tmp_path
        )

    return run_process


def publish_to(hub: Hub, name: str = "tester/net", **options: bool) -> Network:
    """Store a network in the local hub and return it."""
    network = load_network(GOLDENS / "reduced_random.pth")
    files = {"model.safetensors": to_safetensors(network)}
    hub.repos[name] = Repo(branches={"main": files}, **options)
    return network


def assert_same(file: Path, network: Network) -> None:
    stored = load_network(file)
    assert (stored.config, stored.settings) == (network.config, network.settings)
    for name, array in flatten(network.params).items():
        np.testing.assert_array_equal(flatten(stored.params)[name], array)


def assert_one_line(result: subprocess.CompletedProcess, address: str, cause: str) -> None:
    assert result.stderr.startswith(f"zerodce: {address}: ")
    assert cause in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.needs("huggingface_hub")
def test_pushed_networks_can_be_loaded(
    hub: Hub, zerodce: Zerodce, scene_file: Path, tmp_path: Path
) -> None:
    result = zerodce("push", scene_file, "tester/net", "--license", "cc0-1.0", "--private")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{hub.address}/tester/net/commit/")
    assert hub.repos["tester/net"].private
    files = hub.repos["tester/net"].branches["main"]
    assert sorted(files) == ["README.md", "model.safetensors"]
    card = files["README.md"].decode()
    assert card.startswith("---\nlicense: cc0-1.0\nlibrary_name: zerodce-jax\n")
    assert 'Enhancer.load("hf://tester/net")' in card

    fetched = tmp_path / "fetched.safetensors"
    result = zerodce("convert", "hf://tester/net", fetched)
    assert result.returncode == 0, result.stderr
    assert_same(fetched, load_network(scene_file))

    # A second push keeps the model card.
    files["README.md"] = b"written by hand"
    result = zerodce("push", "reduced", "tester/net", "--license", "other")
    assert result.returncode == 0, result.stderr
    assert "note: kept the existing README.md" in result.stderr
    assert hub.repos["tester/net"].branches["main"]["README.md"] == b"written by hand"
    result = zerodce("convert", "hf://tester/net@main/model.safetensors", fetched, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert_same(fetched, load_network("reduced"))

    result = zerodce("push", scene_file, "tester/net", "--revision", "other")
    assert result.returncode == 0, result.stderr
    assert set(hub.repos["tester/net"].branches) == {"main", "other"}
    result = zerodce("convert", "hf://tester/net@other", fetched, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert_same(fetched, load_network(scene_file))


@pytest.mark.slow
@pytest.mark.needs("huggingface_hub")
def test_downloads_are_cached_for_offline_use(hub: Hub, zerodce: Zerodce, tmp_path: Path) -> None:
    network = publish_to(hub)
    out = tmp_path / "net.safetensors"
    offline = {"HF_HUB_OFFLINE": "1"}
    result = zerodce("convert", "hf://tester/net", out, **offline)
    assert result.returncode == 1
    message = "zerodce: hf://tester/net: cannot reach the hub, and model.safetensors is not in"
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    # A download that breaks off leaves no file in the cache.
    hub.cut_off = 10_000
    result = zerodce("convert", "hf://tester/net", out)
    assert result.returncode == 1
    assert_one_line(result, "hf://tester/net", "10000 bytes")
    assert not out.exists()
    hub.cut_off = None
    assert zerodce("convert", "hf://tester/net", out).returncode == 0
    assert_same(out, network)
    hub.requests.clear()
    assert zerodce("convert", "hf://tester/net", out, "--overwrite").returncode == 0
    assert [request for request in hub.requests if request.startswith("GET")] == []
    hub.requests.clear()
    assert zerodce("convert", "hf://tester/net", out, "--overwrite", **offline).returncode == 0
    assert hub.requests == []
    # The cache also serves when the hub cannot be reached.
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    result = zerodce("convert", "hf://tester/net", out, "--overwrite", **unreachable)
    assert (result.returncode, result.stderr) == (0, "")
    assert_same(out, network)
    result = zerodce("push", "reduced", "tester/net", **unreachable)
    assert result.returncode == 1
    assert_one_line(result, "hf://tester/net", "Connection refused")
    result = zerodce("convert", "hf://tester/other", out, "--overwrite", **unreachable)
    assert result.returncode == 1
    assert_one_line(result, "hf://tester/other", "cannot reach the hub")


@pytest.mark.slow
@pytest.mark.needs("huggingface_hub")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://tester/none", "does not exist, or is private (run hf auth login)"),
        ("hf://tester/private", "does not exist, or is private (run hf auth login)"),
        ("hf://tester/gated", "gated; request access on its page, then run hf auth login"),
        ("hf://tester/net@v9", "this revision does not exist"),
        ("hf://tester/net/other.safetensors", "does not contain other.safetensors"),
    ],
)
def test_failed_downloads_give_one_line(
    address: str, message: str, hub: Hub, zerodce: Zerodce, tmp_path: Path
) -> None:
    publish_to(hub)
    publish_to(hub, "tester/private", private=True)
    publish_to(hub, "tester/gated", gated=True)
    result = zerodce("convert", address, "net.safetensors", token=False)
    assert (result.returncode, result.stderr) == (1, f"zerodce: {address}: {message}\n")
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.slow
@pytest.mark.needs("huggingface_hub")
def test_push_needs_a_token_with_write_access(hub: Hub, zerodce: Zerodce) -> None:
    for repo, token in (("tester/net", False), ("somebody/net", True)):
        result = zerodce("push", "reduced", repo, token=token)
        assert result.returncode == 1
        assert_one_line(result, f"hf://{repo}", "")
        assert hub.repos == {}


@pytest.mark.parametrize("address", ["hf://net", "hf://a/b/c", "hf://a/b@", "hf://a/b/c.pth"])
def test_malformed_addresses_are_refused(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", address, tmp_path / "net.safetensors") == 2
    assert "must be hf://OWNER/NAME[@REVISION][/FILE.safetensors]" in capsys.readouterr().err


@pytest.mark.parametrize("repo", ["net", "a/b/c", "https://huggingface.co/a/b", ""])
def test_malformed_repository_names_are_refused(
    repo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "reduced", repo) == 2
    assert capsys.readouterr().err == f"zerodce: {repo}: must be OWNER/NAME\n"


def test_the_error_names_the_extra_of_a_missing_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments in (
        ("convert", "hf://a/b", tmp_path / "n.safetensors"),
        ("push", "reduced", "a/b"),
    ):
        assert run(*arguments) == 2
        assert install_command("hub") in capsys.readouterr().err


def test_the_model_card_describes_the_network() -> None:
    network = load_network("reduced")
    card = publish.model_card(network, "me/night", None)
    assert card.startswith("---\nlibrary_name: zerodce-jax\n")
    assert "\n# night\n" in card
    assert "23,592 parameters\n(reduced)" in card
    assert "- exposure: auto" in card


@pytest.mark.needs("huggingface_hub")
def test_a_user_without_a_home_folder_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", homeless)
    with pytest.raises(InputError, match=r"^hf://some/net: Could not determine home directory\.$"):
        load_network("hf://some/net")
