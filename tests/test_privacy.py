"""Nothing phones home: commands look nothing up, connect nowhere, and leave no files elsewhere."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import ROOT, hub_server

# Runs the commands of a list of arguments, in one process, because importing libraries is slow.
RUN = """
import json, os, signal, sys, threading, time
from collections.abc import Callable
from pathlib import Path
from zerodce_jax.cli import main

def wait_for(found):
    while not (value := found()):
        time.sleep(0.02)
    return value

def stop_watching(result):
    wait_for(result.exists)
    os.kill(os.getpid(), signal.SIGINT)

def stop_the_page():
    # The command must import Gradio itself, after it has set variables.
    blocks = wait_for(lambda: getattr(sys.modules.get("gradio"), "Blocks", None))
    blocks.block_thread = lambda page: time.sleep(0.5)

def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()

for command in json.loads(sys.argv[1]):
    if command[0] == "watch":
        start(stop_watching, Path(command[3]) / "a.png")
    if command[0] == "app":
        start(stop_the_page)
    assert main(command) == 0, command
"""


_DESTINATION = re.compile(r'->\[?([\da-f.:]+?)\]?:(\d+)\]>|htons\((\d+)\).*"([\da-f.:]+)"')
"""Address and port of a call: of a connected socket, or port and address of an argument."""


def traced(code: str, *arguments: str, log: Path, **variables: str) -> list[str]:
    """Run Python, and return the calls of its processes that reach another machine."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True).returncode:
        pytest.skip("strace is not installed, or not allowed")
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    # The package has set variables in this process, which the other process must set itself.
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
    options = ("-f", "-yy", "--seccomp-bpf", "-qq", "-e", calls, "-e", "signal=none", "-o", log)
    subprocess.run(
        [strace, *options, sys.executable, "-c", code, *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        cwd=log.parent,
        check=True,
    )
    own = {"127.0.0.1", "::1", _own_address()}
    return [line for line in log.read_text().splitlines() if _leaves_the_machine(line, own)]


def _leaves_the_machine(call: str, own: set[str]) -> bool:
    if re.search(r" connect\(\d+<UDP", call):
        return False  # This sends nothing. It is how programs learn the address of their machine.
    if (found := _DESTINATION.search(call)) is None:
        return "systemd.Resolve" in call
    address, port = found[1] or found[4], found[2] or found[3]
    # Lookups go to port 53, also if a server on this machine answers them.
    return port == "53" or address.removeprefix("::ffff:") not in own


def _own_address() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""  # There is no network.
        return str(probe.getsockname()[0])


def test_calls_that_leave_the_machine_are_seen(tmp_path: Path) -> None:
    code = (
        "import contextlib, socket\n"
        "stream = socket.socket()\n"
        "stream.setblocking(False)\n"
        "datagrams = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for address in ('127.0.0.1', '198.51.100.1'):\n"
        "    for connect in (datagrams.connect, stream.connect_ex):\n"
        "        with contextlib.suppress(OSError):\n"
        "            connect((address, 9))\n"
        "with contextlib.suppress(OSError):\n"
        "    datagrams.send(b'1')\n"
        "with contextlib.suppress(OSError):\n"
        "    socket.getaddrinfo('zerodce-jax.invalid', 9)\n"
    )
    connection, *others = traced(code, log=tmp_path / "log")
    assert '"198.51.100.1"' in connection
    assert "connect" in connection
    # The datagram, if there is a network, and the lookup.
    assert any(re.search("53[)\\]]", call) for call in others), others


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.needs("gradio", "ray", "pyarrow", "huggingface_hub", "watchfiles")
def test_commands_reach_no_other_machine_and_keep_files_in_their_cache_folder(
    photographs: Path, network: Path, tmp_path: Path, open_folder: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(photographs / "0.png", tmp_path / "in" / "a.png")
    shutil.copy(network, tmp_path / "net.safetensors")
    net = "-m net.safetensors"
    commands = [
        "enhance in -o out/scene --engine onnx",
        f"enhance in -o out/xla --engine xla --tile 32 {net}",
        f"watch in -o out/watched --engine onnx {net}",
        f"cluster in out/cluster --engine onnx {net}",
        "convert net.safetensors out/converted.safetensors",
        "train --data in --workdir out/run --init net.safetensors --steps 1 --image-size 16"
        " --batch-size 1",
        "evaluate net.safetensors --images in --engine onnx",
        f"export out/net.onnx {net}",
        "push net.safetensors tester/net --license cc0-1.0",
        "app --port 0 --engine onnx --no-browser",
    ]
    variables = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "temporary"}
    folders = {name: tmp_path / folder for name, folder in variables.items()}
    for folder in folders.values():
        folder.mkdir()
    with hub_server.running() as hub:
        calls = traced(
            RUN,
            json.dumps([command.split() for command in commands]),
            log=tmp_path / "log",
            **{name: str(folder) for name, folder in folders.items()},
            # The names of its sockets must be short.
            RAY_TMPDIR=str(open_folder),
            HF_ENDPOINT=hub.address,
            HF_HUB_DISABLE_XET="1",
            HF_TOKEN=hub_server.TOKEN,
        )
    assert calls == []
    made = {path.name for path in (tmp_path / "out").iterdir()}
    files = {"converted.safetensors", "net.onnx"}
    assert made == {"scene", "xla", "watched", "cluster", "run"} | files
    assert list(folders["HOME"].iterdir()) == []
    assert list(folders["TMPDIR"].iterdir()) == []
    assert [path.name for path in folders["XDG_CACHE_HOME"].iterdir()] == ["zerodce_jax"]
    made = {"cache", "home", "in", "log", "net.safetensors", "out", "temporary"}
    assert {path.name for path in tmp_path.iterdir()} == made


def test_variables_that_the_user_has_set_are_kept(python: Callable) -> None:
    names = "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"
    code = f"import os, zerodce_jax\nprint(*map(os.environ.get, {names}))"
    assert python("-c", code, **dict.fromkeys(names, "0")).stdout == "0 0\n"
