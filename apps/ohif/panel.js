// SPDX-License-Identifier: Apache-2.0
// The panel: the bundles that fit the active series, their options, progress, and the derived series beside the original.
import * as options from "../web/src/options.js";
import * as server from "../web/src/server.js";
import { pair } from "./labels.js";
import { Viewer } from "./viewer.js";

/** The destination that is the PACS which is shown here. */
const PACS = "pacs";
/** How often it is asked whether the study has jobs that began elsewhere. */
const ELSEWHERE_MS = 5000;
/** Jobs of a study that are asked for. */
const MOST = 20;
const STYLE = `
:host { display: block; padding: 12px; color: #fff; font: 14px/1.45 system-ui, sans-serif; }
* { box-sizing: border-box; } [hidden] { display: none !important; }
h2 { font-size: 15px; margin: 0 0 8px; color: #4fd6c4; } h3 { font-size: 13px; margin: 14px 0 4px; color: #9fb3d9; }
label { display: block; margin: 8px 0 2px; font-size: 12px; color: #9fb3d9; }
select, input:not([type=checkbox], [type=range]) { width: 100%; padding: 5px 8px; border-radius: 7px; border: 1px solid #2b3d5c; background: #04123a; color: #fff; font: inherit; }
input[type=range] { width: 100%; accent-color: #4fd6c4; }
button { font: inherit; padding: 5px 11px; border-radius: 8px; border: 1px solid #2b3d5c; background: #14285c; color: #fff; cursor: pointer; margin: 8px 6px 0 0; }
button.go { background: #4fd6c4; color: #06201c; font-weight: 600; } button:disabled { opacity: .45; cursor: default; }
p { margin: 4px 0; } .dim { color: #9fb3d9; font-size: 12px; } .bad { color: #ff9d9d; } .job { border-top: 1px solid #23345c; padding: 7px 0; }
progress { width: 100%; height: 6px; accent-color: #4fd6c4; } ul { padding-left: 16px; margin: 4px 0; font-size: 12px; color: #9fb3d9; }
:focus-visible { outline: 2px solid #f5b45f; outline-offset: 2px; }`;

const FORM = `
<h2>Enhance</h2><p id="series" class="dim" role="status"></p>
<form id="wish"><label for="bundle">Bundle</label><select id="bundle"></select><p id="about" class="dim"></p>
<div id="options"></div>
<label for="strength">Strength <output id="level">1.00</output></label><input id="strength" type="range" min="0" max="1" step="0.05" value="1">
<button class="go" id="run">Enhance</button></form>
<h3>Jobs of this study</h3><p id="known" class="dim"></p><div id="jobs" aria-live="polite"></div><p class="dim">Research software, not a medical device.</p>`;

export class EnhancePanel extends HTMLElement {
  constructor(given) {
    super();
    this.viewer = new Viewer(given);
    this.bundles = [];
    this.deliver = [];
    this.followed = new Map();
    const root = this.attachShadow({ mode: "open" }), style = document.createElement("style");
    style.textContent = STYLE;
    root.innerHTML = FORM;
    root.prepend(style);
    this.by = (id) => root.getElementById(id);
  }

  async connectedCallback() {
    this.by("bundle").onchange = () => this.describe();
    this.by("strength").oninput = () => (this.by("level").textContent = Number(this.by("strength").value).toFixed(2));
    this.by("wish").onsubmit = (event) => {
      event.preventDefault();
      this.run();
    };
    const ends = this.viewer.watch(() => this.look()), again = setInterval(() => this.elsewhere(), ELSEWHERE_MS);
    this.stop = () => (ends(), clearInterval(again));
    try {
      this.bundles = await server.bundles();
      const { destinations } = await server.json("/v1/destinations");
      this.deliver = destinations.filter((one) => one === PACS);
    } catch (error) {
      this.say(error.message, true);
    }
    this.look();
  }

  disconnectedCallback() {
    this.stop?.();
  }

  say(words, bad = false) {
    this.by("series").textContent = words;
    this.by("series").classList.toggle("bad", bad);
  }

