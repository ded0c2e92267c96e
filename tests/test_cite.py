"""Every component with a source has BibTeX; the cite command; CITATION.cff."""

import re
import shutil
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import bibtexparser
import pytest
import yaml

from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.store.components import components_of
from labelattack.benchmark.store.store import RecordStore
from labelattack.cli.list import KINDS
from labelattack.registry.references import bibliography, entries_of, references_of

ROOT = Path(__file__).parents[1]
REGISTRIES = {kind: import_module(package).registry for kind, package in KINDS.items()}
BUILT_IN = [
    (kind, name)
    for kind, registry in REGISTRIES.items()
    for name in registry.names()
    if registry.is_builtin(name)
]
NOTHING_TO_CITE = {"yours", "control", "the publication of the mask"}  # sources
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
PLUGIN = '''
from dataclasses import dataclass
from labelattack import LabelAttack, attacks

@attacks.register("wipe-two")
@dataclass(frozen=True, kw_only=True)
class WipeTwo(LabelAttack):
    """Hides two classes."""

    references = """
        @misc{{somebody1999,
          title = {{Two Classes}},
          author = {{Body, Some}},
          year = {{1999}}
        {end}
    """

    def observe(self, labels, rng):
        return labels | True
'''


def parsed(text):
    return bibtexparser.loads(text).entries_dict


def declared(kind, name):
    (found,) = (d for d in REGISTRIES[kind].declarations() if d.name == name)
    return found


# --- contract


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=lambda part: part)
def test_a_component_with_a_source_has_entries_that_parse(kind, name):
    registry = REGISTRIES[kind]
    source = declared(kind, name).source
    entries = references_of(registry, name)
    told = f"{source} {registry.get(name).__doc__ if kind == 'measures' else ''}"
    assert bool(entries) or source in NOTHING_TO_CITE or not (source or YEAR.search(told))
    for key, entry in entries.items():
        fields = parsed(entry)[key]
        assert fields["title"] and fields["author"]
        assert re.fullmatch(r"(19|20)\d\d", fields["year"])


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=lambda part: part)
def test_the_years_and_first_authors_of_a_source_are_those_of_its_entries(kind, name):
    source = declared(kind, name).source
    entries = [parsed(e)[k] for k, e in references_of(REGISTRIES[kind], name).items()]
    # "Cole et al. 2021", "Koh and Liang 2017": who and when stand together.
    told = re.findall(r"(\w+)(?:, \w+)* (?:et al\.|and \w+) (\d{4})\b", source)
    cited = {(e["author"].split(",")[0], e["year"]) for e in entries}
    for author, year in told:
        assert any(last.endswith(author) and year == when for last, when in cited), source


def test_the_bibliography_is_whole_sorted_and_used():
    text = (ROOT / "labelattack/references.bib").read_text(encoding="utf-8")
    assert (
        list(bibliography())
        == sorted(parsed(text))
        == sorted(re.findall(r"^@\w+\{(\w+),", text, re.M))
    )
    used = {key for kind, name in BUILT_IN for key in references_of(REGISTRIES[kind], name)}
    assert used == set(bibliography())


# --- command


def keys_of(text):
    return list(entries_of(text))


def test_named_components_are_cited_once_each_with_who_needs_it(command):
    out = command("cite", "an", "role", "voc:year=2007")
    assert keys_of(out) == ["kundu2020", "cole2021", "everingham2015"]
    assert "% defense 'an', defense 'role'\n@inproceedings{cole2021," in out
    assert set(parsed(out)) == {"kundu2020", "cole2021", "everingham2015"}


def test_a_set_of_attacks_is_cited_by_its_members(command):
    assert {"zhang2024", "labelattack"} <= set(keys_of(command("cite", "worst-of:set=standard")))


def test_without_a_name_it_is_the_software_and_its_paper(command):
    assert keys_of(command("cite")) == ["labelattack", "zhang2024"]


def test_a_store_is_cited_by_all_that_it_ran(command):
    store = ROOT / "tests/golden/store"
    found = components_of(RecordStore(store, create=False))
    assert found["datasets"] == ["digits"] and "d-score" in found["measures"]
    assert "delete-cell" in found["mutations"]
    expected = {
        key
        for kind in found
        for name in found[kind]
        for key in references_of(REGISTRIES[kind], name)
    }
    assert set(keys_of(command("cite", store))) == expected | {"labelattack", "zhang2024"}


def test_plug_ins_bring_their_own_entries(command, tmp_path, forgotten):
    (tmp_path / "two.py").write_text(PLUGIN.format(end="}"))
    out = command("cite", "wipe-two", "--plugin", "two.py")
    assert keys_of(out) == ["somebody1999"] and parsed(out)["somebody1999"]["year"] == "1999"


def test_what_cannot_be_cited_is_said(told, refused, tmp_path, forgotten):
    code, out, err = told("cite", "table")
    assert (code, out) == (0, "") and err == "note: dataset 'table' has no reference: yours"
    assert "unknown component or store 'rol'; did you mean 'role'?" in refused(
        "cite", "rol", cwd=tmp_path
    )
    assert "must be a store" in refused("cite", str(tmp_path), cwd=tmp_path)
    (tmp_path / "open.py").write_text(PLUGIN.format(end=""))
    said = refused("cite", "wipe-two", "--plugin", "open.py", cwd=tmp_path)
    assert "references of attack 'wipe-two' must be BibTeX" in said


def test_a_stores_plug_ins_need_not_be_there(told, tmp_path):
    """Those that are not loaded are named, and all else is cited."""
    shutil.copytree(ROOT / "tests/golden/store", tmp_path / "store")
    for path in (tmp_path / "store/records").iterdir():
        path.unlink()
    store = RecordStore(tmp_path / "store")
    for record in RecordStore(ROOT / "tests/golden/store", create=False):
        cell = Cell(**{**record.cell.model_dump(), "defense": "of-a-stranger"})
        store.add(record.model_copy(update={"cell": cell, "key": cell.key}))
        break
    code, out, err = told("cite", "store")
    assert code == 0 and "@misc{zhang2024," in out
    assert "defense 'of-a-stranger' is of a plug-in; --plugin FILE.py adds what it cites" in err


# --- files at the top


def test_citation_file_agrees_with_the_package_and_the_bibliography():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["version"] == version("labelattack")
    assert cff["authors"] == [{"name": "labelattack contributors"}]
    software = parsed(bibliography()["labelattack"])["labelattack"]
    assert version("labelattack") in software["note"] and software["title"] == cff["title"]
    paper, (reference,) = parsed(bibliography()["zhang2024"])["zhang2024"], cff["references"]
    assert reference["title"] == re.sub("[{}]", "", paper["title"])
    names = [f"{a['family-names']}, {a['given-names']}" for a in reference["authors"]]
    assert " and ".join(names) == paper["author"]
    assert str(reference["year"]) == paper["year"] and paper["eprint"] in reference["url"]
