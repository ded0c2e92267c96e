// Pictures of labels before and after attacks.

const STATES = [
  ["P", "known positive", "accent"], ["N", "known negative", "mask"],
  ["p", "hidden, was positive", "gone"], ["n", "hidden, was negative", "ground"],
  ["?", "not known to begin with", "unknown"],
];

const excerpt = ({ dataset, images, classes: names, panels }) => {
  const step = images.length && names.length > 40 ? 5 : 8;
  const codes = Object.fromEntries(STATES.map(([letter], code) => [letter, code]));
  const all = panels.map(({ states }) => states.join("")).join("");
  const shown = STATES.filter(([letter]) => letter !== "?" || all.includes(letter));
  const tiles = panels.map(({ attack, seed, states }, place) => {
    const title = place ? `${attack}, seed ${seed}` : attack;
    const letters = [...states.join("")];
    const said = shown.map(([letter, name]) => `${letters.filter((each) => each === letter).length} ${name}`);
    const plot = picture(`${title}: ${said.join(", ")}`, step * images.length + 4, () => ({
      data: [{
        type: "heatmap", z: states.map((row) => [...row].map((letter) => codes[letter])),
        zmin: 0, zmax: STATES.length - 1, xgap: 1, ygap: 1, showscale: false, hoverinfo: "text",
        hovertext: states.map((row, image) => [...row].map((letter, label) => lines(`image ${images[image]}`, names[label], STATES[codes[letter]][1]))),
        colorscale: STATES.flatMap(([, , name], code) => [[code / STATES.length, colour(name)], [(code + 1) / STATES.length, colour(name)]]),
      }],
      layout: {
        margin: { l: 1, r: 1, t: 1, b: 1 }, dragmode: false,
        xaxis: { visible: false, fixedrange: true }, yaxis: { visible: false, fixedrange: true, autorange: "reversed" },
        shapes: [{ type: "rect", xref: "paper", yref: "paper", x0: 0, x1: 1, y0: 0, y1: 1, line: { color: colour("line"), width: 1 } }],
      },
    }));
    plot.style.width = `${step * names.length + 4}px`;
    return make("figure", { style: `width:${Math.max(step * names.length + 4, 150)}px` }, make("figcaption", {}, ...breakable(title)), plot);
  });
  if (!panels.length) return [];
  const key = shown.map(([, name, shade]) => make("span", {}, swatch(`var(--${shade})`), name));
  return [make("p", { class: "status" }, dataset), make("div", { class: "legend" }, ...key), make("div", { class: "tiles" }, ...tiles)];
};