  /** Show what fits the series that is active now. */
  look() {
    const active = this.viewer.active();
    const same = active?.series === this.active?.series;
    this.active = active;
    if (!active) {
      this.by("run").disabled = true;
      if (this.bundles.length) this.say("Choose a series.");
      return;
    }
    if (same && this.by("bundle").options.length) return;
    this.say([active.modality, active.words].filter(Boolean).join(" · "));
    const box = this.by("bundle"), before = box.value;
    const fits = this.bundles.filter((one) => one.name !== "identity" && (!one.modalities.length || one.modalities.includes(active.modality)));
    fits.sort((a, b) => (b.modalities.length > 0) - (a.modalities.length > 0) || (a.name > b.name) - (a.name < b.name));
    box.replaceChildren(...fits.map((one) => new Option(one.name, one.name)));
    const best = fits.find((one) => one.name === before) ?? fits.find((one) => /^(ct|mr|us)_unet|^cxr_srcnn/.test(one.name)) ?? fits[0];
    if (best) box.value = best.name;
    this.by("run").disabled = !best;
    this.describe();
    this.history();
  }

  describe() {
    const bundle = this.bundles.find((one) => one.name === this.by("bundle").value);
    this.by("about").textContent = bundle ? bundle.description + (bundle.may_invent ? " It may invent texture." : "") : "";
    this.values = options.build(this.by("options"), bundle);
    this.by("strength").disabled = bundle?.grid === "scaled";
    if (bundle?.grid === "scaled") this.by("strength").value = 1;
  }

  async run() {
    const bundle = this.by("bundle").value, strength = Number(this.by("strength").value), values = this.values(), { study, series } = this.active;
    const params = { ...(Object.keys(values).length ? { options: values } : {}), ...(strength < 1 ? { strength } : {}) };
    this.by("run").disabled = true;
    try {
      const body = JSON.stringify({ bundle, params, study_uid: study, series_uid: series, deliver: this.deliver, tags: { viewer: "ohif" } });
      const job = await server.json("/v1/jobs", { method: "POST", body, more: { "Content-Type": "application/json" } });
      remember(study, job.id);
      this.follow(job.id, study);
    } catch (error) {
      this.say(`${error.message}${error.code ? ` [${error.code}]` : ""}`, true);
    }
    this.by("run").disabled = false;
  }

  /** The jobs of this study, wherever they began: here, in another tab, before a reload, by a rule or a command. */
  history() {
    const { study } = this.active;
    if (this.study !== study) {
      this.study = study;
      this.followed.clear();
      this.by("jobs").replaceChildren();
    }
    for (const id of remembered(study)) this.follow(id, study, true);
    this.elsewhere();
  }

  /** Show what the server knows of this study and this panel does not yet. */
  async elsewhere() {
    const { study } = this, known = this.by("known");
    if (!study || document.hidden) return;
    try {
      const { jobs, next } = await server.json(`/v1/jobs?kind=enhance&limit=${MOST}&study_uid=${encodeURIComponent(study)}`);
      if (this.study !== study) return;
      for (const job of jobs.filter(({ id }) => !this.followed.has(id)))
        if (server.hasEnded(job)) this.draw(this.row(job.id), job, study);
        else this.follow(job.id, study, true);
      known.textContent = next ? `The newest ${MOST}.` : this.followed.size ? "" : "None yet.";
    } catch (error) {
      known.textContent = error.message;
    }
  }

  /** Where a job is shown; the newest is on top, whichever is heard of first: identifiers are in the order of time. */
  row(id) {
    const row = Object.assign(document.createElement("div"), { className: "job" });
    row.dataset.id = id;
    this.followed.set(id, row);
    const older = [...this.by("jobs").children].find((one) => one.dataset.id < id);
    this.by("jobs").insertBefore(row, older ?? null);
    return row;
  }

  /** Show a job until it has ended; the result only of one that was asked for here, and is not an `old` one that had ended. */
  async follow(id, study, old = false) {
    if (this.followed.has(id)) return;
    const row = this.row(id), own = remembered(study).includes(id);
    let first = true;
    try {
      for await (const job of server.follow(id)) {
        this.draw(row, job, study);
        if (job.state === "succeeded" && own && !(old && first)) await this.show(job, study);
        first = false;
      }
    } catch (error) {
      row.textContent = error.status === 404 ? "A job whose files were deleted." : error.message;
    }
  }

