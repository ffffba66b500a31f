// The paths of the server, from the description that it gives of itself.
import { askForKey, get } from "./server.js";
import { make, startLanguage } from "./texts.js";

function resolved(schema, all) {
  return schema?.$ref ? all[schema.$ref.split("/").pop()] : schema || {};
}

function kind(schema, all) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map((each) => kind(each, all)).join(" | ");
  if (schema.type === "array") return `[${kind(schema.items || {}, all)}]`;
  const limits = Object.entries(schema).filter(([name]) => /^(min|max|exclusive)/.test(name));
  return [schema.type || "any", ...limits.map(([name, value]) => `${name} ${value}`)].join(", ");
}

function table(name, all, done = new Set()) {
  const schema = all[name];
  if (!schema?.properties || done.has(name)) return [];
  done.add(name);
  const body = make("tbody");
  const inner = [];
  for (const [field, type] of Object.entries(schema.properties)) {
    const extra = (schema.required || []).includes(field) ? make("span", { t: "needed" }) : type.default === undefined ? "" : `= ${JSON.stringify(type.default)}`;
    body.append(make("tr", {}, make("td", {}, make("code", {}, field)), make("td", {}, kind(type, all)), make("td", {}, extra)));
    for (const found of JSON.stringify(type).matchAll(/schemas\/(\w+)/g)) inner.push(found[1]);
  }
  return [make("h4", {}, name), make("table", {}, body), ...inner.flatMap((each) => table(each, all, done))];
}

function path(address, method, about, all) {
  const parts = [make("h2", {}, make("code", {}, `${method.toUpperCase()} ${address}`)), make("p", {}, about.summary || "")];
  const request = about.requestBody?.content["application/json"].schema;
  const answer = about.responses["200"]?.content?.["application/json"]?.schema;
  for (const [key, schema] of [["request", request], ["answer", answer]]) {
    const name = schema?.$ref?.split("/").pop();
    if (name && resolved(schema, all)?.properties) parts.push(make("details", {}, make("summary", { t: key }), ...table(name, all)));
  }
  return make("section", { className: "card" }, ...parts);
}

async function start() {
  const main = document.getElementById("paths");
  try {
    const described = await get("openapi.json");
    const all = described.components?.schemas || {};
    const found = Object.entries(described.paths).flatMap(([address, methods]) => Object.entries(methods).map(([method, about]) => path(address, method, about, all)));
    main.replaceChildren(...found);
  } catch (error) {
    main.replaceChildren(make("p", { className: "problem" }, error.message));
    if (error.locked) askForKey(start);
  }
}

startLanguage();
start();
