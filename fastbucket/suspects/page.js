"use strict";
const hiddenKeys = new Set(); // of clusters that are longer than what is shown of them
const boxes = (where) => [...where.querySelectorAll(".card input")];
const ticked = () => [...new Set([...boxes(document).filter((b) => b.checked).map((b) => b.value), ...hiddenKeys])];
const count = () => { document.getElementById("count").textContent = ticked().length.toLocaleString("en"); };

for (const section of document.querySelectorAll("section")) {
  const hidden = JSON.parse(section.dataset.hidden);
  const [all, rest] = [".all", ".rest"].map((name) => section.querySelector(name));
  const choose = (box, other, from) => {
    if (other) other.checked = false;
    boxes(section).forEach((one, at) => { one.checked = box.checked && at >= from; });
    hidden.forEach((key) => (box.checked ? hiddenKeys.add(key) : hiddenKeys.delete(key)));
    count();
  };
  all.addEventListener("change", () => choose(all, rest, 0));
  if (rest) rest.addEventListener("change", () => choose(rest, all, 1));
}
document.addEventListener("change", count);
document.getElementById("none").addEventListener("click", () => {
  document.querySelectorAll("input").forEach((box) => { box.checked = false; });
  hiddenKeys.clear();
  count();
});
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(ticked().map((key) => key + "\n"), { type: "text/plain" }));
  link.download = "keys.txt";
  link.click();
  URL.revokeObjectURL(link.href);
});
document.querySelectorAll("input").forEach((box) => { box.checked = false; }); // a reload keeps them
