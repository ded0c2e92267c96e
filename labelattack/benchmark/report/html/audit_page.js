// Fills the page of an audit: a tile for each entry, a filter by class, and verdicts to save.

const { entries, pictures } = JSON.parse(document.querySelector(".data").textContent);
for (const entry of entries) entry.verdict = "";

const option = (value, text = value) => make("option", { value }, text);

const tile = (entry) => {
  const verdict = make("select", {
    "aria-label": `Verdict on ${entry.class}, rank ${entry.rank}`,
    onchange: () => { entry.verdict = verdict.value; },
  }, option("", "verdict"), option("yes"), option("no"));
  return make("figure", {},
    make("img", { src: pictures[entry.picture], alt: entry.image, loading: "lazy" }),
    make("figcaption", {}, `${entry.rank}. ${entry.class}`, make("br"),
      `${entry.score.toFixed(3)}, ${entry.status}`, make("br"), entry.image, make("br"), verdict));
};

const tiles = entries.map(tile);
const counts = new Map();
for (const entry of entries) counts.set(entry.class, (counts.get(entry.class) ?? 0) + 1);
const classes = [...counts.keys()].sort(new Intl.Collator("en", { numeric: true }).compare);
const status = make("p", { class: "status", role: "status" });
// An option's value is a number, as a class may have any name, an empty one's meaning included.
const chosen = make("select", { onchange: () => show() }, option("-1", "all classes"),
  ...classes.map((name, number) => option(String(number), `${name} (${counts.get(name)})`)));

const show = () => {
  const wanted = classes[Number(chosen.value)];
  let shown = 0;
  entries.forEach((entry, number) => {
    const there = wanted === undefined || entry.class === wanted;
    tiles[number].hidden = !there;
    shown += there;
  });
  status.textContent = `${shown.toLocaleString("en")} entries`;
};

document.querySelector(".slot").replaceChildren(
  make("div", { class: "filters" }, make("label", {}, "Class", chosen)),
  status, make("div", { class: "tiles" }, ...tiles),
);
show();
offer(document.querySelector(".downloads"), "audit", () =>
  entries.map(({ rank, image, class: name, score, status: state, verdict }) =>
    ({ rank, image, class: name, score, status: state, verdict })));
document.documentElement.dataset.ready = "true";
