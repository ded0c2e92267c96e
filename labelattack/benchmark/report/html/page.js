// Fills each board of the page with its tables and pictures.

const MOST_CHOICES = 300;
// The interval of a row on the scale of its board.
const spread = (rows, reference) => {
  const ends = rows.filter((row) => row.map != null).flatMap((row) => [row.map - (row.interval ?? 0), row.map + (row.interval ?? 0)]);
  const low = ends.reduce((a, b) => Math.min(a, b), Infinity);
  const high = ends.reduce((a, b) => Math.max(a, b), -Infinity);
  const at = (value) => 4 + (112 * (value - low)) / (high - low || 1);
  return ({ map, interval }) => {
    if (map == null) return "";
    const half = interval ?? 0;
    const line = (x1, y1, x2, y2, more) => make("svg:line", { x1, y1, x2, y2, stroke: "currentColor", "stroke-width": 1.5, ...more });
    return make("svg:svg", { class: "spread", viewBox: "0 0 120 20", "aria-hidden": "true" },
      ...(reference ? [line(at(reference.map), 0, at(reference.map), 20, { opacity: 0.4, "stroke-dasharray": "3 2" })] : []),
      line(at(map - half), 10, at(map + half), 10),
      make("svg:circle", { cx: at(map), cy: 10, r: 3.5, fill: "currentColor" }));
  };
};

const marked = (text, { notes, unreliable }) => {
  const mark = (sign, kind, reasons) => make("span", { class: `mark ${kind}`, title: reasons.join("; "), "aria-hidden": "true" }, ` ${sign}`);
  return make("span", {}, text, ...(notes.length ? [mark("*", "note", notes)] : []), ...(unreliable.length ? [mark("!", "doubt", unreliable)] : []));
};
const remarksOf = ({ notes, unreliable }) => make("span", {},
  ...notes.map((note) => make("span", { class: "note" }, `* ${note} `)),
  ...unreliable.map((reason) => make("span", { class: "doubt" }, `! ${reason} `)));

// Reasons of failed cells by attack and defense as the tables write them.
const reasonsOf = ({ columns, cells }) => {
  const why = columns.indexOf("reason");
  const pairs = Map.groupBy(cells, ([attack, defense]) => `${attack}\n${defense}`);
  return new Map([...pairs].map(([pair, failed]) => [pair, [...new Set(failed.map((each) => each[why]))].join("; ")]));
};

const choice = (label, values, changed) => {
  const distinct = [...new Set(values)];
  if (distinct.length < 2 || distinct.length > MOST_CHOICES) return { fits: () => true };
  const box = make("select", { onchange: changed }, make("option", { value: "" }, "all"),
    ...distinct.sort(collator.compare).map((value, n) => make("option", { value: String(n) }, value)));
  return { node: make("label", {}, label, box), fits: (value) => box.value === "" || distinct[box.value] === value };
};

const leaderboard = ({ board, rows, failures }, reference, followers, failed) => {
  const bar = spread(board.rows, reference);
  const reasons = reasonsOf(failures);
  const lost = (n, kind, text) => {
    const { variant } = board.rows[n];
    const [attack, defense] = rows.cells[n];
    const why = reasons.get(`${attack}\n${variant ? defense.slice(0, -variant.length - 3) : defense}`);
    return make("a", { class: kind, href: `#${failed}`, title: why }, text);
  };
  const columns = ready(rows, board.rows);
  const of = (label) => columns.find((column) => column.label === label);
  Object.assign(of("defense"), { cell: (n) => marked(rows.cells[n][1], board.rows[n]) });
  Object.assign(of("attack"), { key: (n) => rows.cells[n][0] });
  Object.assign(of("defense"), { key: (n) => rows.cells[n][1] });
  if (of("worst class")) of("worst class").key = (n) => (board.rows[n].worst_drop == null ? null : -board.rows[n].worst_drop);
  if (of("notes")) Object.assign(of("notes"), { cell: (n) => remarksOf(board.rows[n]), long: true });
  if (of("mAP")) columns.splice(columns.indexOf(of("mAP")) + 1, 0, { label: "interval", cell: (n) => (board.rows[n].map == null && board.rows[n].failed ? lost(n, "failed", "failed") : bar(board.rows[n])) });
  if (of("seeds")) {
    const { cell } = of("seeds");
    of("seeds").cell = (n) => (board.rows[n].failed ? lost(n, "doubt", cell(n)) : cell(n));
  }

  const all = indices(board.rows);
  let visible = all;
  const made = table("Leaderboard", columns, all);
  const texts = rows.cells.map((cells) => cells.join("\n").toLowerCase());
  const changed = later(() => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    visible = all.filter((n) =>
      words.every((word) => texts[n].includes(word)) && attack.fits(rows.cells[n][0]) && defense.fits(rows.cells[n][1])
      && !(trusted.checked && board.rows[n].unreliable.length));
    made.show(visible);
    for (const follow of followers) follow();
  });
  const search = make("input", { type: "search", oninput: changed });
  const trusted = make("input", { type: "checkbox", onchange: changed });
  const attack = choice("Attack", rows.cells.map((cells) => cells[0]), changed);
  const defense = choice("Defense", rows.cells.map((cells) => cells[1]), changed);
  const doubtful = board.rows.some((row) => row.unreliable.length);
  const filters = make("form", { class: "filters", role: "search", "aria-label": "Filter the leaderboard", onsubmit: (event) => event.preventDefault() },
    make("label", {}, "Search", search),
    ...[attack.node, defense.node].filter(Boolean),
    ...(doubtful ? [make("label", { class: "check" }, trusted, "without unreliable rows (!)")] : []));
  return { nodes: [filters, made.node], visible: () => visible };
};

