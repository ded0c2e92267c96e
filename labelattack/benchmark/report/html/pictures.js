// Pictures, drawn when they come near, in the page's colours.

const MARKS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon"];
const GLYPHS = ["●", "■", "◆", "▲", "✖", "✚", "★", "⬢"]; // the same, in text
const DASHES = ["solid", "dash", "dot", "dashdot"];
const COLOURS = 8;
const pictures = new Map();
let queue = Promise.resolve();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faint = (hex, part) => hex + Math.round(255 * part).toString(16).padStart(2, "0");
// Plotly reads some markup in its texts.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const lines = (...texts) => texts.filter(Boolean).map(plain).join("<br>");
const tint = (place) => colour(`s${place % COLOURS}`);

const plotly = () => {
  if (!window.Plotly) {
    const source = document.getElementById("plotly");
    document.head.append(make("script", {}, source.textContent));
    source.remove();
  }
  return window.Plotly;
};

const paint = (node) => {
  queue = queue.then(() => new Promise((done) => setTimeout(done))).then(() => {
    const { data, layout } = pictures.get(node).figure();
    const ink = colour("ink");
    const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, automargin: true };
    const whole = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 12, t: 8, b: 40 },
      showlegend: false, hovermode: "closest",
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: ink }, align: "left", namelength: -1 },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      ...layout,
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    };
    return plotly().react(node, data, whole, {
      // The bar would lie on small pictures.
      displayModeBar: false, responsive: true, showTips: false,
    });
  });
};

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !pictures.get(target).drawn) {
      pictures.get(target).drawn = true;
      paint(target);
    }
  }
}, { rootMargin: "200px" });

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [node, { drawn }] of pictures) if (drawn) paint(node);
});

// figure() makes Plotly's data and layout; `label` says in words what is to be seen.
const picture = (label, height, figure) => {
  const node = make("div", { class: "plot", role: "img", "aria-label": label, style: `height:${height}px` });
  pictures.set(node, { figure, drawn: false });
  near.observe(node);
  return node;
};
const again = (node) => {
  if (pictures.get(node).drawn) paint(node);
};

const swatch = (background) => make("span", { class: "swatch", style: `background:${background}`, "aria-hidden": "true" });
// Names with their colours; with `changed`, each can be switched off.
const legend = (title, names, place, chosen, changed) => make("fieldset", { class: "legend" },
  make("legend", {}, title),
  ...names.map((name) => {
    const shade = `var(--s${place.get(name) % COLOURS})`;
    if (!changed) return make("span", {}, swatch(shade), name);
    const glyph = make("span", { style: `color:${shade}`, "aria-hidden": "true" }, GLYPHS[place.get(name) % MARKS.length]);
    const box = make("input", { type: "checkbox", onchange: () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      changed();
    } });
    box.checked = chosen.has(name);
    return make("label", {}, box, glyph, name);
  }));

const LINES = 10;
const CHOICES = 60;

const DOTS = 400;

// `visible` gives the indices of the rows that the filter leaves.
const scatter = ({ board, rows }, place, visible) => {
  const kinds = [...new Set(rows.cells.map(([attack]) => attack.split(":")[0]))];
  const found = () => visible().filter((n) => board.rows[n].d_score != null && board.rows[n].map != null);
  const note = make("p", { class: "status" });
  const plot = picture("Test mAP against D-Score, a dot for each row of the leaderboard; the data hold its numbers.", 420, () => {
    const all = found();
    note.textContent = all.length > DOTS ? `Shown: the first ${DOTS} of ${all.length} rows. The data hold all.` : "";
    const groups = Map.groupBy(all.slice(0, DOTS), (n) => rows.cells[n][1]);
    const data = [...groups].map(([name, members]) => {
      const shade = tint(place.get(name));
      const spread = (field) => ({ array: members.map((n) => board.rows[n][field] ?? 0), color: faint(shade, 0.45), thickness: 1, width: 0 });
      return {
        x: members.map((n) => board.rows[n].d_score), y: members.map((n) => board.rows[n].map),
        error_x: spread("d_score_interval"), error_y: spread("interval"),
        mode: "markers", hoverinfo: "text",
        hovertext: members.map((n) => lines(rows.cells[n][0], name, `mAP ${rows.cells[n][2]}`, `D-Score ${rows.cells[n][7]}`)),
        marker: { color: shade, size: 9, symbol: members.map((n) => MARKS[kinds.indexOf(rows.cells[n][0].split(":")[0]) % MARKS.length]), line: { width: 1, color: colour("ground") } },
      };
    });
    return { data, layout: { xaxis: { title: { text: "D-Score" } }, yaxis: { title: { text: "test mAP (points)" } } } };
  });
  const names = [...new Set(indices(board.rows).filter((n) => board.rows[n].d_score != null).map((n) => rows.cells[n][1]))];
  const marks = make("p", { class: "status" }, `Marks: ${kinds.slice(0, CHOICES).map((kind, n) => `${GLYPHS[n % MARKS.length]} ${kind}`).join("   ")}`);
  return { nodes: [legend("Defenses", names.slice(0, CHOICES), place), marks, make("figure", {}, plot), note], follow: () => again(plot) };
};

