// Parts that several cards are made of.
import { make, text } from "./texts.js";

/** A form in a card, with its result below; `answer(values, result, signal)` fills the result. */
export function card(model, fields, answer, action = "run") {
  const result = make("div", { className: "result", "aria-live": "polite" });
  const took = make("span", { className: "took" });
  const button = make("button", { className: "main", type: "submit", t: action });
  const stop = make("button", { type: "button", t: "stop", hidden: true });
  const form = make("form", {}, ...fields, make("div", { className: "actions" }, button, stop, took));
  let running = null;
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    button.disabled = true;
    stop.hidden = action !== "write";
    const started = performance.now();
    try {
      await answer(new FormData(form), result, running.signal);
    } catch (error) {
      if (error.name !== "AbortError") result.replaceChildren(make("p", { className: "problem" }, error.message));
    }
    const ms = Math.round(performance.now() - started);
    took.dataset.t = "took";
    took.dataset.values = JSON.stringify({ ms });
    took.textContent = text("took", { ms });
    running = null;
    button.disabled = false;
    stop.hidden = true;
  });
  const title = make("h2", { id: `title-${model.id}` }, make("span", { t: model.task }), make("small", {}, model.id));
  return make("section", { className: "card", id: `card-${model.id}`, "aria-labelledby": `title-${model.id}` }, title, form, result);
}

export function area(name, key, value, values, rows = 3) {
  return make("label", {}, make("span", { t: key, values }), make("textarea", { name, rows, value, required: true }));
}

export function line(name, key, value, properties = {}, values = undefined) {
  return make("label", {}, make("span", { t: key, values }), make("input", { name, value, ...properties }));
}

export function choice(name, label, options) {
  const select = make("select", { name }, make("option", { value: "", t: "any" }));
  for (const option of options) select.append(make("option", { value: option }, option));
  return make("label", {}, make("span", {}, label), select);
}

export function chips(name, key, options, chosen) {
  const set = make("fieldset", {}, make("legend", { t: key }));
  for (const value of options) {
    set.append(make("label", { className: "chip" }, make("input", { type: "radio", name, value, checked: value === chosen }), make("span", {}, value)));
  }
  return set;
}

export function check(name, key, checked) {
  return make("label", { className: "row" }, make("input", { type: "checkbox", name, checked }), make("span", { t: key }));
}

/** A list of bars: names, and numbers from 0 to 1. */
export function bars(rows) {
  const list = make("ul", { className: "bars" });
  for (const [name, value] of rows) {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
    list.append(make("li", { className: "bar" }, make("span", {}, name), make("span", { className: "track" }, fill), make("span", { className: "number" }, value.toFixed(3))));
  }
  return list;
}

/** The characters of a text as Python counts them. */
export const characters = (whole) => Array.from(whole);

export const lines = (whole) => whole.split("\n").map((each) => each.trim()).filter(Boolean);

/** A picture of who sees whom: `kind` of attention over a source and a target. */
export function maskPicture(kind, source = 8, target = 4) {
  const size = source + target;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${10 * size} ${10 * size}`);
  svg.setAttribute("class", "mask");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", text(kind));
  const running = (position) => Math.max(0, position - source + 1);
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j < size; j += 1) {
      const sees = kind === "bidirectional" || (kind === "causal" ? j <= i : running(j) <= running(i));
      const cell = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: 10 * j + 0.5, y: 10 * i + 0.5, width: 9, height: 9, rx: 1.5 })) cell.setAttribute(name, value);
      cell.setAttribute("class", sees ? "sees" : "blind");
      svg.append(cell);
    }
  }
  const legend = make("p", { className: "took" }, make("span", { t: kind }));
  return make("details", {}, make("summary", { t: "picture" }), svg, legend);
}
