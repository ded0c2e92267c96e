"""Every kind of file that is read, damaged in every way: one clear line or a right result.

Nothing that was stored before is lost, whatever comes.
"""

import io
import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from labelattack.benchmark.store.store import RecordStore
from labelattack.models import registry as models
from tests.conftest import exit_code
from tests.official import make_coco, make_voc

pytestmark = pytest.mark.usefixtures("forgotten")
QUICK = "--model tiny --epochs 1 --seeds 1 --jobs 1 --d-score none --no-reference --lr 0.01"


def other_kind():
    return b"<!DOCTYPE html><title>404</title>" + bytes(range(256))


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def of_another_kind(path):
    path.write_bytes(other_kind())


def unreadable(path):
    """A link to itself: nobody can open it, the superuser included."""
    path.unlink()
    path.symlink_to(path.name)


def a_folder(path):
    path.unlink()
    path.mkdir()


def gone(path):
    path.unlink()


def replaced(path):
    path.with_name("other").write_bytes(other_kind())
    path.with_name("other").replace(path)


FAULTS = [truncated, emptied, of_another_kind, unreadable, a_folder, gone]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Everything that commands read, and a store made from it."""
    root = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    (root / "photos").mkdir()
    lines, splits = ["image_id,cat,dog"], ["image_id,split"]
    values = rng.random((20, 2)) < 0.5
    values[[0, 10, 14]], values[[1, 11, 15]] = True, False
    for i in range(20):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "photos" / f"{i}.png")
        lines.append(f"{i}.png,{int(values[i, 0])},{int(values[i, 1])}")
        splits.append(f"{i}.png,{'train' if i < 10 else 'val' if i < 14 else 'test'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "splits.csv").write_text("\n".join(splits) + "\n")
    np.save(root / "labels.npy", values.astype(np.int8))
    np.savez(root / "labels.npz", labels=values.astype(np.int8), classes=np.array(["cat", "dog"]))
    np.save(root / "pixels.npy", rng.integers(0, 255, (20, 16, 16, 3), dtype=np.uint8))
    make_coco(root, train=12, val=6)
    make_voc(root, "2012", {"train": [f"a{i}" for i in range(12)], "val": ["b1", "b2", "b3"]})
    boxes = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    (root / "VOCdevkit" / "VOC2012" / "Annotations").mkdir()
    for name in ("b1", "b2", "b3"):
        (root / "VOCdevkit" / "VOC2012" / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>40</width><height>24</height></size><object>"
            f"<difficult>0</difficult>{boxes}</object></annotation>"
        )
    backbone = models.create("resnet18:weights=none").build(2, seed=0)
    state = {f"fc.{k}": v for k, v in backbone.head.state_dict().items()}
    from torchvision.models import resnet18

    whole = resnet18(weights=None)
    whole.fc = torch.nn.Linear(512, 2)
    whole.fc.load_state_dict({k.removeprefix("fc."): v for k, v in state.items()})
    torch.save(whole.state_dict(), root / "weights.pt")
    (root / "plug.py").write_text(
        "from labelattack import PartialLabelLoss, defenses\n"
        "@defenses.register('plugged')\n"
        "class Plugged(PartialLabelLoss):\n"
        "    def loss(self, logits, step): return logits.square().mean()\n"
    )
    (root / "config.toml").write_text('defenses = ["an", "wan"]\nepochs = 1\n')
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LABELATTACK_CACHE", str(root / "cache"))
        for what in BENCHES:
            assert run(patched, root, BENCHES[what])[0] == 0, what
        assert run(patched, root, "check results --baseline baseline.json --update")[0] == 0
    shutil.copytree(root, root.with_name("pristine"))
    return root


TABLE = "table:labels=labels.csv,images=photos,splits=splits.csv"
BENCHES = {
    "table": f"bench --dataset {TABLE} {QUICK} --defense an --defense wan",
    "linear": f"bench --dataset {TABLE} {QUICK} --defense an --defense wan --protocol linear",
    "npy": f"bench --dataset table:labels=labels.npy,images=pixels.npy {QUICK} --defense an --defense wan",
    "npz": f"bench --dataset table:labels=labels.npz,images=pixels.npy {QUICK} --defense an --defense wan",
    "coco": f"bench --dataset coco:root=.,tolerance=0.5 {QUICK} --protocol linear --defense an --defense wan",
    "voc": f"bench --dataset voc:root=.,year=2012,tolerance=0.5 {QUICK} --protocol linear --defense an --defense wan".replace("--d-score none", "--d-score features=boxes,grid=3,images=3"),
    "weights": f"bench --dataset {TABLE} {QUICK} --protocol linear --defense an --defense wan".replace("--model tiny", "--model resnet18:weights=weights.pt,size=32"),
    "config": f"bench --config config.toml --dataset {TABLE} {QUICK}",
    "plug-in": f"bench --plugin plug.py --dataset {TABLE} {QUICK} --defense plugged --defense an",
}  # fmt: skip
# What is read, the command that reads it, and how the path is found in the folder.
READ = {
    "labels.csv": ("table", "labels.csv"),
    "labels.npy": ("npy", "labels.npy"),
    "labels.npz": ("npz", "labels.npz"),
    "splits": ("table", "splits.csv"),
    "image": ("table", "photos/17.png"),
    "image, linear": ("linear", "photos/3.png"),
    "pixels.npy": ("npy", "pixels.npy"),
    "COCO annotations": ("coco", "coco/annotations/instances_train2014.json"),
    "VOC list": ("voc", "VOCdevkit/VOC2012/ImageSets/Main/dog_train.txt"),
    "VOC annotation": ("voc", "VOCdevkit/VOC2012/Annotations/b2.xml"),
    "weights": ("weights", "weights.pt"),
    "config": ("config", "config.toml"),
    "plug-in": ("plug-in", "plug.py"),
    "features": ("linear", "cache/features/*.npy"),
    "contents of features": ("linear", "cache/features/*.json"),
    "hashes of images": ("table", "cache/content/*.json"),
    "decoded images": ("table", "cache/verified/*.json"),
    "label matrix of COCO": ("coco", "cache/labels/*.npz"),
    "record": ("table", "results/records/*.json"),
    "stored weights": ("table", "results/weights/*.safetensors"),
    "marker of the store": ("table", "results/store.json"),
    "baseline": (None, "baseline.json"),
}


def run(patched, root, command):
    """Exit code and standard error of a command in this process, as if it were a new one."""
    from labelattack.defenses import registry as defenses

    defenses._classes.pop("plugged", None)
    for name in [name for name in sys.modules if name.startswith("labelattack_plugin_plug_")]:
        del sys.modules[name]
    said = io.StringIO()
    patched.setattr(sys, "stdout", io.StringIO())
    patched.setattr(sys, "stderr", said)
    return exit_code(patched, root, command.split()), said.getvalue()


def contents(folder):
    return {
        p.name: p.read_bytes()
        for p in (folder / "results" / "records").glob("*.json")
        if p.is_file()
    }


def results(stored):
    """Test scores of finished records, by dataset, model, protocol and defense."""
    found = {}
    for content in stored.values():
        try:
            record = json.loads(content)
        except ValueError:  # harmed, and not read since
            continue
        if record["status"] == "done":
            cell = record["cell"]
            key = tuple(cell[k] for k in ("fingerprint", "model", "protocol", "defense"))
            found[key] = record["test"]["map"]
    return found


@pytest.fixture
def copy(pristine):
    """The same folder again, as specs hold its path."""
    shutil.rmtree(pristine)
    shutil.copytree(pristine.with_name("pristine"), pristine)
    return pristine


def harmed(root, pattern, fault):
    paths = sorted(root.glob(pattern)) if "*" in pattern else [root / pattern]
    assert paths
    for path in paths:
        fault(path)
    return paths


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("what", READ)
def test_damaged_files(what, fault, copy, monkeypatch):
    which, pattern = READ[what]
    command = BENCHES[which] if which else "check results --baseline baseline.json"
    monkeypatch.setenv("LABELATTACK_CACHE", str(copy / "cache"))
    before = contents(copy)
    harmed(copy, pattern, fault)
    if "results" not in pattern and which:  # all is stored: only a new store has something to do
        shutil.move(copy / "results", copy / "stored")
    code, err = run(monkeypatch, copy, command)
    assert code in (0, 1, 2), err
    assert "Traceback" not in err and "internal error" not in err
    errors = re.findall(r"^error: .*", err, re.M)
    assert len(errors) == (code == 2) or (which is None and not errors), err
    if (copy / "stored").is_dir():
        new = results(contents(copy)) if code != 2 else {}
        shutil.rmtree(copy / "results", ignore_errors=True)
        shutil.move(copy / "stored", copy / "results")
        known = results(before)
        # Of the same data come the same results; other data have another fingerprint.
        assert all(known[key] == value for key, value in new.items() if key in known)
    after = contents(copy)
    lost = {name for name in before if after.get(name) != before[name]}
    assert not lost or "results" in pattern, lost
    if "results/records" in pattern:
        assert code == 0
        known = results(before)
        assert results(after) and all(known[key] == of for key, of in results(after).items())


@pytest.mark.parametrize("what", [what for what in READ if READ[what][0]])
def test_files_replaced_while_it_runs(what, copy, monkeypatch):
    """They are harmed when the first of two cells is stored."""
    which, pattern = READ[what]
    monkeypatch.setenv("LABELATTACK_CACHE", str(copy / "cache"))
    before = contents(copy)
    if "results" not in pattern:
        shutil.move(copy / "results", copy / "stored")
    added = []
    add = RecordStore.add

    def harm(self, record):
        add(self, record)
        if not added:
            harmed(copy, pattern, replaced)
        added.append(record.key)

    with monkeypatch.context() as patched:
        patched.setattr(RecordStore, "add", harm)
        code, err = run(patched, copy, BENCHES[which])
    assert code in (0, 1, 2) and "Traceback" not in err and "internal error" not in err, err
    if (copy / "stored").is_dir():
        found = results(contents(copy))
        assert len(added) >= 1 and (found or what == "record")
        known = results(before)
        assert all(known[key] == value for key, value in found.items())
    elif what != "record":
        assert contents(copy).keys() >= before.keys()