// What is behind each part, as flat records.
const behind = (data) => {
  const { board, rows } = data;
  const named = (row) => ({ attack: row.attack, defense: row.defense, variant: row.variant });
  return {
    rows: () => board.rows,
    heat: () => data.heat.defenses.flatMap((defense, y) => data.heat.rows[y].flatMap((place, x) => (place == null ? [] : [{
      ...named(board.rows[place]), map: board.rows[place].map, interval: board.rows[place].interval,
      rank: board.rows[place].rank, points_behind: data.heat.behind[y][x], mean_over_attacks: data.heat.means[y],
    }]))),
    curves: () => board.curves.flatMap((curve) => curve.rates.map((rate, n) => ({
      ...named(curve), rate, map: curve.maps[n], interval: curve.intervals[n], area: curve.area, area_interval: curve.area_interval,
    }))),
    certified: () => (data.certified?.rows ?? []).flatMap(({ row, curve, intervals }) => curve.map((map, images) => ({
      ...named(board.rows[row]), images_changed: images, certified_map: map, interval: intervals[images],
    }))),
    scatter: () => board.rows.filter((row) => row.d_score != null).map((row) => ({
      ...named(row), map: row.map, interval: row.interval, d_score: row.d_score, d_score_interval: row.d_score_interval,
      robustness: row.robustness, fitness: row.fitness,
    })),
    classes: () => board.rows.flatMap((row) => Object.entries(row.class_drops).map(([name, drop]) => ({ ...named(row), class: name, points_lost: drop }))),
    labels: () => data.excerpts.flatMap(({ dataset, images, classes: names, panels }) => panels.flatMap(({ attack, seed, states }) =>
      states.flatMap((row, image) => [...row].map((letter, label) => ({
        dataset, attack, seed, image: images[image], class: names[label], state: STATES.find(([each]) => each === letter)[1],
      }))))),
    shares: () => data.excerpts.flatMap(({ dataset, frequent: names, panels }) => panels.slice(1).flatMap(({ attack, seed, shares }) =>
      shares.map((share, n) => ({ dataset, attack, seed, class: names[n], share_of_positives_removed: share })))),
    comparisons: () => board.comparisons,
    failures: () => data.failures.cells.map((cells) => Object.fromEntries(cells.map((cell, n) => [data.failures.columns[n], cell]))),
    origins: () => data.origins.flatMap(([fact, values]) => values.map((value) => ({ fact, value }))),
  };
};

const fill = (section, number) => {
  const data = JSON.parse(section.querySelector(".data").textContent);
  const { board, rows } = data;
  const part = (name) => section.querySelector(`[data-part="${name}"]`);
  const put = (name, nodes) => part(name).querySelector(".slot").replaceChildren(...nodes);
  // A defense has one colour in every picture of its board.
  const place = new Map([...new Set([...data.families.map((family) => family.name), ...rows.cells.map((cells) => cells[1])])].map((name, n) => [name, n]));
  const reference = board.rows[data.reference];

  const followers = [];
  const { nodes, visible } = leaderboard(data, reference, followers, part("failures")?.id);
  put("rows", nodes);
  if (part("heat")) put("heat", heatMap(data));
  if (part("curves")) {
    put("curves", curves(data, place, reference));
    const areas = ready(data.curves, board.curves);
    part("curves").querySelector(".areas").append(searchable("Areas under the curves", areas, indices(board.curves)));
  }
  if (part("certified")) put("certified", certifiedCurves(data, place));
  for (const [name, made] of [["scatter", scatter], ["classes", classes]]) {
    if (!part(name)) continue;
    const { nodes: parts, follow } = name === "scatter" ? made(data, place, visible) : made(data, visible);
    put(name, parts);
    followers.push(follow);
  }
  if (part("labels")) put("labels", data.excerpts.flatMap(excerpt));
  if (part("comparisons")) {
    put("comparisons", [searchable("Comparisons", ready(data.comparisons, board.comparisons), indices(board.comparisons))]);
  }
  const failed = data.failures;
  if (failed.cells.length) {
    const columns = failed.columns.map((label, at) => ({
      label, key: (cells) => cells[at], cell: (cells) => String(cells[at]), long: label === "reason",
    }));
    put("failures", [searchable("Cells that failed", columns, failed.cells)]);
  }
  for (const [name, records] of Object.entries(behind(data))) {
    const spot = section.querySelector(`[data-downloads="${name}"]`);
    if (spot && (!["labels", "shares"].includes(name) || data.excerpts.some(({ panels }) => panels.length))) offer(spot, `${name}${number || ""}`, records);
  }
};

document.querySelectorAll(".board").forEach(fill);
document.documentElement.dataset.ready = "true";
