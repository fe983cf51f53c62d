"""Loading of data sets: what is read, how it is split, and what is refused."""

from __future__ import annotations

import io
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mcuc.data
from mcuc.data.dataset import resize, resize_matrix, stratified_split
from mcuc.data.npz import write_npz
from mcuc.errors import McucError


def images(n: int, shape: tuple[int, ...] = (12, 12), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def folder_of_classes(root: Path, per_class: int = 5, mode: str = "L") -> Path:
    for index, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            shape = (20, 16) if mode == "L" else (20, 16, 3)
            Image.fromarray(images(1, shape, 100 * index + i)[0], mode).save(root / name / f"{i}.png")
    return root


def test_the_bundled_sample_is_balanced_and_small() -> None:
    data = mcuc.data.load()
    assert data.name == "fashion-mnist" and len(data.classes) == 10
    assert data.train_x.shape == (10000, 28, 28, 1) and data.test_x.shape == (2000, 28, 28, 1)
    assert set(np.bincount(data.train_y)) == {1000} and set(np.bincount(data.test_y)) == {200}
    folder = resources.files("mcuc.data")
    assert (folder / "fashion_mnist_12k.npz").stat().st_size <= 6_000_000  # type: ignore[attr-defined]
    assert "MIT License" in (folder / "FASHION_MNIST_LICENSE.txt").read_text(encoding="utf-8")


def test_an_npz_is_split_by_class_and_the_same_way_each_time(tmp_path: Path) -> None:
    y = np.repeat([3, 7], 10)
    np.savez(tmp_path / "d.npz", x=images(20), y=y)
    first, second = mcuc.data.load(tmp_path / "d.npz"), mcuc.data.load(str(tmp_path / "d.npz"))
    assert first.train_x.shape == (16, 12, 12, 1) and first.classes == ("3", "7")
    assert np.array_equal(np.bincount(first.test_y), [2, 2])
    assert np.array_equal(first.test_x, second.test_x)
    everything = {a.tobytes() for a in (*first.train_x, *first.test_x)}
    assert len(everything) == 20


def test_an_npz_with_its_own_test_part_keeps_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=images(6, (12, 12, 3)), y=[[0], [1], [0], [1], [0], [1]],
             x_test=images(2, (12, 12, 3), 1), y_test=[1, 0], classes=["no", "yes"])
    data = mcuc.data.load(tmp_path / "d.npz")
    assert data.classes == ("no", "yes") and list(data.test_y) == [1, 0] and data.image_shape == (12, 12, 3)


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    data = mcuc.data.load(folder_of_classes(tmp_path / "pets"))
    assert data.name == "pets" and data.classes == ("cat", "dog")
    assert data.train_x.shape == (8, 16, 16, 1) and list(np.bincount(data.test_y)) == [1, 1]
    assert np.array_equal(data.train_x, mcuc.data.load(tmp_path / "pets").train_x)


def test_a_folder_with_train_and_test_and_colour(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "train", mode="RGB")
    folder_of_classes(tmp_path / "test", 2, mode="RGB")
    data = mcuc.data.load(tmp_path)
    assert data.train_x.shape == (10, 16, 16, 3) and data.test_x.shape == (4, 16, 16, 3)


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    for index, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(np.full((16, 16), 256 * (40 + index), np.uint16)).save(tmp_path / name / f"{i}.png")
    assert set(np.unique(mcuc.data.load(tmp_path).train_x)) == {40, 41}


