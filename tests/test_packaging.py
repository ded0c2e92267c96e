"""What is uploaded: the wheel has everything that commands need, and the sdist builds that wheel."""

import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder


def wheel_of(root, folder):
    (path,) = WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    return Path(path)


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(pytestconfig, tmp_path_factory):
    """The wheel's path, and the names in the sdist with the folder it was unpacked to."""
    root, folder = pytestconfig.rootpath, tmp_path_factory.mktemp("dist")
    (sdist,) = SdistBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = set(archive.getnames())
        archive.extractall(folder, filter="data")
    (top,) = {name.partition("/")[0] for name in names}
    return wheel_of(root, folder / "wheel"), {n.partition("/")[2] for n in names}, folder / top


def test_the_wheel_has_the_package_and_what_it_reads_and_nothing_else(built, pytestconfig):
    wheel, _, _ = built
    root = pytestconfig.rootpath
    package = {
        str(path.relative_to(root))
        for path in (root / "labelattack").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    experiments = {
        f"labelattack/paper/{p.name}" for p in (root / "benchmarks/paper").glob("*.toml")
    }
    assert experiments and "labelattack/py.typed" in package
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert found == package | experiments


def test_the_metadata_is_that_of_the_project(built, pytestconfig):
    wheel, _, _ = built
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())["project"]
    files = {name.rpartition("/")[2]: data.decode() for name, data in contents(wheel).items() if ".dist-info/" in name}  # fmt: skip
    said = HeaderParser().parsestr(files["METADATA"])
    assert (said["Name"], said["Version"]) == ("labelattack", project["version"])
    assert said["Requires-Python"] == project["requires-python"]
    needed = [each for each in said.get_all("Requires-Dist") if "extra ==" not in each]
    assert sorted(needed) == sorted(project["dependencies"])
    assert set(said.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert "labelattack = labelattack.cli:main" in files["entry_points.txt"]
    assert "Apache License" in files["LICENSE"]


def test_the_sdist_builds_the_same_wheel_and_has_no_stray_files(built):
    wheel, names, unpacked = built
    assert contents(wheel_of(unpacked, unpacked / "dist")) == contents(wheel)
    outside = {name for name in names if not name.startswith("labelattack/")}
    experiments = {name for name in outside if name.startswith("benchmarks/paper/")}
    assert {Path(name).suffix for name in experiments} == {".toml"}
    assert outside - experiments == {
        ".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO", "README.md",
        "SECURITY.md", "pyproject.toml",
    }  # fmt: skip


def test_every_python_that_is_stated_is_tested(pytestconfig):
    root = pytestconfig.rootpath
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    stated = [
        line.rpartition(" ")[2] for line in project["classifiers"] if ":: Python :: 3." in line
    ]
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == stated
    assert project["requires-python"] == f">={stated[0]}"
    (line,) = [
        each
        for each in (root / ".ci/versions").read_text().splitlines()
        if "for version in" in each
    ]
    assert set(stated) <= set(line.rstrip("; do").split()[3:])
