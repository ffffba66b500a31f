// One card for each application.
import { make, text } from "./texts.js";
import { area, bars, card, characters, check, chips, choice, line, lines, maskPicture } from "./parts.js";
import { listen, post } from "./server.js";

const at = (model, verb) => `v1/${model.id}/${verb}`;

function segmentation(model) {
  const fields = [area("text", "text", "今天天气很好，我们去北京大学看展览。"), chips("standard", "standard", model.settings.standards, model.settings.standard)];
  return card(model, fields, async (values, result) => {
    const found = await post(at(model, "segment"), { texts: [values.get("text")], standard: values.get("standard") });
    const { words } = found.results[0];
    const shown = words.map((word, i) => make("span", { className: `word c${i % 6}` }, word));
    result.replaceChildren(make("p", { className: "words" }, ...shown), make("p", { className: "took", t: "words", values: { count: words.length } }));
  });
}

function similarity(model) {
  const fields = [line("query", "query", "密码怎么改", { required: true }), area("texts", "sentences", "怎样修改密码\n忘记密码了怎么找回\n今天会下雨吗\n快递几天能到", {}, 4)];
  return card(model, fields, async (values, result) => {
    const { matches } = await post(at(model, "rank"), { query: values.get("query"), texts: lines(values.get("texts")) });
    result.replaceChildren(bars(matches.map((match) => [match.text, match.score])));
  });
}

function classification(model) {
  const { pair } = model.settings;
  const fields = [area("text", pair ? "text" : "text", "房间很干净，下次还会来。"), ...(pair ? [area("second", "second", "房间干净吗")] : [])];
  return card(model, fields, async (values, result) => {
    const item = pair ? [values.get("text"), values.get("second")] : values.get("text");
    const { label, labels, scores } = (await post(at(model, "classify"), { texts: [item] })).results[0];
    const rows = Object.entries(scores).sort((a, b) => b[1] - a[1]).slice(0, 12);
    const name = label === null ? make("p", { className: "answer", t: "noLabel" }) : make("p", { className: "answer" }, labels.join(" · "));
    result.replaceChildren(name, bars(rows));
  });
}

/** A text with its entities; what lies inside another entity is listed below. */
function marked(whole, entities, types) {
  const chars = characters(whole);
  const parts = [];
  const inner = [];
  let done = 0;
  for (const entity of [...entities].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (entity.start < done) {
      inner.push(entity);
      continue;
    }
    parts.push(chars.slice(done, entity.start).join(""));
    parts.push(make("span", { className: `entity c${types.indexOf(entity.type) % 6}` }, entity.text, make("sup", {}, entity.type)));
    done = entity.end;
  }
  parts.push(chars.slice(done).join(""));
  const below = inner.map((entity) => make("span", { className: `entity c${types.indexOf(entity.type) % 6}` }, entity.text, make("sup", {}, entity.type)));
  return [make("p", { className: "words" }, ...parts), ...(below.length ? [make("p", {}, ...below)] : [])];
}

function labeling(model) {
  return card(model, [area("text", "text", "沈月昨天去了南山图书馆。")], async (values, result) => {
    const { entities } = (await post(at(model, "label"), { texts: [values.get("text")] })).results[0];
    const found = entities.length ? [] : [make("p", { className: "took", t: "noEntity" })];
    result.replaceChildren(...marked(values.get("text"), entities, model.settings.types), ...found);
  });
}

/** A passage with the answer marked, and with shades where attention is known. */
function passageParts(passage, evidence) {
  const chars = characters(passage);
  const largest = Math.max(...(evidence.attention || [0]), 1e-12);
  const piece = (from, to) => {
    if (!evidence.attention) return [chars.slice(from, to).join("")];
    return chars.slice(from, to).map((char, i) => {
      const span = make("span", { title: evidence.attention[from + i].toFixed(4) }, char);
      span.style.background = `rgba(var(--shade), ${((0.8 * evidence.attention[from + i]) / largest).toFixed(3)})`;
      return span;
    });
  };
  if (evidence.start === null) return piece(0, chars.length);
  return [...piece(0, evidence.start), make("mark", {}, ...piece(evidence.start, evidence.end)), ...piece(evidence.end, chars.length)];
}

