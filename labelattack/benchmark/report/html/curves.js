// mAP against the share of labels removed: a panel for each attack.

const PANELS = 40;
const NAMED = 28; // characters of a defense beside its dot

const halves = ({ intervals }) => intervals.map((each) => each ?? 0);
const ends = ({ maps, ...curve }) => maps.flatMap((map, n) => [map - halves(curve)[n], map + halves(curve)[n]]);
const told = ({ name, rates, maps, intervals }) =>
  rates.map((rate, n) => lines(name, `${rate} removed: ${points(maps[n], intervals[n])}`));
const marker = (place, name) => ({ color: tint(place.get(name)), size: 7, symbol: MARKS[place.get(name) % MARKS.length] });

// The reference and its interval, as a line and a band across x or up y.
const referenceLine = ({ map, interval }, labels, across, range) => {
  const along = across ? "y" : "x"; // the axis of mAP
  const other = across ? "x" : "y";
  const muted = colour("muted");
  return {
    data: {
      [along]: [map, map], [other]: range, mode: "lines", hoverinfo: "text",
      hovertext: Array(2).fill(lines(`${labels} labels`, points(map, interval))),
      line: { color: muted, width: 1.5, dash: "dash" },
    },
    shapes: interval ? [{
      type: "rect", layer: "below", fillcolor: faint(muted, 0.13), line: { width: 0 },
      [`${along}0`]: map - interval, [`${along}1`]: map + interval, [`${other}0`]: range[0], [`${other}1`]: range[1],
    }] : [],
  };
};

// The interval around each point of a line.
const band = (x, y, half, shade) => ({
  x: [...x, ...x.toReversed()],
  y: [...y.map((value, n) => value + half[n]), ...y.map((value, n) => value - half[n]).toReversed()],
  fill: "toself", fillcolor: faint(shade, 0.16), line: { width: 0 }, mode: "lines", hoverinfo: "skip",
});

// Several rates: a line for each defense, with a band.
const lineFigure = (here, { place, reference, labels, limits, share }, end) => {
  const data = here.flatMap((curve) => {
    const { name, rates, maps, intervals } = curve;
    const shade = tint(place.get(name));
    const half = halves(curve);
    const banded = rates.length > 1 && intervals.every((each) => each != null);
    return [...(banded ? [band(rates, maps, half, shade)] : []), {
      x: rates, y: maps, mode: "lines+markers", hoverinfo: "text", hovertext: told(curve), marker: marker(place, name),
      line: { color: shade, width: 2, dash: DASHES[Math.floor(place.get(name) / COLOURS) % DASHES.length] },
      error_y: { visible: !banded && intervals.some((each) => each != null), array: half, color: shade, thickness: 1.2, width: 3 },
    }];
  });
  const line = reference && referenceLine(reference, labels, true, [0, end]);
  return { data: line ? [...data, line.data] : data, layout: {
    xaxis: { title: { text: plain(`share of ${share} removed`) }, range: [0, end], dtick: 0.2 },
    yaxis: { title: { text: "test mAP (points)" }, range: limits },
    shapes: line ? line.shapes : [],
  } };
};

// One rate: a dot for each defense, with its interval, the best first.
const dotHeight = (count) => 26 * count + 70;
const dotFigure = (found, { place, reference, labels, limits }) => {
  const here = found.toSorted((a, b) => b.maps[0] - a.maps[0]);
  const range = [here.length - 0.5, -0.5];
  const data = here.map((curve, n) => ({
    x: curve.maps, y: [n], mode: "markers", hoverinfo: "text", hovertext: told(curve), marker: marker(place, curve.name),
    error_x: { visible: curve.intervals[0] != null, array: halves(curve), color: tint(place.get(curve.name)), thickness: 1.5, width: 4 },
  }));
  const line = reference && referenceLine(reference, labels, false, range);
  const short = (name) => (name.length > NAMED ? `${name.slice(0, NAMED - 1)}…` : name);
  return { data: line ? [...data, line.data] : data, layout: {
    height: dotHeight(here.length),
    xaxis: { title: { text: "test mAP (points)" }, range: limits },
    yaxis: { tickvals: indices(here), ticktext: here.map(({ name }) => plain(short(name))), range, showgrid: false },
    shapes: line ? line.shapes : [],
  } };
};

const curves = ({ board, families, training_labels: labels }, place, reference) => {
  const all = board.curves.map((curve, n) => ({ ...curve, ...families[n] }));
  const panels = [...new Set(all.map((curve) => curve.attack))];
  const area = new Map();
  for (const curve of all) area.set(curve.name, Math.max(area.get(curve.name) ?? -1, curve.area ?? 0));
  const names = [...area.keys()].sort((a, b) => area.get(b) - area.get(a)).slice(0, CHOICES);
  const chosen = new Set(names.slice(0, LINES));
  const drawn = () => all.filter((curve) => chosen.has(curve.name) && panels.indexOf(curve.attack) < PANELS);
  const limits = () => {
    const found = drawn().flatMap(ends);
    if (reference) found.push(...ends({ maps: [reference.map], intervals: [reference.interval] }));
    const low = Math.min(...found);
    const high = Math.max(...found);
    const room = 0.06 * (high - low) + 0.1;
    return [low - room, high + room];
  };
  const end = 1.04 * Math.max(...all.flatMap((curve) => curve.rates));

  const nodes = panels.slice(0, PANELS).map((attack) => {
    const own = all.filter((curve) => curve.attack === attack);
    const rates = [...new Set(own.flatMap((curve) => curve.rates))];
    const said = own.slice(0, LINES)
      .map(({ name, rates, maps }) => `${name} ${points(maps[0])} at ${rates[0]}${rates.length > 1 ? `, ${points(maps.at(-1))} at ${rates.at(-1)}` : ""}`);
    const here = () => own.filter((curve) => chosen.has(curve.name));
    const height = () => (rates.length > 1 ? 300 : dotHeight(here().length));
    const plot = picture(`mAP against removal by ${attack}: ${said.join("; ")}`, height(), () => {
      const about = { place, reference, labels, limits: limits(), share: own[0].share };
      plot.style.height = `${height()}px`;
      return rates.length > 1 ? lineFigure(here(), about, end) : dotFigure(here(), about);
    });
    const rate = rates.length > 1 ? "" : `, ${rates[0]} of ${own[0].share} removed`;
    return { attack, plot, node: make("figure", {}, make("figcaption", {}, ...breakable(attack), rate), plot) };
  });
  const notes = [];
  if (panels.length > PANELS) notes.push(`the first ${PANELS} of ${panels.length} attacks`);
  if (area.size > CHOICES) notes.push(`the best ${CHOICES} of ${area.size} defenses to choose from`);
  if (names.length > LINES) notes.push(`${LINES} defenses are switched on at first`);
  return [
    legend("Defenses", names, place, chosen, () => nodes.forEach(({ plot }) => again(plot))),
    ...finder("Attack", nodes.map(({ attack, node }) => [attack, node])),
    make("div", { class: "panels" }, ...nodes.map(({ node }) => node)),
    make("p", { class: "status" }, notes.length ? `Shown: ${notes.join("; ")}. The data hold all.` : ""),
  ];
};
