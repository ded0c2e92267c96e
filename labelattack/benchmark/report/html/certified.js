// Certified mAP against the number of training images whose labels may change, below what attacks took.

const certifiedCurves = ({ certified, rows, board }, place) => {
  const all = certified.rows.map((each) => ({ ...each, attack: rows.cells[each.row][0], name: rows.cells[each.row][1], first: board.rows[each.row] }));
  const panels = [...new Set(all.map(({ attack }) => attack))];
  const best = new Map();
  for (const { name, curve } of all) best.set(name, Math.max(best.get(name) ?? 0, curve.reduce((sum, value) => sum + value, 0)));
  const names = [...best.keys()].sort((a, b) => best.get(b) - best.get(a)).slice(0, CHOICES);
  const chosen = new Set(names.slice(0, LINES));

  const line = ({ name, curve, intervals }) => {
    const images = indices(curve).slice(1);
    const shade = tint(place.get(name));
    const values = curve.slice(1);
    const told = images.map((n) => lines(`${name}, certified`, `labels of ${n} images changed: ${points(curve[n], intervals[n])}`));
    return [band(images, values, halves({ intervals }).slice(1), shade), {
      x: images, y: values, mode: "lines", hoverinfo: "text", hovertext: told,
      line: { color: shade, width: 2, dash: DASHES[Math.floor(place.get(name) / COLOURS) % DASHES.length] },
    }];
  };
  const dots = ({ name, attack, images, maps, intervals }) => {
    const shade = tint(place.get(name));
    return {
      x: images, y: maps, mode: "lines+markers", hoverinfo: "text", line: { color: shade, width: 1, dash: "dot" },
      hovertext: images.map((count, n) => lines(`${name} under ${attack}`, `labels of ${Math.round(count)} images changed: ${points(maps[n], intervals[n])}`)),
      marker: { color: "rgba(0,0,0,0)", size: 7, symbol: MARKS[place.get(name) % MARKS.length], line: { color: shade, width: 1.5 } },
      error_y: { visible: intervals.some((each) => each != null), array: halves({ intervals }), color: shade, thickness: 1.2, width: 3 },
    };
  };

  const nodes = panels.slice(0, PANELS).map((attack) => {
    const own = all.filter((each) => each.attack === attack);
    const above = attack === "none" ? certified.attacked : [];
    const said = own.slice(0, LINES).map(({ name, curve }) => `${name} ${points(curve[1])} for 1 image, ${points(curve[Math.min(10, curve.length - 1)])} for ${Math.min(10, curve.length - 1)}`);
    const plot = picture(`Certified mAP, labels as ${attack === "none" ? "they are" : `${attack} leaves them`}: ${said.join("; ")}`, 320, () => ({
      data: [
        ...own.filter(({ name }) => chosen.has(name)).flatMap(line),
        ...above.filter(({ name }) => chosen.has(name)).map(dots),
      ],
      layout: {
        xaxis: { type: "log", dtick: 1, title: { text: "training images whose labels are changed" } },
        yaxis: { title: { text: "test mAP (points)" }, range: [0, 100] },
        shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: certified.chance, y1: certified.chance, line: { color: colour("muted"), width: 1, dash: "dot" } }],
      },
    }));
    const caption = attack === "none" ? ["labels as they are"] : ["labels left by ", ...breakable(attack)];
    return { attack, plot, node: make("figure", {}, make("figcaption", {}, ...caption), plot) };
  });
  return [
    legend("Defenses", names, place, chosen, () => nodes.forEach(({ plot }) => again(plot))),
    ...finder("Attack", nodes.map(({ attack, node }) => [attack, node])),
    make("div", { class: "panels" }, ...nodes.map(({ node }) => node)),
  ];
};
