"""What others' files and names may not do."""

import io
import json
import pickle
import struct
import subprocess
import sys
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelattack import attacks, datasets, models
from labelattack.cli import main
from labelattack.datasets.coco import _cached
from labelattack.datasets.decoding import MOST_PIXELS
from labelattack.datasets.images import FileImages
from labelattack.datasets.voc import VocBoxes
from labelattack.errors import DatasetError, LabelAttackError, LabelError, ModelError
from labelattack.files import json_stream
from labelattack.labels import read_labels
from labelattack.models.base import read_weights
from tests.official import make_coco, make_nus_wide, make_voc, picture

PLUGINS = Path(__file__).parent / "plugin_package"
LEAVING = [
    "../secret.jpg", "a/../../secret.jpg", "a\\..\\secret.jpg", "..", "a/..", "/etc/passwd",
    "\\\\server\\share", "C:\\secret.jpg", "c:secret.jpg", "", "a\0.jpg", "a/.. /b",
]  # fmt: skip


# --- nothing is unpickled


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def pickled(marker):
    content = pickle.dumps(Bomb(marker), protocol=2)
    pickle.loads(content).close()
    assert marker.exists()  # it would go off
    marker.unlink()
    return content


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_label_files_are_not_unpickled(tmp_path, suffix):
    marker, path = tmp_path / "ran", tmp_path / f"labels{suffix}"
    array = np.array([[Bomb(marker)]], dtype=object)
    if suffix == ".npz":
        np.savez(path, labels=array, image_id=array, classes=array)
    else:
        np.save(path, array, allow_pickle=True)
    for _ in range(2):
        with pytest.raises(LabelError, match="cannot be read"):
            read_labels(path, "binary")
        path.write_bytes(pickled(marker))
    assert not marker.exists()


