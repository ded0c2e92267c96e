// Elements, downloads and numbers. Names come from users: text goes in as text nodes only.

const make = (tag, attributes = {}, ...children) => {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

// A long spec may break after its signs.
const breakable = (text) => text.split(/(?<=[:,])/).flatMap((piece) => [piece, make("wbr")]);

const later = (action, delay = 120) => {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(action, delay);
  };
};

const points = (value, half, digits = 1) => {
  if (value == null) return "-";
  const spread = half == null ? "" : ` ± ${half.toFixed(digits)}`;
  return value.toFixed(digits) + spread;
};

const flat = (value) => {
  if (value == null) return "";
  if (Array.isArray(value)) return value.join("; ");
  if (typeof value !== "object") return String(value);
  return Object.entries(value).map(([key, item]) => `${key}=${item}`).join("; ");
};

const csv = (records) => {
  const columns = Object.keys(records[0] ?? {});
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = records.map((record) => columns.map((name) => quoted(flat(record[name]))));
  return [columns.map(quoted), ...lines].map((cells) => cells.join(",") + "\n").join("");
};

const save = (name, type, text) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
};

// Buttons that save what a part shows; `records` makes it when it is asked for.
const offer = (place, name, records) => {
  const button = (label, type, text) =>
    make("button", {
      type: "button",
      "aria-label": `Download ${name} as ${label}`,
      onclick: () => save(`${name}.${label.toLowerCase()}`, type, text(records())),
    }, label);
  place.append(
    `${place.dataset.of}: `,
    button("CSV", "text/csv", csv),
    button("JSON", "application/json", (found) => JSON.stringify(found, null, 1)),
  );
};