def npz_bytes(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def lying_header() -> bytes:
    """A member whose header claims a terabyte."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", member.getvalue() + b"abc")
        archive.writestr("y.npy", member.getvalue())
    return stream.getvalue()


X, Y = images(8), np.repeat([0, 1], 4)
GOOD = npz_bytes(x=X, y=Y)
HOSTILE = {
    "empty": b"", "text": b"hello", "truncated": GOOD[:-40], "half": GOOD[:len(GOOD) // 2],
    "flipped": GOOD[:200] + bytes(b ^ 255 for b in GOOD[200:230]) + GOOD[230:],
    "lying header": lying_header(), "objects": npz_bytes(x=np.array([{}], object), y=Y), "no arrays": npz_bytes(),
    "wrong names": npz_bytes(a=X, b=Y), "float pixels": npz_bytes(x=X / 255.0, y=Y),
    "labels too few": npz_bytes(x=X, y=Y[:5]), "labels not integers": npz_bytes(x=X, y=Y / 2),
    "one class": npz_bytes(x=X, y=Y * 0), "flat": npz_bytes(x=X.reshape(8, -1), y=Y),
    "two channels": npz_bytes(x=images(8, (12, 12, 2)), y=Y), "tiny images": npz_bytes(x=images(8, (2, 2)), y=Y),
    "no images": npz_bytes(x=X[:0], y=Y[:0]), "single example": npz_bytes(x=X, y=[0, 0, 0, 0, 0, 0, 0, 1]),
    "test of another size": npz_bytes(x=X, y=Y, x_test=images(2, (9, 9)), y_test=[0, 1]),
    "unseen test label": npz_bytes(x=X, y=Y, x_test=X[:2], y_test=[0, 9]),
    "negative label": npz_bytes(x=X, y=Y - 1, classes=["a", "b"]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_npz_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(McucError) as caught:
        mcuc.data.load(path)
    assert str(path) in str(caught.value) and caught.value.try_this


def hostile_image(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(images(1, (20, 16))[0]).save(stream, "PNG")
    good = stream.getvalue()
    if kind == "huge":  # the header of a 60000 x 60000 picture
        return good[:16] + (60000).to_bytes(4, "big") * 2 + good[24:]
    return {"empty": b"", "text": b"not an image", "truncated": good[:len(good) // 2]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "huge"])
def test_a_bad_image_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    root = folder_of_classes(tmp_path / "pets")
    (root / "cat" / "bad.png").write_bytes(hostile_image(kind))
    with pytest.raises(McucError) as caught:
        mcuc.data.load(root)
    assert "bad.png" in caught.value.where


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    for root in (tmp_path / "empty", tmp_path / "hollow" / "a"):
        root.mkdir(parents=True)
    (tmp_path / "hollow" / "b").mkdir()
    one = folder_of_classes(tmp_path / "train_lacks_dog" / "train")
    folder_of_classes(tmp_path / "train_lacks_dog" / "test")
    (one / "dog").rename(tmp_path / "dog")
    for name in ("empty", "hollow", "train_lacks_dog"):
        with pytest.raises(McucError):
            mcuc.data.load(tmp_path / name)


@pytest.mark.parametrize("spec", ["no-such-set", "/nowhere/at/all", "x" * 5000, "\0"])
def test_unknown_names_are_refused(spec: str) -> None:
    with pytest.raises(McucError) as caught:
        mcuc.data.load(spec)
    assert caught.value.code == "no-such-data"


def test_resize_keeps_constants_and_means_and_averages_blocks() -> None:
    flat = np.full((1, 28, 28, 1), 77, np.uint8)
    assert np.all(resize(flat, 20, 24) == 77)
    assert np.all(resize_matrix(28, 20).sum(1) == 2**14)
    picture = images(3, (28, 28, 1))
    assert resize(picture, 28, 28) is picture
    small = resize(picture, 14, 14)
    assert abs(float(small.mean()) - float(picture.mean())) < 1.5 and small.std() < picture.std()


def test_the_split_holds_out_a_share_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [10, 20, 2])
    kept, held = stratified_split(y, 0.1, 5)
    assert list(np.bincount(y[held])) == [1, 2, 1]
    assert sorted([*kept, *held]) == list(range(32))
    assert not np.array_equal(held, stratified_split(y, 0.1, 6)[1])


def test_an_npz_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_npz(tmp_path / name, {"x": X, "step": np.float32(3)})  # type: ignore[dict-item]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert np.load(tmp_path / "a")["step"].shape == ()
