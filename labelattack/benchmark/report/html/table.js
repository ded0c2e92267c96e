// A table that is sorted by its headings and filled as it is scrolled.

const SLICE = 100;
const collator = new Intl.Collator("en", { numeric: true });

const compare = (a, b) => {
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let place = 0; place < Math.min(a.length, b.length); place += 1) {
      const order = compare(a[place], b[place]);
      if (order) return order;
    }
    return a.length - b.length;
  }
  return typeof a === "string" ? collator.compare(a, b) : a - b;
};

// What stands in no cell stays last, whichever way the rest is sorted.
const absent = (value) => value == null || value === "-";

// columns: {label, key(item), cell(item), number, long}; what `cell` makes is text or an element.
const table = (caption, columns, items) => {
  let shown = items;
  let sorted = items;
  let filled = 0;
  let by = null;
  const body = make("tbody");
  const status = make("p", { class: "status", role: "status" });
  const more = make("button", { type: "button", class: "more", onclick: () => fill() });

  const fill = () => {
    const slice = sorted.slice(filled, filled + SLICE);
    body.append(...slice.map((item) => make("tr", {}, ...columns.map((column) => make(
      "td", { class: column.number ? "number" : column.long ? "long" : null }, column.cell(item),
    )))));
    filled += slice.length;
    more.hidden = filled >= sorted.length;
    more.textContent = `Show more (${sorted.length - filled} left)`;
  };

  const refill = () => {
    sorted = shown;
    if (by) {
      const keyed = shown.map((item) => [by.column.key(item), item]);
      keyed.sort(([a], [b]) => {
        if (absent(a) || absent(b)) return absent(a) - absent(b);
        return by.sign * compare(a, b);
      });
      sorted = keyed.map(([, item]) => item);
    }
    body.replaceChildren();
    filled = 0;
    fill();
    const all = shown.length === items.length ? "" : ` of ${items.length.toLocaleString("en")}`;
    status.textContent = `${shown.length.toLocaleString("en")}${all} rows`;
  };

  const headings = columns.map((column) => {
    if (!column.key) return make("th", { scope: "col" }, make("span", { class: "unseen" }, column.label));
    const heading = make("th", { scope: "col", class: column.number ? "number" : null },
      make("button", { type: "button", onclick: () => turn(column, heading) }, column.label));
    return heading;
  });
  // First the way that people look for, then the other, then as it was.
  const turn = (column, heading) => {
    const first = column.number ? -1 : 1;
    if (by?.column !== column) by = { column, sign: first };
    else by = by.sign === first ? { column, sign: -first } : null;
    for (const each of headings) each.removeAttribute("aria-sort");
    if (by) heading.setAttribute("aria-sort", by.sign > 0 ? "ascending" : "descending");
    refill();
  };

  const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {},
      make("caption", { class: "unseen" }, caption),
      make("thead", {}, make("tr", {}, ...headings)),
      body),
    more);
  scroll.addEventListener("scroll", () => {
    const rest = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
    if (rest < 400 && !more.hidden) fill();
  }, { passive: true });
  // The second column stays beside the first.
  new ResizeObserver(() => scroll.style.setProperty("--first", `${headings[0].offsetWidth}px`)).observe(headings[0]);
  refill();
  return {
    node: make("div", {}, status, scroll),
    show(found) {
      shown = found;
      refill();
    },
  };
};

// Columns of a table whose cells are ready: texts to show, and fields to sort by.
const ready = ({ columns, fields, numeric, cells }, records) =>
  columns.map((label, place) => ({
    label,
    number: numeric[place],
    key: (n) => fields[place].split(".").reduce((of, name) => of?.[name], records[n]) ?? null,
    cell: (n) => cells[n][place],
    told: cells.some((row) => row[place] !== "-" && row[place] !== ""),
  })).filter((column) => column.told);

const indices = (list) => list.map((_, n) => n);

const FEW = 12; // fewer things need no search

const searchBox = (label, found) => {
  const box = make("input", { type: "search", oninput: later(() => found(box.value.trim().toLowerCase())) });
  return make("div", { class: "filters" }, make("label", {}, label, box));
};

// A box that hides what lacks the text in it; things are pairs of text and element.
const finder = (label, things) => (things.length <= FEW ? [] : [searchBox(label, (wanted) => {
  for (const [text, node] of things) node.hidden = !text.toLowerCase().includes(wanted);
})]);

// A table of its own with a box to search it.
const searchable = (caption, columns, items) => {
  const made = table(caption, columns, items);
  if (items.length <= FEW) return made.node;
  const texts = items.map((item) => columns.map((c) => c.cell(item)).join("\n").toLowerCase());
  const box = searchBox("Search", (wanted) => made.show(items.filter((_, n) => texts[n].includes(wanted))));
  return make("div", {}, box, made.node);
};