const HEAT_ROWS = 60;
const HEAT_CLASSES = 100;

const classes = ({ board, rows }, visible) => {
  const totals = new Map();
  for (const row of board.rows) {
    for (const [name, drop] of Object.entries(row.class_drops)) totals.set(name, (totals.get(name) ?? 0) + drop);
  }
  const names = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a)).slice(0, HEAT_CLASSES);
  // The reference loses nothing to itself.
  const differs = (n) => Object.values(board.rows[n].class_drops).some((drop) => drop !== 0);
  const usable = new Set(indices(board.rows).filter(differs));
  const note = make("p", { class: "status" });
  const size = (count) => 18 * count + 120;
  const plot = picture("Change of average precision, a row for each row of the leaderboard, a column for each class; the data hold its numbers.",
    size(Math.min(usable.size, HEAT_ROWS)), () => {
      const all = visible().filter((n) => usable.has(n));
      const kept = all.slice(0, HEAT_ROWS);
      const notes = [];
      if (all.length > HEAT_ROWS) notes.push(`the first ${HEAT_ROWS} of ${all.length} rows`);
      if (totals.size > HEAT_CLASSES) notes.push(`the ${HEAT_CLASSES} of ${totals.size} classes that lose most`);
      note.textContent = notes.length ? `Shown: ${notes.join("; ")}. The data hold all.` : "";
      const label = (n) => `${rows.cells[n][0]} · ${rows.cells[n][1]}`;
      const change = (n, name) => board.rows[n].class_drops[name] == null ? null : -board.rows[n].class_drops[name];
      const z = kept.map((n) => names.map((name) => change(n, name)));
      const most = Math.max(1, ...z.flat().map((value) => Math.abs(value ?? 0)));
      plot.style.height = `${size(kept.length)}px`;
      return {
        data: [{
          type: "heatmap", z, x: indices(names), y: indices(kept), zmin: -most, zmax: most, xgap: 1, ygap: 1,
          colorscale: [[0, colour("loss")], [0.5, colour("raised")], [1, colour("gain")]],
          hoverinfo: "text",
          hovertext: kept.map((n) => names.map((name) => lines(label(n), name, change(n, name) == null ? "undefined" : `${change(n, name) > 0 ? "+" : ""}${points(change(n, name))} points`))),
          colorbar: { thickness: 10, outlinewidth: 0, nticks: 5, title: { text: "points", side: "top" } },
        }],
        layout: {
          height: size(kept.length),
          margin: { l: 8, r: 8, t: 8, b: 8 },
          xaxis: { tickvals: indices(names), ticktext: names.map(plain), tickangle: names.every((name) => name.length < 4) ? 0 : -50, showgrid: false, side: "bottom" },
          yaxis: { tickvals: indices(kept), ticktext: kept.map((n) => plain(label(n).length > 52 ? `${label(n).slice(0, 51)}…` : label(n))), autorange: "reversed", showgrid: false },
        },
      };
    });
  plot.style.minWidth = `${Math.max(36, 20 + 1.3 * names.length)}rem`;
  return {
    nodes: [make("figure", { class: "wide", tabindex: "0", role: "group", "aria-label": "Change of each class" }, plot), note],
    follow: () => again(plot),
  };
};
