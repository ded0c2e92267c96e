// mAP of defenses under attacks, coloured by the distance from the best under each attack.

const MAP_DEFENSES = 60;
const MAP_ATTACKS = 40;
const CLIPPED = 0.9; // colours end at this quantile, so that one defense far behind does not hide the rest

const heatMap = ({ board, rows, heat }) => {
  const attacks = heat.attacks.slice(0, MAP_ATTACKS);
  const defenses = heat.defenses.slice(0, MAP_DEFENSES);
  const at = (values) => values.slice(0, defenses.length).map((line) => line.slice(0, attacks.length));
  const places = at(heat.rows);
  const behind = at(heat.behind);
  const known = behind.flat().filter((each) => each > 0).sort((a, b) => a - b);
  const most = Math.max(1, known[Math.floor(CLIPPED * (known.length - 1))] ?? 0);
  const short = (text, length) => plain(text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const lost = at(heat.failed);
  const written = (place, distance, failed) => {
    if (place == null) return failed ? "<i>failed</i>" : "";
    const text = points(board.rows[place].map) + (board.rows[place].unreliable.length ? "!" : "");
    return distance === 0 ? `<b>${text}</b>` : text;
  };
  const told = (place, y, x) => {
    if (place == null) return lines(heat.defenses[y], heat.attacks[x], lost[y][x] ? "failed" : "no result");
    const row = board.rows[place];
    const distance = behind[y][x];
    const from = distance == null ? "" : distance < 0 ? `${points(-distance)} points ahead of the best` : distance ? `${points(distance)} points behind the best` : "the best";
    return lines(heat.defenses[y], heat.attacks[x], `mAP ${points(row.map, row.interval)}`, from,
      `rank ${rows.cells[place][rows.fields.indexOf("rank")]}`, ...row.notes.map((note) => `* ${note}`), ...row.unreliable.map((reason) => `! ${reason}`));
  };
  const longest = (names, most) => Math.min(most, Math.max(...names.map((name) => name.length)));
  const left = 7 * longest(defenses, 36) + 16;
  const right = Math.round(4.5 * Math.min(36, attacks[attacks.length - 1].length));  // of a slanted name
  const top = 5 * longest(attacks, 36) + 24;
  const height = 24 * defenses.length + top + 12;
  const label = `mAP of ${defenses.length} defenses under ${attacks.length} attacks: ${defenses.slice(0, LINES).map((name, n) => `${name} ${points(heat.means[n])} in the mean`).join("; ")}`;
  const plot = picture(label, height, () => ({
    data: [{
      type: "heatmap", z: behind, x: indices(attacks), y: indices(defenses), zmin: 0, zmax: most, xgap: 1, ygap: 1,
      // Pale enough for dark text, in light and dark mode alike.
      colorscale: [[0, faint(colour("accent"), 0.55)], [1, faint(colour("accent"), 0.03)]],
      text: places.map((line, y) => line.map((place, x) => written(place, behind[y][x], lost[y][x]))),
      texttemplate: "%{text}", textfont: { size: 11, color: colour("ink") },
      hoverinfo: "text", hovertext: places.map((line, y) => line.map((place, x) => told(place, y, x))),
      showscale: false,
    }],
    layout: {
      height, margin: { l: left, r: right, t: top, b: 12 },
      xaxis: { tickvals: indices(attacks), ticktext: attacks.map((name) => short(name, 36)), tickangle: -40, showgrid: false, side: "top", automargin: false },
      yaxis: { tickvals: indices(defenses), ticktext: defenses.map((name) => short(name, 36)), autorange: "reversed", showgrid: false, automargin: false },
    },
  }));
  plot.style.minWidth = `${left + 38 * attacks.length + right + 12}px`;
  plot.style.maxWidth = `${left + 110 * attacks.length + right + 12}px`;
  const notes = [];
  if (heat.defenses.length > defenses.length) notes.push(`the best ${defenses.length} of ${heat.defenses.length} defenses`);
  if (heat.attacks.length > attacks.length) notes.push(`the first ${attacks.length} of ${heat.attacks.length} attacks`);
  return [
    make("figure", { class: "wide", tabindex: "0", role: "group", "aria-label": "mAP by defense and attack" }, plot),
    make("p", { class: "status" }, `${notes.length ? `Shown: ${notes.join("; ")}. The data hold all. ` : ""}Scale: points behind the best of a column; colours end at ${points(most)} points.`),
  ];
};
