// SPDX-License-Identifier: Apache-2.0
// The page: images in a list, a wish beside them, runs below it, panes on the right.
import { Case } from "./case.js";
import { chosen, dropped } from "./files.js";
import * as options from "./options.js";
import { illustrate, phantom } from "./phantom.js";
import * as server from "./server.js";
import { Stage } from "./stage.js";

const by = (id) => document.getElementById(id);
const state = { bundles: [], cases: [], current: null, values: () => ({}) };
const stage = new Stage({ tools: by("tools"), panes: by("panes"), figures: by("figures"), place: by("place"), welcome: by("welcome"), notes: by("notes") });

function status(words, bad = false) {
  by("status").textContent = words;
  by("status").classList.toggle("bad", bad);
}

async function begin() {
  try {
    const [found] = await Promise.all([server.bundles(), server.ready().then(tell, tell)]);
    state.bundles = found;
    offer(); // an image may have been dropped before the bundles were known
    const kept = JSON.parse(sessionStorage.getItem("clarivox-cases") ?? "[]");
    for (const one of kept) take(Case.kept(one));
  } catch (error) {
    if (error.status === 401) {
      by("key").hidden = false;
      status("This server wants a key.", true);
      by("ask-key").showModal();
    } else status(error.message, true);
  }
}

function tell(answer) {
  if (answer instanceof Error) status(answer.status === 503 ? "The server is starting; send an image already." : answer.message, answer.status !== 503);
  else status(`Ready. ${answer.workers} ${answer.workers === 1 ? "worker" : "workers"}${answer.queued ? `, ${answer.queued} in the queue` : ""}.`);
}

function keep() {
  sessionStorage.setItem("clarivox-cases", JSON.stringify(state.cases.map((one) => one.asKept()).filter(Boolean)));
}

function add(found) {
  for (const { name, files, modality } of found) take(new Case(name, files, modality));
}

function take(one) {
  state.cases.push(one);
  let modality = one.modality;
  one.changed = () => {
    keep();
    list();
    if (state.current !== one) return;
    if (one.modality !== modality) { modality = one.modality; offer(); }
    show();
  };
  one.open(stage);
  choose(one);
}

function choose(one) {
  state.current = one;
  offer();
  list();
  show();
}

function list() {
  by("cases").replaceChildren(...state.cases.map((one) => {
    const item = document.createElement("li"), button = document.createElement("button"), name = document.createElement("b"), words = document.createElement("small");
    button.type = "button";
    button.setAttribute("aria-pressed", String(one === state.current));
    button.classList.toggle("failed", one.failed);
    name.textContent = one.name;
    words.textContent = one.words;
    button.append(name, words);
    button.onclick = () => choose(one);
    item.append(button);
    return item;
  }));
}

/** The bundles that take the image, by modality; where the image does not say its own, the user has to. */
function offer() {
  const one = state.current, box = by("bundle"), before = box.value;
  const fits = state.bundles.filter((each) => each.name !== "identity" && (!one?.modality || !each.modalities.length || each.modalities.includes(one.modality)));
  const groups = grouped(fits);
  const kept = fits.find((each) => each.name === before);
  const best = kept ?? (one?.modality ? fits.find((each) => /^(ct|mr|us)_unet|^cxr_srcnn/.test(each.name)) ?? fits[0] : null);
  box.replaceChildren();
  if (!best) box.add(new Option("choose one for your kind of image", "", true, true));
  for (const box of [by("bundle"), by("against")]) {
    if (box.id === "against") box.replaceChildren(new Option("no other bundle", ""));
    for (const [title, some] of [...groups].sort(([a], [b]) => (a > b) - (a < b))) {
      const group = document.createElement("optgroup");
      group.label = title;
      group.append(...some.map((each) => new Option(each.name, each.name)));
      box.append(group);
    }
  }
  if (best) box.value = best.name;
  by("wish").hidden = !one || one.failed;
  describe();
}

const groupOf = (bundle) => (bundle.modalities.length ? bundle.modalities.join(", ") : "any image");

function grouped(some) {
  const groups = new Map();
  for (const one of some) groups.set(groupOf(one), [...(groups.get(groupOf(one)) ?? []), one]);
  return groups;
}

function describe() {
  const bundle = state.bundles.find((each) => each.name === by("bundle").value);
  by("about").textContent = bundle ? bundle.description + (bundle.may_invent ? " It may invent texture." : "") : "";
  state.values = options.build(by("options"), bundle);
  by("run").disabled = !bundle || !state.current?.inputs;
}

function show() {
  const one = state.current;
  by("wish").hidden = !one || one.failed;
  by("run").disabled = !one?.inputs || !by("bundle").value;
  by("cancel").hidden = !one?.running;
  by("runs").replaceChildren(...(one?.runs ?? []).map(runRow));
  stage.show(one);
}

function runRow(run) {
  const row = document.createElement("div"), words = document.createElement("p");
  row.className = "run";
  words.textContent = `${run.bundle}: ${run.words}`;
  words.classList.toggle("bad", run.failed);
  row.append(words);
  if (!run.over) {
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", run.bundle);
    if (run.share !== null) bar.value = run.share;
    row.append(bar);
  }
  return row;
}

by("pick-file").onclick = () => by("files").click();
by("pick-folder").onclick = () => by("folder").click();
by("example").onclick = () => add([{ name: "MR phantom, simulated noise", files: [phantom()], modality: "MR" }]);
by("files").onchange = (event) => { add(chosen(event.target.files, false)); event.target.value = ""; };
by("folder").onchange = (event) => { add(chosen(event.target.files, true)); event.target.value = ""; };
by("bundle").onchange = describe;
by("wish").onsubmit = (event) => {
  event.preventDefault();
  const names = [by("bundle").value, by("against").value].filter(Boolean);
  state.current.enhance(names, state.values());
};
by("cancel").onclick = () => state.current.cancel();
by("key").onclick = () => by("ask-key").showModal();
by("ask-key").onclose = () => {
  if (by("ask-key").returnValue !== "ok") return;
  server.keep(by("key-text").value.trim());
  by("key-text").value = "";
  begin();
};

for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]])
  document.addEventListener(type, (event) => {
    event.preventDefault();
    if (type !== "dragleave" || !event.relatedTarget) document.body.classList.toggle("over", over);
  });
document.addEventListener("drop", async (event) => {
  const found = await dropped(event.dataTransfer);
  if (event.target.closest?.("#stage") && state.current?.ready && found.length === 1 && event.altKey) state.current.refer(found[0].files, stage);
  else add(found);
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, dialog") || (event.key === " " && event.target.closest("button, a")) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (stage.key(event.key)) event.preventDefault();
});
stage.wantsReference = (files) => state.current?.refer(files, stage);
illustrate(by("picture"));
setInterval(() => { if (!document.hidden && state.bundles.length) server.ready().then(tell, tell); }, 10000);
begin();