function reading(model) {
  const fields = [
    line("question", "question", "沈月白生于哪年？", { required: true }),
    area("passages", "passages", "沈月白生于1921年。\n陶安的老家在青石县。", {}, 4),
    check("shade", "shade", false),
  ];
  const whole = card(model, fields, async (values, result) => {
    const passages = lines(values.get("passages"));
    const verb = values.get("shade") ? "attention" : "answer";
    const found = await post(at(model, verb), { question: values.get("question"), passages });
    const shown = passages.map((passage, i) => {
      const evidence = found.evidence.find((each) => each.passage === i);
      const title = make("strong", { t: "passage", values: { n: i + 1 } });
      if (!evidence) return make("div", { className: "passage silent" }, title, " · ", make("span", { t: "silent" }), make("p", {}, passage));
      const vote = bars([[text("vote", { p: "" }), evidence.probability]]);
      return make("div", { className: "passage voted" }, title, vote, make("p", {}, ...passageParts(passage, evidence)));
    });
    const name = found.text ? make("p", { className: "answer" }, found.text) : make("p", { className: "answer", t: "noAnswer" });
    result.replaceChildren(name, ...shown);
  });
  whole.append(maskPicture(model.settings.mask));
  return whole;
}

function generation(model) {
  const { labels, vector_size: size } = model.settings;
  const columns = Object.keys(labels);
  const fields = [
    make("div", { className: "fields" }, ...columns.map((column) => choice(`label-${column}`, column, labels[column]))),
    ...(size ? [line("vector", "vector", "", {}, { size })] : []),
    line("prompt", "prompt", ""),
    make(
      "div",
      { className: "fields" },
      line("seed", "seed", "1", { type: "number", min: 0, step: 1 }),
      line("temperature", "temperature", "1", { type: "number", min: 0.1, max: 10, step: 0.1 }),
      line("top_p", "topP", "0.9", { type: "number", min: 0.05, max: 1, step: 0.05 }),
      line("max_length", "length", "64", { type: "number", min: 1, step: 1 }),
    ),
    check("stream", "streaming", true),
  ];
  const whole = card(
    model,
    fields,
    async (values, result, signal) => {
      const chosen = Object.fromEntries(columns.map((column) => [column, values.get(`label-${column}`)]).filter(([, label]) => label));
      const vector = (values.get("vector") || "").split(",").map(Number);
      const body = {
        condition: size ? (values.get("vector") ? vector : null) : chosen,
        prompt: values.get("prompt"),
        stream: values.get("stream") === "on",
        ...Object.fromEntries(["seed", "temperature", "top_p", "max_length"].map((name) => [name, Number(values.get(name))])),
      };
      const tags = Object.entries(chosen).map(([column, label]) => make("span", { className: "tag" }, `${column}: ${label}`));
      const written = make("p", { className: "written" });
      const end = make("p", { className: "took" });
      result.replaceChildren(make("div", { className: "labels" }, ...tags), written, end);
      const finish = (last) => {
        written.textContent = last.text;
        end.append(make("span", { t: "tokens", values: { n: last.num_tokens } }), " · ", make("span", { t: last.complete ? "complete" : "cut" }));
      };
      if (!body.stream) return finish((await post(at(model, "generate"), body)).texts[0]);
      written.classList.add("writing");
      try {
        await listen(at(model, "generate"), body, signal, (kind, data) => {
          if (kind === "done") finish(data);
          else written.textContent = characters(written.textContent).slice(0, data.kept).join("") + data.new;
        });
      } finally {
        written.classList.remove("writing");
      }
      return undefined;
    },
    "write",
  );
  whole.append(maskPicture("causal"));
  return whole;
}

function filling(model) {
  const { mask } = model.settings;
  return card(model, [area("text", "maskText", `今天天气${mask}好`, { mask })], async (values, result) => {
    const { masks } = (await post(at(model, "fill"), { texts: [values.get("text")], top: 5 })).results[0];
    const chars = characters(values.get("text"));
    const parts = [];
    let done = 0;
    for (const one of masks) {
      parts.push(chars.slice(done, one.start).join(""), make("mark", {}, one.candidates[0].token));
      done = one.end;
    }
    parts.push(chars.slice(done).join(""));
    const lists = masks.map((one) => bars(one.candidates.map((each) => [each.token, each.probability])));
    result.replaceChildren(make("p", { className: "words" }, ...parts), ...lists);
  });
}

export const CARDS = {
  word_segmentation: segmentation,
  sentence_similarity: similarity,
  text_classification: classification,
  sequence_labeling: labeling,
  reading_comprehension: reading,
  conditional_generation: generation,
  filling,
};