  draw(row, job, study) {
    const words = document.createElement("p"), parts = [words];
    words.textContent = `${job.bundle}: ${told(job)}`;
    if (!server.hasEnded(job)) {
      const bar = document.createElement("progress");
      bar.max = 1;
      bar.setAttribute("aria-label", job.bundle);
      if (job.stage === "enhance") bar.value = job.done;
      parts.push(bar, button("Cancel", () => server.cancel(job.id).catch((error) => this.say(error.message, true))));
    } else if (job.state === "succeeded") {
      parts.push(Object.assign(document.createElement("p"), { className: "stored dim" }));
      parts.push(button("Beside the original", () => this.show(job, study)));
      if (job.links.evidence) parts.push(button("Evidence", () => this.evidence(job)));
      parts.push(button("Difference", () => this.show(job, study, true)));
      if (job.notes.length) {
        const list = document.createElement("ul");
        list.append(...job.notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
        parts.push(list);
      }
    } else words.className = "bad";
    row.replaceChildren(...parts);
  }

  /** The page about the change, in a window of its own. */
  async evidence(job) {
    const url = URL.createObjectURL(await (await server.ask(job.links.evidence)).blob());
    window.open(url, "_blank");
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  /** Look whether the study that is shown here has a result that nobody sends there. */
  async there(study, derived) {
    const [of, only] = [study, derived].map(encodeURIComponent);
    const answer = await server.ask(`/dicom-web/studies/${of}/series?SeriesInstanceUID=${only}`);
    if (answer.status === 204 || !(await answer.json()).length) throw new Error("the result was not sent to the PACS that is shown here");
  }

  /** Wait until the PACS that is shown here has the result, where it gets it. */
  async stored(job, study, derived) {
    const status = this.followed.get(job.id)?.querySelector(".stored");
    for (;;) {
      const { deliveries } = await server.json(`/v1/jobs/${job.id}/deliveries`);
      const found = deliveries.find((one) => one.destination === PACS);
      if (!found) return this.there(study, derived);
      if (status) status.textContent = stage(found);
      if (found.state === "done") return;
      if (found.state === "dead") throw new Error(`the PACS did not take the result [${found.code}]`);
      await new Promise((done) => setTimeout(done, 500));
    }
  }

  /** Both series side by side, and what changed; `data-shown` says which, once they are on screen. */
  async show(job, study, difference = false) {
    try {
      delete this.dataset.shown;
      const { source, derived } = await server.json(`/v1/jobs/${job.id}/series`);
      pair(source, derived, job.bundle);
      await this.stored(job, study, derived);
      if (await this.viewer.beside(study, source, derived, difference)) this.dataset.shown = `${source}|${derived}${difference ? "|difference" : ""}`;
    } catch (error) {
      this.say(error.message, true);
    }
  }
}

function told(job) {
  if (job.state === "queued") return job.position ? `${job.position} before it` : "waits for a worker";
  if (job.state === "running") return `${job.stage || "begins"} ${Math.round(100 * job.done)} %${job.eta_s === null ? "" : `, ${Math.max(1, Math.round(job.eta_s))} s left`}`;
  if (job.state === "succeeded") return `done in ${((job.finished ?? 0) - (job.started ?? 0)).toFixed(1)} s`;
  return job.error ? `${job.error.detail} [${job.error.code}]` : job.state;
}

const stage = ({ state, instances, code }) =>
  ({ done: `${instances} ${instances === 1 ? "image" : "images"} stored in the PACS`, dead: `not stored in the PACS [${code}]` })[state] ??
  (code ? `the PACS does not take it yet [${code}]` : "is being stored in the PACS");

function button(words, act) {
  return Object.assign(document.createElement("button"), { type: "button", textContent: words, onclick: act });
}

const slot = (study) => `clarivox-jobs-${study}`;
const remembered = (study) => JSON.parse(sessionStorage.getItem(slot(study)) ?? "[]");
const remember = (study, id) => sessionStorage.setItem(slot(study), JSON.stringify([...remembered(study), id].slice(-20)));

if (!customElements.get("clarivox-enhance")) customElements.define("clarivox-enhance", EnhancePanel);
