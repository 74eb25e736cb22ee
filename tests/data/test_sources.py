from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bitspike.data import sources
from bitspike.errors import BitspikeError


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.gz").write_bytes(b"content")
    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_file_comes_from_the_first_mirror_that_has_it(tmp_path: Path, mirror: str) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    path = sources.download("a.gz", digest, [mirror + "gone/", mirror], tmp_path / "cache")
    assert path == tmp_path / "cache" / "a.gz"
    assert path.read_bytes() == b"content"
    assert sources.download("a.gz", digest, ["http://127.0.0.1:1/"], tmp_path / "cache") == path


def test_a_download_that_fails_says_what_to_put_where(tmp_path: Path, mirror: str) -> None:
    target = tmp_path / "cache"
    with pytest.raises(BitspikeError) as error:
        sources.download("a.gz", "0" * 64, [mirror, "http://127.0.0.1:1/"], target)
    assert str(error.value) == (
        f"a.gz: could not be downloaded ({mirror}: another SHA-256, http://127.0.0.1:1/: ConnectionError); "
        f"put it into {target}"
    )
    assert not (target / "a.gz").exists()


def test_the_digest_of_files_is_that_of_the_standard_tool(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "a/10"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    command = "sha256sum a/1 a/10 b/2 | sha256sum"
    told = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    paths = [tmp_path / name for name in ("b/2", "a/10", "a/1")]
    assert sources.sha256_of_files(tmp_path, paths) == told.split()[0]


def test_the_digest_of_arrays_sees_values_shape_and_type() -> None:
    one = torch.arange(4)
    kinds = [one, one.reshape(2, 2), one.int(), one + 1]
    assert len({sources.sha256_of_arrays(kind) for kind in kinds}) == 4
    assert sources.sha256_of_arrays(one) == sources.sha256_of_arrays(torch.arange(8)[:4].clone())


def test_a_given_folder_may_be_the_sets_own(tmp_path: Path) -> None:
    home = tmp_path / "MNIST" / "raw"
    home.mkdir(parents=True)
    for given in (tmp_path, home):
        assert sources.find_folder(("mnist", "MNIST/raw"), given) == home
    assert sources.find_folder(("nmnist",), tmp_path) is None
