"""A stand-in of the Hugging Face hub's HTTP API on loopback, for models and data sets that lie in folders."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

OLD_OWNER = "legacy"  # a name without an owner is redirected to one, as the hub does with its oldest models
REPO = re.compile(r"/api/(models|datasets)/(.+?)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
WRITE = re.compile(r"/api/(?:(repos/create|validate-yaml)|models/(.+)/(preupload|commit)/main)")
FILE = re.compile(r"/(datasets/)?(.+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """What the hub holds, `root/<models|datasets>/<owner>/<name>/…`, and how it behaves.

    Attributes:
        revisions: commit by branch or tag. private, gated: the token that may read, by model.
        writer: the token that may create and write models.
        failing: answers of this status to all requests whose path matches, while it is set.
        cut: the next file of more bytes than this is cut there, once. asked: the paths of all requests.
    """

    root: Path
    url: str = ""
    revisions: dict[str, str] = field(default_factory=lambda: {"main": "a" * 40, "v1": "b" * 40})
    private: dict[str, str] = field(default_factory=dict)
    gated: dict[str, str] = field(default_factory=dict)
    writer: str | None = None
    failing: tuple[str, int] | None = None
    cut: int | None = None
    asked: list[str] = field(default_factory=list)

    def folder(self, kind: str, name: str) -> Path | None:
        """Where a model or data set lies."""
        places = (self.root / kind / name, self.root / kind / OLD_OWNER / name)
        return next((place for place in places if place.is_dir() and place.parent != self.root / kind), None)

    def commit(self, revision: str) -> str | None:
        """The commit a revision stands for."""
        return revision if revision in self.revisions.values() else self.revisions.get(revision)


@contextmanager
def hub_at(root: Path) -> Iterator[Hub]:
    """Serve what lies in `root`."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def in_use(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process's library know no other hub, and keep what it fetches in `cache`."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": str(cache),
                        "HF_HUB_OFFLINE": False}.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts
    close_session()
    yield
    close_session()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        self.hub.asked.append(self.path)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self._body()
        if match := WRITE.fullmatch(unquote(urlparse(self.path).path)):
            return self._write((match[1] or match[3]).removeprefix("repos/"), match[2] or "", body)
        match = REPO.fullmatch(unquote(urlparse(self.path).path))
        folder = self.hub.folder(match[1], match[2]) if match else None
        if folder is None:
            return self._send(404)
        named = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
        return self._json([_entry(folder, name) for name in named.get("paths", []) if (folder / name).is_file()])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _write(self, verb: str, name: str, body: bytes) -> None:
        """Create a model, or commit files to it, at once."""
        if self.hub.failing and re.search(self.hub.failing[0], self.path):
            self._send(self.hub.failing[1])
        elif verb == "validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.hub.writer}":
            self._send(401, b'{"error": "Invalid username or password."}')
        elif verb == "create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            (self.hub.root / "models" / name).mkdir(parents=True, exist_ok=True)
            if asked.get("visibility") == "private":
                self.hub.private[name] = str(self.hub.writer)
            self._json({"url": f"{self.hub.url}/{name}"})
        elif verb == "preupload":
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for each in json.loads(body)["files"]]  # fmt: skip
            self._json({"files": files})
        else:
            for line in map(json.loads, body.splitlines()):
                place = self.hub.root / "models" / name / line["value"].get("path", "")
                if line["key"] == "file":
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(base64.b64decode(line["value"]["content"]))
                elif line["key"] == "deletedFile":
                    place.unlink()
            commit = self.hub.revisions["main"]
            self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        if self.hub.failing and re.search(self.hub.failing[0], path):
            return self._send(self.hub.failing[1])
        if match := REPO.fullmatch(path):
            return self._repo(match[1], match[2], match[3], match[4] or "main", match[5] or "")
        if match := FILE.fullmatch(path):
            return self._file("datasets" if match[1] else "models", match[2], match[3], match[4])
        return self._send(404)

    def _found(self, kind: str, name: str, revision: str) -> Path | None:
        """Where it lies; None, once it has been answered that it does not, or to whom."""
        folder, bearer = self.hub.folder(kind, name), self.headers.get("Authorization", "").removeprefix("Bearer ")
        if folder is None or self.hub.private.get(name, bearer) != bearer:
            self._send(404 if bearer else 401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif not (self.hub.root / kind / name).is_dir():
            self._send(307, headers={"Location": self.path.replace(f"/{name}", f"/{OLD_OWNER}/{name}", 1)})
        elif self.hub.commit(revision) is None:
            self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        else:
            return folder
        return None

    def _repo(self, kind: str, name: str, verb: str | None, revision: str, inner: str) -> None:
        if (folder := self._found(kind, name, revision)) is None:
            return
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        if verb == "tree":
            self._json([_entry(folder, each) for each in names if not inner or each.startswith(f"{inner}/")])
        else:
            self._json({"_id": "1", "id": name, "modelId": name, "sha": self.hub.commit(revision), "private": False,
                        "gated": False, "disabled": False, "tags": [], "downloads": 1, "likes": 0,
                        "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
                        "siblings": [{"rfilename": each} for each in names]})  # fmt: skip

    def _file(self, kind: str, name: str, revision: str, file: str) -> None:
        if (folder := self._found(kind, name, revision)) is None:
            return None
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.hub.gated.get(name, bearer) != bearer:
            return self._send(403, headers={"X-Error-Code": "GatedRepo"})
        if not (folder / file).is_file():
            return self._send(404, headers={"X-Error-Code": "EntryNotFound"})
        content = (folder / file).read_bytes()
        marks = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": str(self.hub.commit(revision))}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and int(start[1]):
            whole = len(content)
            content = content[int(start[1]) :]
            return self._send(206, content, {**marks, "Content-Range": f"bytes {start[1]}-{whole - 1}/{whole}"})
        return self._send(200, content, marks)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.cut is not None and code == 200 and len(body) > self.hub.cut:
            body, self.hub.cut, self.close_connection = body[: self.hub.cut], None, True
        self.wfile.write(body)


def _entry(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
