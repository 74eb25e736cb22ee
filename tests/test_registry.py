"""What is called by name: one table of options each, near names in refusals, own files found once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest

import bitspike
from bitspike import plugins, registry
from bitspike.errors import BitspikeError

from .commands import here

NEURON = '''
import bitspike

@bitspike.register("export", "{name}")
class Own:
    """An own thing. It says more."""

    class Options(bitspike.Options):
        theta: float = 1.0
        """Where it fires."""
'''


def test_options_stand_in_the_class_or_are_its_typed_parameters() -> None:
    @bitspike.register("export", "mine")
    class Mine:
        class Options(bitspike.Options):
            bits: int = 8

    @bitspike.register("export", "plain")
    class Plain:
        """Plain."""

        def __init__(
            self,
            layers: tuple[int, ...],
            bits: Annotated[int, "How many bits."] = 8,
            mode: Literal["c", "nir"] = "c",
            seed: int | object = 0,
            hook: object = None,
        ) -> None: ...

    assert registry.options("export", "mine")(bits=4).bits == 4
    assert registry.find("export", "mine") is Mine
    fields = registry.options("export", "plain").model_fields
    assert list(fields) == ["layers", "bits", "mode", "seed"]
    assert fields["bits"].description == "How many bits."
    assert fields["layers"].is_required()
    with pytest.raises(ValueError, match="bits"):
        registry.options("export", "plain")(layers=[1], bits="4")
    assert registry.about("export", "plain") == "Plain"

    @bitspike.register("export", "odd")
    class Odd:
        def __init__(self, hook: object) -> None: ...

    with pytest.raises(BitspikeError, match=r"export 'odd': got parameter 'hook' of type .*object.*, wanted a plain"):
        registry.options("export", "odd")


def test_a_name_is_refused_where_it_is_unknown_or_taken() -> None:
    @bitspike.register("export", "mine")
    class Mine: ...

    with pytest.raises(BitspikeError, match=r"^export: got 'mini', wanted one of .*'mine'.*; did you mean 'mine'\?$"):
        registry.find("export", "mini")
    with pytest.raises(BitspikeError, match=r"^model.kind: got 'mini', wanted"):
        registry.find("model", "mini", "model.kind")
    with pytest.raises(BitspikeError, match=r"register export 'mine': got .*Other, wanted a name that is free: .*Mine"):

        @bitspike.register("export", "mine")
        class Other: ...

    with pytest.raises(BitspikeError, match="registry: got 'nuron', wanted one of neuron, "):
        bitspike.register("nuron", "mine")
    with pytest.raises(BitspikeError, match="register export: got 'my own'"):
        bitspike.register("export", "my own")


def test_own_files_are_read_once_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("one", "first"), ("copy", "first"), ("two", "second")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(NEURON.format(name=name))
    plugins.add(tmp_path / "one")
    assert "first" in registry.names("export")
    assert registry.about("export", "first") == "An own thing"
    plugins.add(tmp_path / "copy")
    plugins.add(tmp_path / "two")
    assert {"first", "second"} <= set(registry.names("export"))
    assert plugins.used() == [str(tmp_path / name) for name in ("one", "copy", "two")]
    # What a run was made with is read where nothing is named, and missed in one line.
    monkeypatch.delenv(plugins.VARIABLE)
    plugins.recall([str(tmp_path / "gone")])
    with pytest.raises(BitspikeError, match=r"export: got 'third', .*the own files in '.*gone' are not there"):
        registry.find("export", "third")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import bitspike\n1 / 0\n", r"plug-in '.*own.py', line 2: ZeroDivisionError: division by zero"),
        ("class:\n", r"plug-in '.*own.py', line 1: SyntaxError: "),
        ("import no_such_module_here\n", r"plug-in '.*own.py', line 1: ModuleNotFoundError: .*no_such_module_here"),
        ("import bitspike\nbitspike.register('nuron', 'x')\n", r"plug-in '.*own.py': registry: got 'nuron'"),
    ],
)
def test_an_own_file_that_fails_is_one_line_each_time(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.py").write_text(text)
    plugins.add(tmp_path)
    for _ in range(2):
        with pytest.raises(BitspikeError, match=said) as caught:
            registry.names("export")
        assert "\n" not in str(caught.value)


BROKEN = """
import bitspike


@bitspike.register("data", "raises")
def raises():
    return 1 / 0


@bitspike.register("data", "lacks")
class Lacks(bitspike.Measurement):
    def load(self):
        return self.measure(None, "test")
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("raises", ", line 7: ZeroDivisionError: division by zero"), ("lacks", ": Lacks has no method 'measure'")],
)
def test_an_own_file_that_breaks_while_it_works_is_one_line(
    tmp_path: Path, name: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    (tmp_path / "own.toml").write_text(f'name = "own"\ndata.set = "{name}"\nmodel.layers = ["8"]\n')
    words = ["--plugins", tmp_path, "train", tmp_path / "own.toml", "--out", tmp_path / "run"]
    (done,) = here(monkeypatch, capsys, words)
    assert (done.code, done.stderr) == (2, f"bitspike: plug-in '{tmp_path / 'own.py'}'{said}\n")


def test_the_registry_imports_nothing_heavy() -> None:
    script = (
        "import sys; from bitspike import registry\n"
        "for room in registry.ROOMS:\n    [registry.options(room, name) for name in registry.names(room)]\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["recipes"],
        ["recipes", "digits-bayes"],
        ["recipes", "mnist-st", "--json"],
        ["recipes", "digits-bayes", "--explain"],
    ],
)
def test_listing_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys\nfrom bitspike.cli.app import app\nsys.argv[0] = 'bitspike'\n"
        f"app({words!r}, standalone_mode=False)\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
