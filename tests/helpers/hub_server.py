"""A local server with the part of the Hugging Face hub's HTTP interface that the tests use.

Repositories are in memory. As on the hub, the client uploads .safetensors through Git LFS, and
other files inside the commit.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_of_the_tests"


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})


@dataclass
class Hub:
    address: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut_off: int | None = None
    """Number of bytes after which downloads break off; None for complete downloads."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def _reply(self, status: int, content: Any = b"", **headers: str) -> None:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers["Content_Type"] = "application/json"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if self.hub.cut_off is None else content[: self.hub.cut_off])
            if self.hub.cut_off is not None and len(content) > self.hub.cut_off:
                self.close_connection = True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _handle(self) -> None:
        path, _, _ = self.path.partition("?")
        self.hub.requests.append(f"{self.command} {path}")
        body = self._body()
        if path.startswith("/lfs/"):
            self.hub.stored[path.removeprefix("/lfs/")] = body
            return self._reply(200)
        if self.command in ("GET", "HEAD"):
            if path == "/api/whoami-v2":
                return self._reply(200, {"name": "tester", "type": "user"})
            match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if match:
                return self._resolve(*match.groups())
            return self._reply(404)
        if not self._authorized():
            return self._reply(401, {"error": "Invalid username or password."})
        return self._write(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._authorized()):
            return self._reply(401, X_Error_Code="RepoNotFound")
        if repo.gated and not self._authorized():
            return self._reply(403, X_Error_Code="GatedRepo")
        commits = {_commit_id(files): files for files in repo.branches.values()}
        files = (commits | repo.branches).get(revision)
        if files is None:
            return self._reply(404, X_Error_Code="RevisionNotFound")
        commit = {"X_Repo_Commit": _commit_id(files)}
        if file not in files:
            return self._reply(404, X_Error_Code="EntryNotFound", **commit)
        etag = f'"{hashlib.sha256(files[file]).hexdigest()}"'
        return self._reply(200, files[file], ETag=etag, **commit)

    def _write(self, path: str, body: bytes) -> None:
        hub = self.hub
        if path == "/api/validate-yaml":
            return self._reply(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            request = json.loads(body)
            owner = request.get("organization") or "tester"
            name = f"{owner}/{request['name']}"
            if name in hub.repos:
                return self._reply(409, {"url": f"{hub.address}/{name}"})
            if owner != "tester":
                return self._reply(403, {"error": f"You don't have the rights for {owner}"})
            hub.repos[name] = Repo(private=request.get("visibility") == "private")
            return self._reply(200, {"url": f"{hub.address}/{name}"})
        lfs = re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
        if lfs:
            objects = [
                {**entry, "actions": {"upload": {"href": f"{hub.address}/lfs/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            return self._reply(200, {"transfer": "basic", "objects": objects})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)", path)
        if not match or match[1] not in hub.repos:
            return self._reply(404, X_Error_Code="RepoNotFound")
        repo, action, branch = hub.repos[match[1]], match[2], match[3]
        if action == "branch":
            repo.branches.setdefault(branch, dict(repo.branches["main"]))
            return self._reply(200)
        if branch not in repo.branches:
            return self._reply(404, X_Error_Code="RevisionNotFound")
        if action == "preupload":
            files = [
                {
                    "path": entry["path"],
                    "uploadMode": "lfs" if entry["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for entry in json.loads(body)["files"]
            ]
            return self._reply(200, {"files": files})
        files = dict(repo.branches[branch])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.stored[value["oid"]]
        repo.branches[branch] = files
        commit = _commit_id(files)
        address = f"{hub.address}/{match[1]}/commit/{commit}"
        return self._reply(200, {"commitUrl": address, "commitOid": commit, "success": True})


def _commit_id(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """Run a hub on the loopback interface."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
