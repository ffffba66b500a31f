// Starts the page: a card for each model, and the state of the server.
import { CARDS } from "./cards.js";
import { askForKey, get } from "./server.js";
import { make, startLanguage, text } from "./texts.js";

const state = document.getElementById("state");

function show(key, bad = false) {
  state.dataset.t = key;
  state.textContent = text(key);
  state.classList.toggle("bad", bad);
}

async function watch() {
  try {
    const answer = await fetch("readyz");
    show(answer.ok ? "ready" : "warming");
    setTimeout(watch, answer.ok ? 15000 : 1000);
  } catch {
    show("offline", true);
    setTimeout(watch, 3000);
  }
}

async function start() {
  const cards = document.getElementById("cards");
  try {
    const { data } = await get("v1/models");
    cards.replaceChildren(...data.filter((model) => CARDS[model.task]).map((model) => CARDS[model.task](model)));
  } catch (error) {
    cards.replaceChildren(make("p", { className: "problem" }, error.message));
    if (error.locked) askForKey(start);
  }
}

startLanguage();
start();
watch();
