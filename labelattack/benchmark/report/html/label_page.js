// Fills the page about one attack on labels with its table.

const LOSSES = [
  ["class", "class", (value) => value],
  ["positives", "positives before"],
  ["removed_positives", "removed positives"],
  ["share", "share removed", (value) => (value == null ? "-" : `${(100 * value).toFixed(1)} %`)],
  ["removed_negatives", "removed negatives"],
  ["changed", "changed"],
  ["added", "known after only"],
];

const losses = JSON.parse(document.querySelector(".data").textContent);
const told = LOSSES.filter(([field]) => losses.some((row) => field in row));
document.querySelector(".slot").replaceChildren(searchable("Classes", told.map(([field, label, text]) => ({
  label,
  number: field !== "class",
  key: (row) => row[field],
  cell: (row) => (text ?? ((value) => value.toLocaleString("en")))(row[field]),
})), losses));
offer(document.querySelector(".downloads"), "classes", () => losses);
document.documentElement.dataset.ready = "true";
