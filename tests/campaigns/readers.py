"""What is attacked: for each reader some good files, and how a person hands one in."""

from __future__ import annotations

import importlib.util
import io
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.campaigns.inside import Inside, in_gzip, in_npz, in_png
from tests.campaigns.mutate import mutant

Use = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """`open(material, work)` gives the good files and what is done with a mutant.

    text: edits of words as well; inside: of what is wrapped up in the file.
    material: a folder made once (see `material`), read only; work: a folder of the worker's own.
    """

    open: Callable[[Path, Path], tuple[list[bytes], Use]]
    text: bool = False
    inside: Inside | None = None

    def mutant(self, seeds: Sequence[bytes], key: str) -> bytes:
        """The mutant of the name `key`; half of them edited inside their wrapping, where they have one."""
        draw = random.Random("inside " + key)
        if self.inside is not None and draw.random() < 0.5:
            return self.inside(draw.choice(list(seeds)), draw)
        return mutant(seeds, key, self.text)


def _pixels(number: int, channels: int = 1) -> Any:
    return np.random.default_rng(number).integers(0, 256, (8, 6, channels)[: 3 if channels > 1 else 2], np.uint8)


def _image(kind: str, image: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _images(suffix: str, kind: str) -> Target:
    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        from PIL import Image

        pictures = [Image.fromarray(_pixels(0)), Image.fromarray(_pixels(1, 3))]
        if kind in ("PNG", "TIFF", "WEBP"):
            pictures.append(Image.fromarray(_pixels(2, 4)))
        if kind in ("PNG", "TIFF", "PPM"):
            pictures.append(Image.fromarray(_pixels(3).astype(np.uint16) * 16))
        if kind == "TIFF":
            pictures += [Image.fromarray(_pixels(4) / np.float32(255)), Image.fromarray(_pixels(5).astype(np.int32))]
        if kind in ("PNG", "GIF", "TIFF", "BMP"):
            pictures += [Image.fromarray(_pixels(6)).convert("P"), Image.fromarray(_pixels(7)).convert("1")]
        seeds = [_image(kind, picture) for picture in pictures]
        if kind == "TIFF":
            seeds += [_image(kind, pictures[1], compression=c) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits")]
        if kind == "JPEG":
            exif = Image.Exif()
            exif[0x0112] = 6
            seeds += [_image(kind, pictures[1], exif=exif), _image(kind, pictures[1].convert("CMYK"))]
        if kind == "GIF":
            seeds.append(_image(kind, pictures[0], save_all=True, append_images=pictures[2:]))
        return seeds, _in_class_folders(work, suffix, seeds[:1])

    return Target(opened, inside=in_png if kind == "PNG" else None)


def _in_class_folders(work: Path, suffix: str, good: list[bytes]) -> Use:
    """Two classes of five good files each, one of which is then what is tried: as a set, and as a new example."""
    from bitspike import data

    for name in "ab":
        (work / name).mkdir(exist_ok=True)
        for number in range(5):
            (work / name / f"{number}{suffix}").write_bytes(good[number % len(good)])
    form = data.load("folder", path=work).form

    def use(content: bytes) -> None:
        path = work / "a" / f"1{suffix}"
        path.write_bytes(content)
        _both(lambda: data.load("folder", path=work), lambda: data.prepare(path, form))

    return use


def _both(*uses: Callable[[], object]) -> None:
    """Each of them, also where an earlier one refuses; the last refusal is raised."""
    from bitspike.errors import BitspikeError

    refused: BitspikeError | None = None
    for use in uses:
        try:
            use()
        except BitspikeError as error:
            refused = error
    if refused is not None:
        raise refused


def _events(material: Path, work: Path) -> tuple[list[bytes], Use]:

    draw = np.random.default_rng(0)
    seeds = [draw.integers(0, 20, (n, 5), np.uint8).tobytes() for n in (1, 12, 60)]
    seeds.append(bytes([1, 1, 0, 0, 100, 0, 240, 0, 0, 0, 2, 2, 128, 0, 50]))
    return seeds, _in_class_folders(work, ".bin", seeds[:3])


def _recordings(name: str, suffix: str) -> Target:
    """Recordings of one format in class folders, and in a stream."""

    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        from bitspike.data.formats import EVENT, open_events, write_events

        draw, seeds = np.random.default_rng(0), []
        path = work / f"seed{suffix}"
        kinds: list[dict[str, Any]] = (
            [{"compression": c} for c in ("none", "lz4", "zstd")] if name == "aedat4" else [{}]
        )
        for count, last in ((1, 5), (12, 400), (60, 9_000_000)):
            events = np.empty(count, EVENT)
            for field, end in (("t", last), ("x", 20), ("y", 16), ("p", 2)):
                events[field] = draw.integers(0, end, count)
            events["t"].sort()
            if name == "hdf5":
                events["y"] = events["p"] = 0
            seeds += [write_events(path, events, name, size=(32, 32), **kind).read_bytes() for kind in kinds]
        use = _in_class_folders(work, suffix, seeds[-1:])

        def streamed(content: bytes) -> None:
            path.write_bytes(content)
            for _ in open_events(path):
                pass

        return seeds, lambda content: _both(lambda: use(content), lambda: streamed(content))

    return Target(opened)


def _wav(material: Path, work: Path) -> tuple[list[bytes], Use]:
    import soundfile

    draw = np.random.default_rng(0)
    seeds = []
    for subtype, channels in (("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 1), ("ULAW", 1)):
        out = io.BytesIO()
        soundfile.write(out, draw.uniform(-1, 1, (400, channels)), 8000, subtype, format="WAV")
        seeds.append(out.getvalue())
    return seeds, _in_class_folders(work, ".wav", seeds[:1])


def _nmnist(material: Path, work: Path) -> tuple[list[bytes], Use]:
    from bitspike import data

    seeds = [np.random.default_rng(n).integers(0, 34, (n, 5), np.uint8).tobytes() for n in (1, 12, 60)]
    for part, count in (("Train", 10), ("Test", 1)):
        for digit in "01":
            (work / "nmnist" / part / digit).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (work / "nmnist" / part / digit / f"{number}.bin").write_bytes(seeds[number % 3])

    def use(content: bytes) -> None:
        (work / "nmnist" / "Train" / "0" / "1.bin").write_bytes(content)
        data.load("nmnist", folder=work)

    return seeds, use


def _table(suffix: str, seeds: Callable[[], list[bytes]], text: bool, **options: Any) -> Target:
    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        from bitspike import data

        good = seeds()
        path = work / f"table{suffix}"
        path.write_bytes(good[0])
        form = data.load("folder", path=path, **options).form

        def use(content: bytes) -> None:
            path.write_bytes(content)
            _both(lambda: data.load("folder", path=path, **options), lambda: data.prepare(path, form))

        return good, use

    return Target(opened, text, None if text else in_npz)


def _npz(series: bool) -> list[bytes]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(20, 6, 2) if series else (20, 3))
    targets = [np.arange(20) % 2, np.array(["u", "v"] * 10), draw.normal(size=20)]
    seeds = []
    for save in (np.savez, np.savez_compressed):
        for y in targets:
            out = io.BytesIO()
            save(out, x=x, y=y)
            seeds.append(out.getvalue())
    return seeds


def _ragged() -> list[bytes]:
    """Sequences of different lengths, padded and one after the other, with a class for each and for each step."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(2, 7, 12)
    inside = np.arange(6) < lengths[:, None]
    x, y = draw.normal(size=(12, 6, 2)), draw.integers(0, 2, (12, 6))
    seeds = []
    for arrays in (
        {"x": x, "y": y[:, 0], "lengths": lengths},
        {"x": x, "y": y, "lengths": lengths},
        {"samples": x[inside], "labels": np.array(["u", "v"] * 6), "lengths": lengths},
        {"samples": x[inside], "labels": y[inside], "lengths": lengths},
    ):
        out = io.BytesIO()
        np.savez(out, **arrays)
        seeds.append(out.getvalue())
    return seeds


def _sound(suffix: str, kind: str) -> Target:
    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        # Imported when the first file of another rate comes: no time of the mutant that happens to be it.
        import scipy.signal  # noqa: F401
        import soundfile

        from bitspike import data

        tone = 0.3 * np.sin(np.arange(800) * 0.7)
        seeds = []
        for channels, kept in ((1, "PCM_16"), (2, "PCM_16"), (1, "FLOAT" if kind == "WAV" else "PCM_24")):
            out = io.BytesIO()
            soundfile.write(out, np.stack([tone] * channels, 1), 8000, format=kind, subtype=kept)
            seeds.append(out.getvalue())
        for name in "uv":
            (work / "sound" / name).mkdir(parents=True, exist_ok=True)
            for number in range(4):
                (work / "sound" / name / f"{number}{suffix}").write_bytes(seeds[0])
        path = work / "sound" / "u" / f"1{suffix}"
        form = data.load("folder", path=work / "sound").form

        def use(content: bytes) -> None:
            path.write_bytes(content)
            _both(lambda: data.load("folder", path=work / "sound"), lambda: data.prepare(path, form))

        return seeds, use

    return Target(opened)


def _wide(separator: str) -> list[bytes]:
    draw = np.random.default_rng(0)
    rows = [[*(f"{v:.3f}" for v in draw.normal(size=3)), "uv"[i % 2]] for i in range(20)]
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    head = separator.join(["a", "b", "c", "label"]) + "\n"
    return [(head + text).encode(), text.encode(), (head + text).replace("\n", "\r\n").encode("utf-8-sig")]


def _long() -> list[bytes]:
    draw = np.random.default_rng(0)
    rows = [f"{e},{t},{draw.normal():.3f},{draw.normal():.3f},{'uv'[e % 2]}" for e in range(12) for t in range(4)]
    return ["\n".join(["example,t,a,b,label", *rows, ""]).encode()]


def _idx(compressed: bool) -> Target:
    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        import torch

        from bitspike import data
        from bitspike.data.idx import write_idx

        home = work / "mnist"
        home.mkdir(exist_ok=True)
        end = ".gz" if compressed else ""
        x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8))
        names = []
        for part in ("train", "t10k"):
            for kind, values in (("images-idx3", x), ("labels-idx1", torch.arange(30) % 10)):
                names.append(home / f"{part}-{kind}-ubyte{end}")
                write_idx(names[-1], values)
        good = [path.read_bytes() for path in names[:2]]

        def use_as(place: int, content: bytes) -> None:
            names[place].write_bytes(content)
            try:
                data.load("mnist", folder=work)
            finally:
                names[place].write_bytes(good[place])

        def use(content: bytes) -> None:
            _both(lambda: use_as(0, content), lambda: use_as(1, content))

        return good, use

    return Target(opened, inside=in_gzip if compressed else None)


def _cifar(material: Path, work: Path) -> tuple[list[bytes], Use]:
    from bitspike import data

    home = work / "cifar-10-batches-py"
    home.mkdir(exist_ok=True)
    rows = np.random.default_rng(0).integers(0, 256, (20, 3072), np.uint8)
    content = {b"data": rows, b"labels": [i % 10 for i in range(20)], b"filenames": [b"f%d" % i for i in range(20)]}
    meta = {b"label_names": [b"class%d" % i for i in range(10)], b"num_vis": 3072}
    batches = [pickle.dumps(content, protocol) for protocol in (0, 2, 4)]
    metas = [pickle.dumps(meta, protocol) for protocol in (0, 2, 4)]
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name in names:
        (home / name).write_bytes(batches[1])
    (home / "batches.meta").write_bytes(metas[1])

    def use(mutant: bytes) -> None:
        if b"label_names" in mutant:
            (home / "batches.meta").write_bytes(mutant)
        else:
            (home / "data_batch_1").write_bytes(mutant)
        try:
            data.load("cifar10", folder=work)
        finally:
            (home / "data_batch_1").write_bytes(batches[1])
            (home / "batches.meta").write_bytes(metas[1])

    return [*batches, *metas], use


def _svhn(material: Path, work: Path) -> tuple[list[bytes], Use]:
    from scipy.io import savemat

    from bitspike import data

    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), np.uint8)
    seeds = []
    for options in ({}, {"do_compression": True}):
        out = io.BytesIO()
        savemat(out, {"X": x, "y": (np.arange(20) % 10 + 1).reshape(-1, 1)}, **options)
        seeds.append(out.getvalue())
    for part in ("train", "test"):
        (work / f"{part}_32x32.mat").write_bytes(seeds[0])

    def use(mutant: bytes) -> None:
        (work / "train_32x32.mat").write_bytes(mutant)
        data.load("svhn", folder=work)

    return seeds, use


def _recipe(material: Path, work: Path) -> tuple[list[bytes], Use]:
    from bitspike.run.recipe_files import load_recipe, print_recipe, recipe_names, recipe_text

    path = work / "recipe.toml"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        recipe = load_recipe(str(path))
        assert recipe.recipe_hash()
        print_recipe(recipe)

    return [recipe_text(name).encode() for name in recipe_names()], use


def _set(material: Path, work: Path) -> tuple[list[bytes], Use]:
    from bitspike.run.recipe_files import load_recipe, print_recipe

    seeds = [
        "training.epochs=5", "model.layers=['8c3','32']", "data.options={path='x', size=[3, 4]}", "seed=1",
        "encoder.name='rate'", "optimizer.options={betas=[0.9, 0.99]}", "model.neuron.tau=20.0", "name=a b",
    ]  # fmt: skip

    def use(content: bytes) -> None:
        # As a shell hands it over: bytes that are not UTF-8 come as halves of pairs.
        recipe = load_recipe("digits-bayes", [content.decode("utf-8", "surrogateescape")])
        assert recipe.recipe_hash()
        print_recipe(recipe)

    return [seed.encode() for seed in seeds], use


def _weights(suffix: str) -> Target:
    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        import torch
        from safetensors.torch import save

        from bitspike.convert.relu.weights_file import load_weights

        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
        state = model.state_dict()
        seeds = [save(state)]
        if suffix == ".pt":
            seeds = []
            for content in (state, {"state_dict": state, "epoch": 3}):
                for new in (True, False):
                    out = io.BytesIO()
                    torch.save(content, out, _use_new_zipfile_serialization=new)
                    seeds.append(out.getvalue())
        path = work / f"weights{suffix}"

        def use(content: bytes) -> None:
            path.write_bytes(content)
            load_weights(model, path)

        return seeds, use

    return Target(opened)


READERS: dict[str, Target] = {
    "png": _images(".png", "PNG"),
    "jpg": _images(".jpg", "JPEG"),
    "gif": _images(".gif", "GIF"),
    "tif": _images(".tif", "TIFF"),
    "webp": _images(".webp", "WEBP"),
    "bmp": _images(".bmp", "BMP"),
    "pgm": _images(".pgm", "PPM"),
    "events": Target(_events),
    "events-aedat2": _recordings("aedat2", ".aedat"),
    "events-aedat3": _recordings("aedat3", ".aedat"),
    **({"events-aedat4": _recordings("aedat4", ".aedat4")} if importlib.util.find_spec("lz4") else {}),
    "events-dat": _recordings("dat", ".dat"),
    "events-evt2": _recordings("evt2", ".raw"),
    "events-evt3": _recordings("evt3", ".raw"),
    "events-es": _recordings("es", ".es"),
    **({"events-hdf5": _recordings("hdf5", ".h5")} if importlib.util.find_spec("h5py") else {}),
    "nmnist": Target(_nmnist),
    **({"wav": Target(_wav)} if importlib.util.find_spec("soundfile") else {}),
    "npz": _table(".npz", lambda: _npz(False), False),
    "npz-series": _table(".npz", lambda: _npz(True), False, time=True),
    "npz-ragged": _table(".npz", _ragged, False),
    "wav": _sound(".wav", "WAV"),
    "flac": _sound(".flac", "FLAC"),
    "csv-wide": _table(".csv", lambda: _wide(","), True),
    "csv-long": _table(".csv", _long, True),
    "tsv": _table(".tsv", lambda: _wide("\t"), True),
    "idx": _idx(False),
    "idx-gz": _idx(True),
    "cifar": Target(_cifar),
    "svhn": Target(_svhn),
    "recipe": Target(_recipe, text=True),
    "set": Target(_set, text=True),
    "weights-pt": _weights(".pt"),
    "weights-safetensors": _weights(".safetensors"),
}
