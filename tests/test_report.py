"""The report: what it says, that names stay text, and how it behaves in a browser."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from labelattack import attacks, defenses
from labelattack.attacks.base import LabelAttack
from labelattack.benchmark.boards.leaderboard import boards, boards_with_records
from labelattack.benchmark.execution.context import load
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.report.heat_map import heat_map
from labelattack.benchmark.report.html import label_samples as excerpting
from labelattack.benchmark.report.html.document import inert
from labelattack.benchmark.report.html.label_page import write_label_page
from labelattack.benchmark.report.html.label_samples import label_samples
from labelattack.benchmark.report.html.page import write_report
from labelattack.benchmark.report.html.provenance import duration, failures, provenance_of
from labelattack.benchmark.store.record import CleanScores, Record, Removal
from labelattack.benchmark.store.store import RecordStore
from labelattack.cli.report import report
from labelattack.errors import LabelAttackError, StoreError
from labelattack.labels import PartialLabels
from labelattack.measures.certified import Certified
from labelattack.measures.d_score import Diagnosis, DScoreSettings
from labelattack.training.recipe import Recipe
from tests.conftest import SMALL_DIGITS

MARKUP = "</script><script>window.pwned=1</script>"
HANDLER = "<img src=x onerror=window.pwned=1>"
LINK = '<a href="javascript:window.pwned=1">link</a><b>bold</b>&lt;i&gt;%{y}'
HOSTILE = (MARKUP, HANDLER, LINK, "'\"><svg onload=window.pwned=1>", "\u2028\u202e{{ 7*7 }}")


def record(
    attack="none", defense="bce", seed=0, value=0.8, *, scored=True, removal=True, **changes
):
    about = {
        "dataset": SMALL_DIGITS, "model": "tiny", "protocol": "linear", "selection": "attacked",
        "fingerprint": "0123", "versions": dict.fromkeys(("dataset", "model", "attack", "defense"), "1"),
        "recipe": Recipe(epochs=2, lr=1e-3, batch_size=16),
    }  # fmt: skip
    cell = Cell(
        attack=attack,
        defense=defense,
        seed=seed,
        **{k: changes.pop(k, v) for k, v in about.items()},
    )
    rate = re.search(r"rate=([\d.]+)", attack)
    found = {
        "status": "done", "val_map": 0.5, "seconds": 60.0, "cpu_seconds": 30.0, "device": "cpu",
        "created": f"2026-01-0{seed + 1}T00:00:00+00:00", "machine": "a machine", "commit": "abc",
        "peak_memory": 100.0 + seed, "libraries": {"torch": "2"},
        "removal": Removal(
            requested_rate=rate and float(rate[1]), realised_rate=0.4, rate_of="positives",
            positives_removed=0.4, q_hat=0.9,
        ) if removal else None,
        "test": CleanScores(
            map=value, map_micro=value, map_voc_11_point=value, undefined_classes=0,
            per_class={"cat": value + 0.1, "dog": value - 0.1, "owl": None},
        ),
        "diagnosis": Diagnosis(
            settings=DScoreSettings(), rows=2, columns=2, images=9, attention=None, features=None,
            robustness=0.2, fitness=value, robustness_interval=(0.1, 0.3),
        ) if scored else None,
    }  # fmt: skip
    return Record(key=cell.key, cell=cell, **{**found, **changes})


def failed(reason, **changes):
    return record(status="failed", reason=reason, test=None, diagnosis=None, **changes)


def spec(text, of=attacks):
    return str(of.registry.resolve(text))


def usual(**changes):
    """Two defenses under two rates and a reference, three seeds."""
    found = [record(seed=s, value=0.8 + s / 100, **changes) for s in range(3)]
    for rate, loss in ((0.2, 0.1), (0.4, 0.25)):
        for defense, better in (("an", 0.0), ("wan", 0.05)):
            found += [
                record(spec(f"targeted:rate={rate}"), spec(defense, defenses), s, 0.8 - loss + better + s / 90, **changes)
                for s in range(3)
            ]  # fmt: skip
    return found


class Elements(HTMLParser):
    """Start tags with their attributes, and the text within each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._inside = [], [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


def page_of(tmp_path, records, name="a store", **options):
    out = tmp_path / "report.html"
    write_report(out, name, records, **options)
    return out


@pytest.fixture
def no_plotly(monkeypatch):
    """Parsing five megabytes that are not ours takes time."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "window.Plotly = {react() {}};")


def parts(page):
    return re.findall(r'data-part="(\w+)"', page.read_text())


def test_names_are_text_wherever_they_come_from(tmp_path, no_plotly):
    found = []
    for bad in HOSTILE:
        plain = bad.replace(",", "").replace(":", "")
        changes = {"dataset": bad, "machine": bad, "commit": bad, "libraries": {bad: bad}}
        scores = record().test.model_copy(update={"per_class": {bad: 0.5, "dog": 0.1}})
        found += [record(plain, plain, test=scores, **changes), failed(bad, defense=bad, seed=1, **changes)]  # fmt: skip
    elements = Elements(page_of(tmp_path, found, HANDLER).read_text())
    empty = Elements(page_of(tmp_path, usual(), "x").read_text())
    assert {tag for tag, _ in elements.tags} <= {tag for tag, _ in empty.tags} | {"ol", "nav", "h4"}
    assert not [name for _, given in elements.tags for name in given if name.startswith("on")]
    assert len(elements.scripts) == len(boards(found)) + 2
    data = [json.loads(text) for text in elements.scripts[:-2]]
    assert {row["attack"] for each in data for row in each["board"]["rows"]} == {
        r.cell.attack for r in found
    }


def test_only_the_scripts_of_the_page_may_run(tmp_path, no_plotly):
    elements = Elements(page_of(tmp_path, usual()).read_text())
    (policy,) = [a["content"] for tag, a in elements.tags if tag == "meta" and "http-equiv" in a]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in elements.scripts
    ]
    assert rules["script-src"] == f"'sha256-{hashes[-1]}' 'sha256-{hashes[-2]}'"
    outside = [v for _, given in elements.tags for k, v in given.items() if k in ("src", "href")]
    assert all(address.startswith(("#", "data:")) for address in outside)


def test_inert_json_is_the_same_json():
    value = {"a": "</script><!-- & \u2028\u2029", "b": [1, None]}
    text = inert(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value and not re.search("[<>&\u2028\u2029]", text)


@pytest.mark.parametrize(
    ("records", "present", "absent"),
    [
        ([], set(), {"rows"}),
        ([record(a, d) for a in ("none", "random") for d in ("an", "wan")], {"rows"}, {"heat"}),
        ([failed("boom")], {"rows", "origins"}, {"curves", "scatter", "classes", "labels"}),
        ([record()], {"rows", "scatter"}, {"curves", "labels", "comparisons"}),
        ([record("single-positive", scored=False)], {"rows", "labels"}, {"curves", "scatter"}),
        (usual(), {"rows", "heat", "curves", "scatter", "classes", "labels", "comparisons"}, set()),
    ],
)
def test_a_page_has_the_parts_that_there_are_data_for(
    tmp_path, no_plotly, records, present, absent
):
    found = parts(page_of(tmp_path, records))
    assert present <= set(found) and not absent & set(found) and len(found) == len(set(found))


def test_heat_maps_are_arranged_as_loops_arrange_them():
    """Against loops over rows; an oracle is never the best, and who lacks an attack comes last."""
    rng = np.random.default_rng(0)
    values = {}
    for attack in ("none", "random", "single-positive", "targeted"):
        for defense in ("an", "wan", "iu", "epr"):
            if (attack, defense) != ("random", "epr"):
                values[spec(attack), spec(defense, defenses)] = rng.uniform(0.4, 0.7)
        values[spec(attack), "seer"] = 0.9
    found = [record(*pair, value=value, oracle=pair[1] == "seer") for pair, value in values.items()]
    found += [record(value=0.95), failed("boom", attack=spec("targeted"), defense="lost")]
    found += [failed("boom", attack=spec("random"), defense=spec("epr", defenses))]
    (board,) = boards(found)
    heat = heat_map(board)
    lost = [
        (d, a)
        for d, line in zip(heat.defenses, heat.failed, strict=True)
        for a, no in zip(heat.attacks, line, strict=True)
        if no
    ]
    assert lost == [("epr", "random:rate=0.4")]
    assert heat.attacks == ["none", "random:rate=0.4", "single-positive", "targeted:rate=0.4"]
    ranked = [name for name in heat.defenses if name != "epr"]
    assert heat.defenses[-1] == "epr" and heat.missing == [0, 0, 0, 0, 1]
    assert set(heat.defenses) == {"seer", "an", "wan", "iu", "epr"}
    for y, name in enumerate(heat.defenses):
        maps = []
        for x, attack in enumerate(heat.attacks):
            row = next(
                (r for r in board.rows
                 if (attacks.registry.short(r.attack), defenses.registry.short(r.defense)) == (attack, name)),
                None,
            )  # fmt: skip
            if row is None or row.map is None:
                assert heat.rows[y][x] is None and heat.behind[y][x] is None
                continue
            assert board.rows[heat.rows[y][x]] == row
            others = [r.map for r in board.rows if r.attack == row.attack and r.map is not None
                      and r.defense not in ("seer", "bce")]  # fmt: skip
            assert heat.behind[y][x] == pytest.approx(max(others) - row.map)
            maps += [row.map] if attack != "none" else []
        assert heat.means[y] == pytest.approx(np.mean(maps))
    means = [heat.means[heat.defenses.index(name)] for name in ranked]
    assert means == sorted(means, reverse=True)


def test_a_mixed_board_draws_no_single_reference(tmp_path, no_plotly):
    one = page_of(tmp_path, usual()).read_text()
    mixed = page_of(tmp_path, usual() + usual(protocol="finetune"), mix=["protocol"]).read_text()
    assert "dashed line" in one and "dashed line" not in mixed
    assert json.loads(Elements(one).scripts[0])["reference"] == 0
    (data,) = Elements(mixed).scripts[:-2]
    assert json.loads(data)["reference"] is None


def test_equal_stores_give_equal_pages(tmp_path, no_plotly):
    first = page_of(tmp_path, usual()).read_bytes()
    assert page_of(tmp_path, usual()).read_bytes() == first


def test_boards_come_with_their_own_records():
    found = usual() + usual(fingerprint="other")
    (one, its), (_, others) = boards_with_records(found)
    assert one.fingerprint == "0123" and its == usual()
    assert others == usual(fingerprint="other")


def test_provenance_adds_up():
    found = [*usual(), failed("disk on fire", defense="role", seed=4, machine="another")]
    ((board, its),) = boards_with_records(found)
    facts = dict(provenance_of(board, its))
    assert facts["records"] == ["15 finished, 1 failed"]
    assert facts["machines"] == ["a machine", "another"]
    assert facts["wall time"] == ["16 min 00 s"] and facts["CPU time"] == ["8 min 00 s"]
    assert facts["computed"] == ["2026-01-01T00:00:00+00:00", "2026-01-05T00:00:00+00:00"]
    assert facts["peak memory"] == ["104 MiB"]
    found = failures(its)
    assert found["cells"] == [["none", "role", 4, "disk on fire", 1e-3, 16]]
    assert found["columns"][4:6] == ["learning rate", "batch size"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.fixture(scope="module")
def truth():
    return load(SMALL_DIGITS)


def attacked(text, truth, seed=2):
    labels = attacks.create(text)(truth.train.labels, seed=seed)
    base = record(spec(text), "an", seed, fingerprint=truth.fingerprint)
    removal = base.removal.model_copy(update={"attacked_labels": labels.digest()})
    return labels, base.model_copy(update={"removal": removal})


def test_excerpts_are_what_the_attack_left(truth):
    labels, found = attacked("random:rate=0.5", truth)
    (shown,) = label_samples([found, record(fingerprint=truth.fingerprint)])
    before, after = shown.panels
    assert (before.attack, after.attack, after.seed) == ("clean labels", "random:rate=0.5", 2)
    assert shown.images == list(truth.train.ids[:40]) and shown.classes == list(truth.classes)
    for image in range(40):
        for label in range(len(truth.classes)):
            positive = truth.train.labels[image, label]
            assert before.states[image][label] == ("P" if positive else "N")
            state = after.states[image][label]
            assert (state in "Pp") == positive
            assert state.isupper() == labels.observed[image, label]
    assert shown.remarks == ["the first 40 of 60 training images"]
    positives = truth.train.labels.sum(axis=0)
    frequent = [list(truth.classes).index(name) for name in shown.frequent]
    assert [positives[n] for n in frequent] == sorted(positives, reverse=True)
    assert before.shares == [0.0] * 10
    for share, n in zip(after.shares, frequent, strict=True):
        gone = sum(labels.hidden[i, n] and truth.train.labels[i, n] for i in range(60))
        assert share == gone / positives[n]
    rows = [list(truth.train.ids).index(name) for name in shown.sorted_images]
    assert sorted(rows) == list(range(60))
    for image, states in zip(rows, after.matrix, strict=True):
        for n, state in zip(frequent, states, strict=True):
            assert (state in "Pp") == truth.train.labels[image, n]
            assert state.isupper() == labels.observed[image, n]


def test_excerpts_show_nothing_that_is_not_known_to_be_right(truth, monkeypatch):
    _, good = attacked("targeted", truth)
    other = good.model_copy(update={"cell": good.cell.model_copy(update={"seed": 3})})
    (shown,) = label_samples([other])
    assert len(shown.panels) == 1 and "other labels here than recorded" in shown.remarks[0]
    (shown,) = label_samples([record("targeted", "an")])
    assert not shown.panels and "other fingerprint" in shown.remarks[0]
    (shown,) = label_samples([record("targeted", "an", dataset="mine:path=x")])
    assert not shown.panels and "unknown without its plug-in" in shown.remarks[0]
    (shown,) = label_samples([record("mine", "an", fingerprint=truth.fingerprint)])
    assert (
        len(shown.panels) == 1
        and "'mine' is not shown: attack 'mine' is unknown" in shown.remarks[0]
    )
    (shown,) = label_samples(
        [record("targeted", "an", dataset="table:labels=none.csv,images=none")]
    )
    assert not shown.panels and "not to be had here" in shown.remarks[0]
    monkeypatch.setattr(excerpting, "ATTACKS", 1)
    (shown,) = label_samples([good, attacked("single-positive", truth)[1]])
    assert len(shown.panels) == 2 and "the first 1 of 2 attacks" in shown.remarks


def test_plug_ins_that_were_loaded_are_shown_and_may_fail(truth):
    @attacks.register("loaded")
    @dataclass(frozen=True, kw_only=True)
    class Loaded(LabelAttack):
        """Hides one class, or nothing well."""

        column: int = 0

        def observe(self, labels, rng):
            keep = np.ones_like(labels)
            keep[:, self.column] = False
            return keep

    try:
        good, bad = (
            record(spec(f"loaded:column={n}"), "an", fingerprint=truth.fingerprint) for n in (1, 99)
        )
        (shown,) = label_samples([good, bad])
    finally:
        del attacks.registry._classes["loaded"]
    _, panel = shown.panels
    assert {row[1] for row in panel.states} == {"p", "n"} and panel.states[0][0] in "PN"
    assert shown.remarks[0].startswith("'loaded:column=99' is not shown: IndexError: ")


def test_what_stands_in_the_way_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"report '.*report.html' cannot be written"):
        page_of(tmp_path / "file", [])
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(LabelAttackError, match=r"plotly.*pip install 'labelattack\[report\]'"):
        page_of(tmp_path, [])


def test_the_command_writes_into_the_store_or_elsewhere(run, tmp_path, monkeypatch):
    store = RecordStore(tmp_path / "store")
    for each in [*usual(dataset="gone"), *usual(dataset="gone", protocol="finetune")]:
        store.add(each)
    monkeypatch.setattr("gc.disable", lambda: None)
    said = run("report", store.folder)
    assert (said.stdout, said.stderr) == ("", f"wrote '{store.folder / 'report.html'}'\n")
    assert parts(store.folder / "report.html").count("rows") == 2
    run("report", store.folder, "--mix", "protocol", "--out", tmp_path / "new" / "one.html")
    assert parts(tmp_path / "new" / "one.html").count("rows") == 1
    with pytest.raises(StoreError, match="results must be a store"):
        report(tmp_path)


# In a browser.


def is_there(locator):
    """What waits until something holds of an element; the page itself lets no text be evaluated."""
    from playwright.sync_api import expect

    return expect(locator)


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium on the PATH")
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright()
    with playwright as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser):
    """Opens a page from disk; whatever it says or asks for fails the test."""
    contexts, complaints = [], []

    def opened(path, **options):
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(15000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:", "blob:")) or complaints.append(request.url),
        )  # fmt: skip
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def plain_page(tmp_path, no_plotly):
    """The same numbers; its pictures stay empty."""
    return page_of(tmp_path, usual(dataset="gone")), boards(usual(dataset="gone"))[0]


@pytest.fixture(scope="module")
def usual_page(tmp_path_factory, truth):
    _, real = attacked("targeted:rate=0.4", truth)
    found = [
        r.model_copy(update={"cell": r.cell.model_copy(update={"fingerprint": truth.fingerprint})})
        for r in usual()
    ]
    found = [
        real if (r.cell.attack, r.cell.defense, r.cell.seed) == (real.cell.attack, "an", 2) else r
        for r in found
    ]
    return page_of(tmp_path_factory.mktemp("page"), found), boards(found)[0]


def column(page, number, part="rows"):
    return page.locator(
        f"[data-part={part}] .scroll tbody td:nth-child({number})"
    ).all_inner_texts()


def drawn(page, part):
    """The first picture of a part, once it is there."""
    page.locator(f"[data-part={part}] .plot").first.scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-part={part}] .plot .main-svg", state="attached")
    return page.locator(f"[data-part={part}] .plot").first


def test_rows_are_sorted_by_mouse_and_by_keyboard(show, plain_page):
    path, board = plain_page
    page = show(path)
    given = column(page, 3)
    assert len(given) == len(board.rows) == 5
    by_map = page.get_by_role("button", name="mAP", exact=True)
    heading = page.locator("[data-part=rows] th", has=by_map)
    by_map.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, 3) == sorted(given, reverse=True)
    by_map.focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(page, 3) == sorted(given)
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") is None
    assert column(page, 3) == given


def test_rows_are_filtered_and_pictures_follow(show, usual_page):
    path, _ = usual_page
    page = show(path)
    dots = "[data-part=scatter] .scatterlayer path.point"
    drawn(page, "scatter")
    assert page.locator(dots).count() == 5
    page.get_by_label("Search").first.fill("wan 0.4")
    is_there(page.get_by_role("status").first).to_have_text("1 of 5 rows")
    assert column(page, 1) == ["targeted:rate=0.4"] and "wan" in column(page, 2)[0]
    is_there(page.locator(dots)).to_have_count(1)
    page.get_by_label("Search").first.fill("")
    page.get_by_role("combobox", name="Defense").select_option("an")
    is_there(page.get_by_role("status").first).to_have_text("2 of 5 rows")


def test_curves_tell_their_numbers_and_can_be_switched_off(show, usual_page):
    path, board = usual_page
    page = show(path)
    plot = drawn(page, "curves")
    lines = plot.locator(".scatterlayer .trace")
    assert lines.count() == 5  # two bands, two lines, the reference
    plot.locator(".scatterlayer path.point").first.hover(force=True)
    told = page.locator(".hoverlayer .hovertext").first
    curve = board.curves[0]
    assert told.text_content().startswith(f"an0.2 removed: {curve.maps[0]:.1f} ± ")
    page.get_by_role("checkbox", name="wan").uncheck()
    is_there(page.locator("[data-part=curves] .scatterlayer .trace")).to_have_count(3)


def certified(curve, images_changed, parts=5):
    """Outcome of measure ``certified``, as a record has it."""
    measure = Certified(at=1)
    return {
        "certified": measure.values(
            40, certified_map=curve[1], certified_half=1.0, certified_area=0.9,
            details={
                "parts": parts, "curve": curve, "chance": 0.2, "images_changed": images_changed,
            },
        )
    }  # fmt: skip


def certified_records():
    """`an` on full labels and under two rates, with certificates; three seeds."""
    found = []
    for seed in range(3):
        for rate, images in ((0.0, 0), (0.2, 12), (0.4, 24)):
            attack = spec(f"unlabelled-images:rate={rate}") if rate else "none"
            curve = [value + seed / 100 - rate / 4 for value in (0.8, 0.7, 0.4, 0.1)]
            plain = record(attack, spec("an", defenses), seed, curve[0], scored=False)
            found.append(plain.model_copy(update={"outcomes": certified(curve, images)}))
    return found


def test_what_is_certain_is_drawn_below_what_attacks_took(show, tmp_path):
    found = certified_records()
    (board,) = boards(found)
    page = show(page_of(tmp_path, found))
    plot = drawn(page, "certified")
    label = plot.get_attribute("aria-label")
    assert label.startswith("Certified mAP, labels as they are: an 71.0 for 1 image")
    assert page.locator("[data-part=certified] .plot").count() == 3  # of each attack's labels
    is_there(plot.locator(".scatterlayer .trace")).to_have_count(3)  # a band, its line, the attacks
    points = plot.locator(".scatterlayer path.point")
    assert points.count() == 2
    points.first.hover(force=True)
    told = page.locator(".hoverlayer .hovertext").first
    is_there(told).to_have_text(
        re.compile("^an under unlabelled-imageslabels of 12 images changed: 76.0")
    )
    lines = list(csv.DictReader(io.StringIO(saved(page, "certified", "CSV"))))
    assert [float(each["certified_map"]) for each in lines] == [
        value for row in board.rows for value in row.measured["certified"].curve
    ]


def test_every_picture_is_drawn_said_in_words_and_fits_a_narrow_screen(show, usual_page):
    page = show(usual_page[0], viewport={"width": 400, "height": 800})
    for part in ("heat", "curves", "scatter", "classes", "labels"):
        drawn(page, part)
    pictures = page.locator(".plot")
    # Heat map, curves, scatter, classes; labels before and after two attacks, the first and all.
    assert pictures.count() == 10
    assert all(label for label in pictures.evaluate_all("all => all.map(p => p.ariaLabel)"))
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    unlabelled = (
        "all => all.filter(e => !e.labels?.length && !e.ariaLabel && !e.textContent).length"
    )
    assert page.locator("input, select, button").evaluate_all(unlabelled) == 0


def test_the_heat_map_tells_mean_interval_and_rank(show, usual_page):
    path, board = usual_page
    page = show(path)
    plot = drawn(page, "heat")
    cells = plot.locator(".heatmap-label")
    maps = {(r.defense.split(":")[0], r.requested_rate): r for r in board.rows}
    wanted = [maps["wan", 0.2], maps["wan", 0.4], maps["an", 0.2], maps["an", 0.4]]
    is_there(cells).to_have_text([f"{row.map:.1f}" for row in wanted])
    assert plot.locator(".xtick text").all_text_contents() == [
        "targeted:rate=0.2", "targeted:rate=0.4",
    ]  # fmt: skip
    assert plot.get_attribute("aria-label").startswith("mAP of 2 defenses under 2 attacks: wan ")
    cells.nth(2).hover(force=True)
    told = page.locator(".hoverlayer .hovertext").first
    an = wanted[2]
    assert told.text_content().startswith(
        f"antargeted:rate=0.2mAP {an.map:.1f} ± {an.interval:.1f}"
        f"{wanted[0].map - an.map:.1f} points behind the bestrank "
    )
    heat = json.loads(saved(page, "heat", "JSON"))
    assert [each["map"] for each in heat] == [row.map for row in wanted]


def test_the_page_of_an_attack_sorts_and_searches_its_classes(show, tmp_path):
    rng = np.random.default_rng(0)
    before = PartialLabels.full(rng.random((40, 15)) < 0.4)
    after = attacks.create("random:rate=0.5")(before, seed=0)
    names = [f"class {n} {HOSTILE[n % len(HOSTILE)]}" for n in range(15)]
    write_label_page(tmp_path / "page.html", [("attack", HANDLER)], before, after, names)
    page = show(tmp_path / "page.html", viewport={"width": 400, "height": 800})
    shares = [float(text[:-2]) for text in page.locator("td:nth-child(4)").all_inner_texts()]
    assert len(shares) == 15 and shares == sorted(shares, reverse=True)
    page.get_by_role("button", name="share removed").click()
    page.get_by_role("button", name="share removed").click()
    texts = page.locator("td:nth-child(4)").all_inner_texts()
    assert [float(text[:-2]) for text in texts] == shares[::-1]
    page.get_by_label("Search").fill("class 7")
    is_there(page.locator("tbody tr")).to_have_count(1)
    assert len(json.loads(saved(page, "classes", "JSON"))) == 15
    assert page.locator("img").evaluate("image => image.naturalWidth") > 1000
    assert page.evaluate("window.pwned") is None


def test_colours_follow_the_system_also_later(show, usual_page):
    page = show(usual_page[0], color_scheme="dark")
    text = drawn(page, "curves").locator(".xtick text").first
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 23, 26)"
    is_there(text).to_have_css("fill", "rgb(228, 231, 234)")
    page.emulate_media(color_scheme="light")
    is_there(text).to_have_css("fill", "rgb(27, 31, 36)")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


def saved(page, what, kind):
    with page.expect_download() as found:
        page.get_by_role("button", name=f"Download {what} as {kind}").click()
    return found.value.path().read_text()


def test_downloads_are_the_numbers_of_the_board(show, usual_page):
    path, board = usual_page
    page = show(path)
    whole = board.model_dump(mode="json")
    assert json.loads(saved(page, "rows", "JSON")) == whole["rows"]
    assert json.loads(saved(page, "comparisons", "JSON")) == whole["comparisons"]
    rows = list(csv.DictReader(io.StringIO(saved(page, "rows", "CSV"))))
    assert [float(row["map"]) for row in rows] == [row.map for row in board.rows]
    assert [row["rank"] for row in rows] == [
        "" if row.rank is None else f"{row.rank[0]}; {row.rank[1]}" for row in board.rows
    ]
    curves = list(csv.DictReader(io.StringIO(saved(page, "curves", "CSV"))))
    assert [(float(c["rate"]), float(c["map"])) for c in curves] == [
        pair for curve in board.curves for pair in zip(curve.rates, curve.maps, strict=True)
    ]
    drops = list(csv.DictReader(io.StringIO(saved(page, "classes", "CSV"))))
    assert [float(d["points_lost"]) for d in drops] == [
        drop for row in board.rows for drop in row.measured["class-drops"].class_drops.values()
    ]
    labels = json.loads(saved(page, "labels", "JSON"))
    shares = json.loads(saved(page, "shares", "JSON"))
    assert len(shares) == 2 * 10 and all(
        0 <= each["share_of_positives_removed"] <= 1 for each in shares
    )
    assert len(labels) == 3 * 40 * 10 and {each["image"] for each in labels[:10]} == {
        labels[0]["image"]
    }


def test_names_do_nothing_in_a_browser(show, tmp_path):
    found = []
    for number, bad in enumerate(HOSTILE):
        name = bad.replace(",", "").replace(":", "")
        scores = record().test.model_copy(
            update={"per_class": {bad: 0.5 + number / 10, "dog": 0.1}}
        )
        plain = record().test.model_copy(update={"per_class": {bad: 0.7, "dog": 0.2}})
        found += [
            record(test=plain, dataset=bad),
            record(f"{name}:rate=0.4", name, test=scores, dataset=bad),
            failed(bad, defense=name, seed=1, dataset=bad),
        ]
    page = show(page_of(tmp_path, found, HANDLER))
    for board in page.locator(".board").all():
        for plot in board.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for(state="attached")
    names = board.locator("[data-part=classes] .ytick text").all_text_contents()
    assert names and page.locator(".plot a, .plot b, .plot img").count() == 0
    plot = page.locator(".board").nth(HOSTILE.index(LINK)).locator("[data-part=classes] .plot")
    plot.scroll_into_view_if_needed()
    told = "".join(plot.locator(".xtick text").all_text_contents())
    assert "<b>bold</b>&lt;i&gt;%{y}" in told
    plot.locator(".nsewdrag").hover(position={"x": 20, "y": 5}, force=True)
    page.wait_for_selector(".hoverlayer .hovertext", state="attached")
    assert page.locator(".hoverlayer a").count() == 0
    assert page.evaluate("window.pwned") is None
    assert page.title().startswith(HANDLER)


def test_many_rows_come_as_they_are_wanted(show, tmp_path, no_plotly):
    found = [record("single-positive", f"mine{n}", value=0.5 + n / 2000) for n in range(250)]
    page = show(page_of(tmp_path, found))
    assert len(column(page, 1)) == 100
    page.get_by_role("button", name="Show more (150 left)").dispatch_event("click")
    is_there(page.locator(".scroll tbody tr")).to_have_count(200)
    page.locator(".scroll").first.evaluate("e => e.scrollTo(0, e.scrollHeight)")
    is_there(page.locator(".scroll tbody tr")).to_have_count(250)
    page.get_by_label("Search").first.fill("mine249")
    is_there(page.locator(".scroll tbody tr")).to_have_count(1)


@pytest.mark.parametrize("records", [[], [failed("boom")], [record(scored=False, removal=False)]])
def test_pages_with_little_to_say_say_it(show, tmp_path, no_plotly, records):
    page = show(page_of(tmp_path, records))
    text = page.locator("main").inner_text()
    assert ("No finished cell yet" in text) == (not records)
    assert ("boom" in text) == any(r.status == "failed" for r in records)


def test_pictures_have_no_bar_that_covers_them(show, usual_page):
    page = show(usual_page[0])
    for part in ("curves", "labels"):
        drawn(page, part).hover(force=True)
    assert page.locator(".modebar").count() == 0


def test_an_attack_at_one_rate_is_dots_with_intervals(show, tmp_path):
    found = [r for r in usual(dataset="gone") if "0.2" not in r.cell.attack]
    page = show(page_of(tmp_path, found))
    plot = drawn(page, "curves")
    (board,) = boards(found)
    best = sorted(board.curves, key=lambda curve: -curve.maps[0])
    names = [curve.defense.split(":")[0] for curve in best]
    assert plot.locator(".ytick text").all_text_contents() == names == ["wan", "an"]
    assert plot.locator(".errorbar .xerror").count() == 2
    assert plot.locator(".js-line").count() == 1  # the reference
    told = page.locator("[data-part=curves] figcaption").text_content()
    assert told == "targeted, 0.4 of positives removed"
    before = plot.bounding_box()["height"]
    page.get_by_role("checkbox", name="wan").uncheck()
    is_there(plot.locator(".ytick text")).to_have_text(["an"])
    assert plot.bounding_box()["height"] < before


@pytest.mark.parametrize("width", [1300, 700])
def test_long_names_of_data_sets_stay_on_one_line(show, tmp_path, no_plotly, width):
    long = "table:images=/srv/a/very/long/path/to/some/photos,labels=/srv/a/very/long/path/to/some/labels.csv"
    found = [*usual(dataset=long), *usual(dataset="digits")]
    page = show(page_of(tmp_path, found), viewport={"width": width, "height": 800})
    names = page.locator("h2 .name, nav .name")
    assert names.count() == 4
    assert {"digits", long} == set(names.evaluate_all("all => all.map(name => name.title)"))
    assert "table:images=…/photos,labels=…/labels.csv" in names.all_text_contents()
    heights = names.evaluate_all(
        "all => all.map(n => n.offsetHeight / parseFloat(getComputedStyle(n).fontSize))"
    )
    assert max(heights) < 2
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert long in page.locator("[data-part=origins] dd").all_text_contents()


def test_thirty_attacks_are_all_there_and_can_be_found(show, tmp_path, no_plotly):
    found = [record(f"mine{n}:rate=0.4", d, value=0.5) for n in range(30) for d in ("an", "wan")]
    page = show(page_of(tmp_path, found))
    panels = page.locator("[data-part=curves] .panels figure")
    assert panels.count() == 30
    page.locator("[data-part=curves]").get_by_label("Attack").fill("MINE27")
    is_there(panels.locator("visible=true")).to_have_count(1)
    is_there(panels.locator("visible=true").locator("figcaption")).to_contain_text("mine27")


def test_attack_and_defense_stay_beside_a_scrolled_table(show, plain_page):
    page = show(plain_page[0], viewport={"width": 900, "height": 800})
    cells = page.locator("[data-part=rows] tbody tr:nth-child(2) td")
    before = [cells.nth(n).bounding_box()["x"] for n in range(3)]
    page.locator("[data-part=rows] .scroll").evaluate("e => e.scrollTo(100, 0)")
    after = [cells.nth(n).bounding_box()["x"] for n in range(3)]
    assert after[:2] == pytest.approx(before[:2], abs=1) and after[2] < before[2] - 50


def test_failed_cells_stand_out_with_their_reason(show, tmp_path):
    lost = {"attack": spec("targeted:rate=0.4"), "dataset": "gone"}
    found = [
        *(r for r in usual(dataset="gone") if (r.cell.attack, r.cell.defense) != (lost["attack"], spec("wan", defenses))),
        *(failed(HANDLER, defense=spec("wan", defenses), seed=s, **lost) for s in range(2)),
        failed("disk on fire", defense=spec("an", defenses), seed=9, **lost),
    ]  # fmt: skip
    page = show(page_of(tmp_path, found))
    (whole,) = page.get_by_role("link", name="failed", exact=True).all()
    assert whole.get_attribute("title") == HANDLER
    (part,) = page.get_by_role("link", name="3 (1 failed)").all()
    assert part.get_attribute("title") == "disk on fire"
    whole.click()
    section = page.locator("[data-part=failures]")
    is_there(section).to_be_in_viewport()
    assert [
        cells.all_inner_texts()[3]
        for cells in (row.locator("td") for row in section.locator("tbody tr").all())
    ] == [HANDLER, HANDLER, "disk on fire"]
    assert [each["reason"] for each in json.loads(saved(page, "failures", "JSON"))] == [
        HANDLER,
        HANDLER,
        "disk on fire",
    ]
    assert "failed" in drawn(page, "heat").locator(".heatmap-label").all_text_contents()
    assert page.evaluate("window.pwned") is None
