// Requests to the server that this page came from.
import { text } from "./texts.js";

export class Problem extends Error {}

function headers() {
  const key = sessionStorage.getItem("key");
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, { headers: headers(), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(text("offline"));
  }
  if (answer.ok) return answer;
  if (answer.status === 401) throw Object.assign(new Problem(text("wrongKey")), { locked: true });
  if (answer.status === 429) throw new Problem(text("busy"));
  const told = await answer.json().catch(() => ({}));
  throw new Problem(told.error?.message || `HTTP ${answer.status}`);
}

export async function get(path) {
  return (await asked(path, {})).json();
}

export async function post(path, body) {
  return (await asked(path, { method: "POST", body: JSON.stringify(body) })).json();
}

/** Calls `heard(kind, data)` for each event of a stream. */
export async function listen(path, body, signal, heard) {
  const answer = await asked(path, { method: "POST", body: JSON.stringify(body), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const events = waiting.split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const lines = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      const data = JSON.parse(lines.data);
      if (lines.event === "error") throw new Problem(data.error.message);
      heard(lines.event, data);
    }
  }
}

/** Shows the field for a key, and calls `then` once one is given. */
export function askForKey(then) {
  const form = document.getElementById("unlock");
  form.hidden = false;
  document.getElementById("key").focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem("key", document.getElementById("key").value);
    form.hidden = true;
    then();
  };
}
