// Pictures of labels before and after attacks.

const STATES = [
  ["P", "known positive", "accent"], ["N", "known negative", "mask"],
  ["p", "hidden, was positive", "gone"], ["n", "hidden, was negative", "ground"],
  ["C", "changed", "changed"], ["A", "known after the attack only", "added"],
  ["?", "not known to begin with", "unknown"],
];

const CODES = Object.fromEntries(STATES.map(([letter], code) => [letter, code]));
const SELDOM = "CA?"; // states that only some labels have

// Heat map of a panel's states, a text for each image with a letter for each label.
const stateMap = (states, images, names) => ({
  type: "heatmap", z: states.map((row) => [...row].map((letter) => CODES[letter])),
  zmin: 0, zmax: STATES.length - 1, showscale: false, hoverinfo: "text",
  hovertext: states.map((row, image) => [...row].map((letter, label) => lines(`image ${images[image]}`, names[label], STATES[CODES[letter]][1]))),
  colorscale: STATES.flatMap(([, , name], code) => [[code / STATES.length, colour(name)], [(code + 1) / STATES.length, colour(name)]]),
});
const frame = (top) => ({ type: "rect", xref: "paper", yref: "paper", x0: 0, x1: 1, y0: 0, y1: top, line: { color: colour("line"), width: 1 } });
const FIXED = { visible: false, fixedrange: true };

// The first panel has the clean labels.
const tile = ({ attack, seed }, place, said, width, height, figure) => {
  const seeded = place ? [make("br"), `seed ${seed}`] : [];
  const plot = picture(`${attack}${place ? `, seed ${seed}` : ""}: ${said}`, height, figure);
  plot.style.width = `${width}px`;
  return make("figure", { style: `width:${Math.max(width, 150)}px` }, make("figcaption", {}, ...breakable(attack), ...seeded), plot);
};

// The first images, as they lie.
const firstImages = ({ images, classes: names, panels }, shown) => {
  const step = images.length && names.length > 40 ? 5 : 8;
  return panels.map((panel, place) => {
    const letters = [...panel.states.join("")];
    const said = shown.map(([letter, name]) => `${letters.filter((each) => each === letter).length} ${name}`).join(", ");
    return tile(panel, place, said, step * names.length + 4, step * images.length + 4, () => ({
      data: [{ ...stateMap(panel.states, images, names), xgap: 1, ygap: 1 }],
      layout: {
        margin: { l: 1, r: 1, t: 1, b: 1 }, dragmode: false,
        xaxis: FIXED, yaxis: { ...FIXED, autorange: "reversed" }, shapes: [frame(1)],
      },
    }));
  });
};

const BARS = 60; // pixels

// The whole split: the share of its positives that each class lost, above the sorted label matrix.
const differences = ({ sorted_images: images, frequent: names, panels }) => {
  const step = names.length > 20 ? 6 : 10;
  const height = Math.min(200, Math.max(2 * images.length, 80));
  const share = (value) => (value == null ? "no positive" : `${points(100 * value)} % of its positives removed`);
  return panels.map((panel, place) => {
    const { shares, matrix } = panel;
    const most = indices(names).filter((n) => shares[n] > 0).sort((a, b) => shares[b] - shares[a]).slice(0, LINES);
    const said = most.map((n) => `${names[n]} ${share(shares[n])}`).join(", ") || "no positive removed";
    const split = height / (height + BARS + 6);
    return tile(panel, place, said, Math.max(step * names.length, 120) + 4, height + BARS + 8, () => ({
      data: [
        { ...stateMap(matrix, images, names), xaxis: "x", yaxis: "y" },
        {
          type: "bar", x: indices(names), y: shares, xaxis: "x", yaxis: "y2", marker: { color: colour("loss") },
          hoverinfo: "text", hovertext: shares.map((value, n) => lines(names[n], share(value))), textposition: "none",
        },
      ],
      layout: {
        margin: { l: 1, r: 1, t: 1, b: 1 }, dragmode: false, bargap: 0.15,
        xaxis: { ...FIXED, range: [-0.5, names.length - 0.5] }, yaxis: { ...FIXED, autorange: "reversed", domain: [0, split] },
        yaxis2: { fixedrange: true, range: [0, 1], domain: [1 - BARS / (height + BARS + 6), 1], tickvals: [0.5, 1], showticklabels: false, gridcolor: colour("line"), zeroline: true, zerolinecolor: colour("line") },
        shapes: [frame(split)],
      },
    }));
  });
};

const excerpt = (sample) => {
  const { dataset, panels } = sample;
  if (!panels.length) return [];
  const all = new Set(panels.flatMap(({ states, matrix }) => [...states.join(""), ...matrix.join("")]));
  const shown = STATES.filter(([letter]) => !SELDOM.includes(letter) || all.has(letter));
  const key = shown.map(([, name, shade]) => make("span", {}, swatch(`var(--${shade})`), name));
  const first = firstImages(sample, shown);
  const whole = differences(sample);
  const attacked = [first, whole].flatMap((tiles) => tiles.slice(1).map((node, n) => [panels[n + 1].attack, node]));
  return [
    make("p", { class: "status" }, dataset), ...finder("Attack", attacked), make("div", { class: "legend" }, ...key),
    make("p", { class: "status" }, "The first training images, as they lie:"),
    make("div", { class: "tiles" }, ...first),
    make("p", { class: "status" }, "The whole training split: share of its positives that each class lost (bars to 100 %, lines at 50 % and 100 %), and labels sorted by number of positives and pattern, frequent classes first:"),
    make("div", { class: "tiles" }, ...whole),
  ];
};