def test_image_arrays_and_the_label_cache_are_not_unpickled(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    np.save(tmp_path / "y.npy", np.ones((20, 2), np.int8))
    spec = f"table:labels={tmp_path}/y.npy,images={tmp_path}/x.npy"
    for content in (pickled(marker), b""):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(DatasetError, match="cannot be read"):
            datasets.create(spec).load()
    make_coco(tmp_path)
    path = tmp_path / "coco" / "annotations" / "instances_val2014.json"
    whole = _cached(path)
    (kept,) = (tmp_path / "cache" / "labels").iterdir()
    for content in (pickled(marker), b"PK\x03\x04", kept.read_bytes()[:-40]):
        kept.write_bytes(content)
        assert _cached(path).classes == whole.classes
    assert not marker.exists()


def test_weights_are_not_unpickled(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    path = tmp_path / "weights.pth"
    path.write_bytes(pickled(marker))
    torch.save({"conv1.weight": Bomb(marker)}, tmp_path / "zip.pth")
    for name in ("weights.pth", "zip.pth"):
        with pytest.raises(ModelError, match="cannot be loaded"):
            read_weights(tmp_path / name)
    # Where torchvision keeps what it has downloaded.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    kept = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes((tmp_path / "zip.pth").read_bytes())
    with pytest.raises(ModelError, match="cannot be had: it holds"):
        models.create("resnet18").backbone()
    assert not marker.exists()


# --- plug-in code runs only when it is named


def test_plugins_run_only_when_named(tmp_path):
    """Listing, resolving others and boards that hold its name leave an installed plug-in alone."""
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "loud" / "attack.py").write_text((PLUGINS / "sample_plugin.py").read_text())
    (tmp_path / "quiet.py").write_text("def")
    info = tmp_path / "loud-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        "[labelattack.attacks]\nloud = loud.attack:EveryOther\nquiet = quiet:Quiet\n"
    )
    code = (
        "from pathlib import Path\n"
        "from labelattack import attacks, defenses\n"
        f"ran = Path({str(tmp_path / 'ran')!r})\n"
        "found = {d.name: d for d in attacks.registry.declarations()}\n"
        "assert found['loud'].summary == 'Hides every other image.', found['loud']\n"
        "assert found['loud'].parameters[0].name == 'start'\n"
        "assert 'SyntaxError' in found['quiet'].summary, found['quiet']\n"
        "attacks.create('targeted'); defenses.create('an')\n"
        "assert attacks.registry.short('loud:start=0') == 'loud'\n"
        "try: attacks.create('loudd')\n"
        "except Exception as error: assert 'loud' in str(error)\n"
        "assert not ran.exists()\n"
        "assert attacks.create('loud').start == 0\n"
        "assert ran.exists()\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


# --- paths


@pytest.mark.parametrize("name", LEAVING)
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(DatasetError, match="must stay inside"):
        FileImages(tmp_path, ["fine.jpg", name])


def test_odd_names_inside_are_fine_and_links_are_followed(tmp_path):
    picture(tmp_path / "elsewhere" / "a.png", 0)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    names = ["link.png", "a..b.jpg", "..a/x.jpg", "a/b..c", "./x", "zoo/12.jpg"]
    images = FileImages(tmp_path / "images", names)
    assert images[0].shape == (24, 40, 3)
    assert [images.there(row) for row in range(6)] == [True, *[False] * 5]
    assert not FileImages(tmp_path, ["x" * 5000]).there(0)


def test_every_dataset_refuses_names_that_leave(tmp_path):
    secret = tmp_path / "secret.jpg"
    picture(secret, 0)
    make_coco(tmp_path)
    path = tmp_path / "coco" / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content["images"][-1]["file_name"] = str(secret)
    path.write_text(json.dumps(content))
    make_nus_wide(tmp_path)
    path = tmp_path / "NUS-WIDE" / "ImageList" / "TestImagelist.txt"
    path.write_text("..\\..\\secret.jpg\r\n" + path.read_text().partition("\n")[2])
    make_voc(tmp_path, "2012", {"train": ["1", "2", "3", "4"], "val": ["5", "6"]})
    for path in (tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main").glob("*_val.txt"):
        path.write_text(path.read_text().replace("5 ", "../../../secret "))
    (tmp_path / "y.csv").write_text(
        "id,a\n" + "".join(f"../{i}secret.jpg,{i % 2}\n" for i in range(9))
    )
    for spec in (
        f"coco:root={tmp_path}",
        f"nus-wide:root={tmp_path}",
        f"voc:root={tmp_path},year=2012",
        f"table:labels={tmp_path}/y.csv,images={tmp_path}/coco",
    ):
        with pytest.raises(DatasetError, match=r"must stay inside .*secret\.jpg"):
            datasets.create(spec).load()
    with pytest.raises(DatasetError, match="must stay inside"):
        datasets.create(f"nus-wide:root={tmp_path},images=../../x").load()


def test_a_list_of_concepts_names_no_other_file(tmp_path):
    make_nus_wide(tmp_path)
    (tmp_path / "NUS-WIDE" / "ConceptsList" / "Concepts81.txt").write_text("/../../../secret\n")
    with pytest.raises(DatasetError, match="must stay inside"):
        datasets.create(f"nus-wide:root={tmp_path}").load()


# --- images and annotations


def png(width, height):
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize("side", [8193, 9000, 60_000])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch, side):
    """Pillow only warns below twice its limit, and has none if another library took it away."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(DatasetError, match=rf"bomb.png.*at most 67,108,864 pixels, got {side} x"):
        FileImages(tmp_path, ["bomb.png"])[0]


def test_the_limit_itself_is_decoded(tmp_path):
    (tmp_path / "large.png").write_bytes(png(8192, MOST_PIXELS // 8192))
    with pytest.raises(DatasetError, match="truncated"):
        FileImages(tmp_path, ["large.png"])[0]


def test_files_that_start_other_programs_are_no_images(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match="cannot identify"):
        FileImages(tmp_path, ["a.jpg"])[0]


BOMB = '<!DOCTYPE x [<!ENTITY a "1">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
SIZED = "<annotation><size><width>{}</width><height>9</height></size></annotation>"


@pytest.mark.parametrize(
    "content",
    [
        f"{BOMB}]>{SIZED.format('&i;')}".encode(),
        f"{BOMB}]>{SIZED.format(9)}".encode("utf-16"),
        b'<?xml version="1.0" encoding="cp037"?>' + f"{BOMB}]>{SIZED.format(9)}".encode("cp037"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + SIZED.format(9).encode(),
    ],
)
def test_annotations_declare_no_entities(tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(
        DatasetError, match=r"a\.xml' cannot be read: .*(document type|unknown encoding)"
    ):
        VocBoxes([tmp_path / "a.xml"])[0]
    (tmp_path / "a.xml").write_text(SIZED.format(9))
    assert VocBoxes([tmp_path / "a.xml"])[0].shape == (0, 4)


@pytest.mark.parametrize(
    "content", [SIZED.format(0), SIZED.format("nan"), SIZED.format(""), "<a>" * 100_000, ""]
)
def test_damaged_annotations_are_refused(tmp_path, content):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(DatasetError, match=r"annotation '.*a\.xml' cannot be read"):
        VocBoxes([tmp_path / "a.xml"])[0]


NESTED = st.recursive(
    st.sampled_from(["[[", '"', "\\", '\\"', "]}", 1, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from('"[}\\'), inner),
    max_leaves=12,
)


def depth(value):
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, parts), default=0) if isinstance(value, dict | list) else 0


@given(NESTED, st.integers(1, 5))
def test_depth_is_followed_however_a_file_is_cut(value, size):
    with pytest.MonkeyPatch.context() as patched:
        for most in (depth(value), depth(value) - 1):
            patched.setattr(json_stream, "DEEPEST", most)
            file = json_stream._Shallow(io.BytesIO(json.dumps(value).encode()))
            with nullcontext() if most == depth(value) or most < 0 else pytest.raises(ValueError):
                while file.read(size):
                    pass


def test_deep_annotations_are_refused_at_once(tmp_path):
    """At this depth the parser alone would take minutes."""
    make_coco(tmp_path)
    path = tmp_path / "coco" / "annotations" / "instances_val2014.json"
    path.write_text('{"images": [' + "[" * 200_000 + "]" * 200_000 + "]}")
    with pytest.raises(DatasetError, match="must not be nested deeper than 100 levels"):
        datasets.create(f"coco:root={tmp_path}").load()


# --- what is shown


def test_messages_are_one_printable_line_of_bounded_length():
    error = LabelAttackError("names\n  must be plain, got '\x1b[31m\udc80\u202e'" + "x" * 100_000)
    text = str(error)
    assert text.startswith("names must be plain, got '\\x1b[31m\\udc80\\u202e'xxx")
    assert text.isprintable() and 700 < len(text) < 900
    assert str(pickle.loads(pickle.dumps(error))) == text
    assert str(LabelAttackError("short")) == "short"


def test_class_names_cannot_steer_the_terminal(tmp_path, monkeypatch, capsys):
    (tmp_path / "labels.csv").write_text("id,a\n" + "".join(f"{i},1\n" for i in range(5)))
    out = tmp_path / "left\x1b[2J.csv"
    command = ["labelattack", "attack", str(tmp_path / "labels.csv"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert out.exists() and "left" in shown.out
    assert "\x1b[2J" not in shown.out + shown.err


def test_formulas_in_names_are_drawn_as_they_are(tmp_path):
    from labelattack.measures._d_score.plots import Point, draw_scatter

    names = r"a$\frac$b$", "\x00$x"
    draw_scatter(tmp_path / "a.png", [Point(*names, 0.5, 0.5, None, None)], r"$\nonsense$")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_two_classes_of_one_name_are_refused(tmp_path):
    (tmp_path / "y.csv").write_text("id,a,a\n" + "".join(f"{i},1,0\n" for i in range(9)))
    np.save(tmp_path / "x.npy", np.zeros((9, 4, 4), np.uint8))
    with pytest.raises(LabelError, match="must be a header .*: 'a' is there 2 times"):
        datasets.create(f"table:labels={tmp_path}/y.csv,images={tmp_path}/x.npy").load()


def test_unknown_names_of_any_length_are_answered_at_once():
    with pytest.raises(LabelAttackError) as caught:
        attacks.create("x" * 1_000_000)
    assert len(str(caught.value)) < 900
