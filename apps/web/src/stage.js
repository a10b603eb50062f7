// SPDX-License-Identifier: Apache-2.0
// The right side: panes, tools and figures of the image that is looked at.
import { Clip } from "./clip.js";
import * as measure from "./measure.js";

const PRESETS = { soft: [-160, 240], lung: [-1350, 150], bone: [-450, 1050], brain: [0, 80] };
const MODES = { beside: "Beside", slider: "Slider", blink: "Blink" };
const LAYERS = ["original", "enhanced", "second"], ORDER = [...LAYERS, "difference", "error"];
const PLANES = { slices: "Slices", coronal: "Coronal", sagittal: "Sagittal", all: "All three" };

const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

export class Stage {
  constructor(places) {
    Object.assign(this, places, { mode: "beside", plane: "slices", strength: 1, cut: 50, window: null, region: null, shown: null, clip: null, pair: null, busy: Promise.resolve(), views: null });
  }

  say(words) {
    this.place.textContent = words;
  }

  /** Draw a case; drawings follow one another, and only what changed is drawn. */
  show(one) {
    this.busy = this.busy.then(() => this.draw(one)).catch((error) => this.say(`The images cannot be shown: ${error.message}`));
    return this.busy;
  }

  async draw(one) {
    const visible = Boolean(one?.ready);
    this.welcome.hidden = visible;
    this.tools.hidden = this.panes.hidden = !visible;
    if (!visible) { this.figures.hidden = true; this.note([]); return; }
    const done = one.runs.filter((run) => run.volumes.length), state = [one, one.place, one.reference, ...done.map((run) => run.id)];
    if (this.shown && state.length === this.shown.length && state.every((part, n) => part === this.shown[n])) return;
    if (!this.views) {
      const { Panes } = await import("./viewer.js");
      this.views = new Panes(this.panes, { moved: (name, where) => this.moved(where), drawn: (name, drag) => this.drew(drag) });
    }
    if (this.shown?.[0] !== one || this.shown?.[1] !== one.place) { this.views.clear(); this.views.at(0); this.window = this.region = this.pair = null; this.strength = 1; this.clip?.pause(); this.clip = null; }
    this.shown = state;
    this.one = one;
    await this.load(one, done);
    await this.paint();
    this.toolbar();
    this.measure();
    this.note([...new Set([...one.preview.job.notes, ...done.flatMap((run) => run.job.notes)])]);
  }

  async load(one, done) {
    const { modality } = one;
    this.original = await this.views.decoded(one.original[one.place].bytes);
    this.results = [];
    for (const run of done) {
      const bytes = one.of(run.volumes);
      if (bytes) this.results.push({ run, volume: await this.views.decoded(bytes) });
    }
    const { frames } = this.original;
    this.views.oriented = ["CT", "MR", "PT"].includes(modality) || this.original.dims[2] > 1; // a picture has no left of a patient
    if (frames > 1) this.clip ??= new Clip(frames, (frame) => this.views.at(frame));
    this.truth = one.reference ? await this.views.decoded(one.reference) : null;
    const { values } = this.original;
    this.window ??= modality === "CT" ? PRESETS.soft : [measure.percentile(values, 0.005), measure.percentile(values, 0.995)];
    if (this.window[0] >= this.window[1]) this.window = [this.window[0], this.window[0] + 1];
  }

  async paint() {
    const { views, window, results } = this, [first] = results, wanted = new Set(["original"]);
    await views.show("original", "Original", this.original, { window });
    for (const [n, result] of results.entries()) {
      const { run, volume } = result, before = measure.enlarged(this.original, volume.dims);
      result.before = before;
      result.mixed = before && this.dial && this.strength < 1 ? volume.with(measure.blend(before, volume.values, this.strength)) : volume;
      await views.show(LAYERS[n + 1], `${run.bundle}${result.mixed === volume ? "" : `, strength ${this.strength.toFixed(2)}`}`, result.mixed, { window });
      wanted.add(LAYERS[n + 1]);
    }
    if (first && this.mode === "beside") {
      for (const [name, words, other] of [["difference", "Difference", first.before], ["error", "Error against the reference", this.truth && measure.enlarged(this.truth, first.volume.dims)]]) {
        if (!other) continue;
        const change = measure.difference(other, first.mixed.values), limit = measure.percentile(change.map(Math.abs), 0.995) || 1;
        await views.show(name, `${words}, blue −${limit.toPrecision(3)}, orange +${limit.toPrecision(3)}`, first.volume.with(change), { signed: limit });
        wanted.add(name);
      }
    }
    for (const name of [...views.list.keys()]) if (!wanted.has(name)) views.remove(name);
    this.layout();
  }

  /** Strength is for results on the grid of the original: the server makes no other. */
  get dial() {
    return this.results.some(({ volume }) => volume.dims.every((side, axis) => side === this.original.dims[axis]) && !volume.colour);
  }

  /** The two that lie over one another, by their panes. */
  get over() {
    const there = LAYERS.filter((name) => this.views.list.has(name));
    const [under, upper] = (this.pair ?? "original,enhanced").split(",");
    return there.includes(under) && there.includes(upper) ? [under, upper] : there.slice(0, 2);
  }

  layout() {
    const two = this.views.list.has("enhanced"), over = two && this.mode !== "beside", [under, upper] = this.over;
    for (const { figure, name } of this.views.list.values()) figure.style.order = ORDER.indexOf(name);
    for (const { figure, name } of this.views.list.values()) figure.dataset.layer = name === under ? "under" : name === upper ? "upper" : "";
    this.panes.classList.toggle("over", over);
    this.panes.classList.toggle("blink", two && this.mode === "blink");
    clearInterval(this.blinking);
    this.panes.style.setProperty("--cut", this.mode === "slider" ? `${this.cut}%` : "0%");
    this.panes.style.setProperty("--shown", "visible");
    if (two && this.mode === "blink") {
      let shown = true;
      this.blinking = setInterval(() => this.panes.style.setProperty("--shown", (shown = !shown) ? "visible" : "hidden"), 700);
    }
  }

  toolbar() {
    const toggles = (names, current, act) => Object.entries(names).map(([name, words]) => {
      const button = made("button", { type: "button", textContent: words, onclick: () => act(name) });
      button.setAttribute("aria-pressed", String(name === current));
      return button;
    });
    const group = (label, ...children) => { const set = made("div", { className: "set" }, ...children); set.setAttribute("role", "group"); set.setAttribute("aria-label", label); return set; };
    const parts = [];
    if (this.clip) parts.push(group("Clip", ...this.clip.controls(made)));
    if (this.original.dims[2] > 1) parts.push(group("Planes", ...toggles(PLANES, this.plane, (name) => this.setPlane(name))));
    if (this.one.original.length > 1) {
      const box = made("select", { onchange: () => { this.one.place = Number(box.value); this.one.changed(); } });
      box.setAttribute("aria-label", "Image of the study");
      this.one.original.forEach((each, n) => box.add(new Option(`image ${each.place || n + 1}`, n, false, n === this.one.place)));
      parts.unshift(group("Image", box));
    }
    const presets = this.one.modality === "CT" ? Object.fromEntries(Object.keys(PRESETS).map((name) => [name, name])) : { auto: "auto", wide: "wide" };
    parts.push(group("Window", ...toggles(presets, "", (name) => this.setWindow(name))));
    if (this.results.length) {
      parts.push(group("View", ...toggles(MODES, this.mode, (name) => this.setMode(name))));
      if (this.results.length > 1 && this.mode !== "beside") parts.push(group("Compared", this.pairs()));
      if (this.mode === "slider") parts.push(this.range("Cut", 0, 100, this.cut, 1, (value) => this.setCut(value)));
      if (this.dial) parts.push(this.range("Strength", 0, 1, this.strength, 0.05, (value) => this.setStrength(value)));
    }
    const draw = made("button", { type: "button", textContent: "Region", onclick: () => this.setRegion() });
    draw.setAttribute("aria-pressed", String(this.views.region));
    const truth = made("input", { type: "file", hidden: true, onchange: () => truth.files.length && this.wantsReference([...truth.files]) });
    truth.setAttribute("aria-label", "Reference");
    parts.push(group("Measure", draw, made("button", { type: "button", textContent: "Reference…", onclick: () => truth.click() }), truth));
    for (const { run } of this.results) {
      const set = group(run.bundle, ...this.links(run));
      set.dataset.bundle = run.bundle;
      parts.push(set);
    }
    this.tools.replaceChildren(...parts);
  }

  /** Which two of three lie over one another. */
  pairs() {
    const names = { original: "original", enhanced: this.results[0].run.bundle, second: this.results[1].run.bundle }, box = made("select", { onchange: () => { this.pair = box.value; this.layout(); } });
    box.setAttribute("aria-label", "Compared");
    for (const pair of ["original,enhanced", "original,second", "enhanced,second"])
      box.add(new Option(pair.split(",").map((name) => names[name]).join(" | "), pair, false, pair === (this.pair ?? "original,enhanced")));
    return box;
  }

  links(run) {
    const weak = this.dial && this.strength < 1, several = this.results.length > 1 ? ` ${run.bundle}` : "";
    const button = (words, act) => made("button", { type: "button", textContent: words, onclick: act });
    return [
      button(`Download${several}${weak ? ` at ${this.strength.toFixed(2)}` : ""}`, () => this.fetched(run, "result")),
      ...(run.job.links.evidence ? [button("Evidence", () => this.fetched(run, "evidence"))] : []),
    ];
  }

  /** Save what a run made, at the strength of the dial: the server makes it, as it made the whole. */
  async fetched(run, what) {
    const { strength } = this;
    try {
      if (this.dial && strength < 1) this.say(`${run.bundle} at strength ${strength.toFixed(2)} is made…`);
      const job = this.dial && strength < 1 ? await this.one.at(run, strength) : run.job;
      await this.save(job.links[what], what === "evidence" ? "evidence.html" : job.results.find((file) => file.role === "result").name);
      this.say("");
    } catch (error) {
      this.say(`It cannot be had: ${error.message}`);
    }
  }

  async save(path, name) {
    const { ask } = await import("./server.js");
    const url = URL.createObjectURL(await (await ask(path)).blob());
    if (name.endsWith(".html")) window.open(url, "_blank", "noopener");
    else made("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  range(label, min, max, value, step, act) {
    const shown = made("output", { textContent: step < 1 ? value.toFixed(2) : "" });
    const input = made("input", { type: "range", min, max, step, value, oninput: () => { if (step < 1) shown.textContent = Number(input.value).toFixed(2); act(Number(input.value)); } });
    input.dataset.range = label;
    return made("label", { className: "set" }, label, input, shown);
  }

  setCut(value) {
    this.cut = value;
    this.panes.style.setProperty("--cut", `${value}%`);
  }

  setMode(name) { this.mode = name; this.queue(() => this.paint()); this.toolbar(); }
  setPlane(name) { this.plane = name; this.views.planes(name); this.toolbar(); }
  setRegion() { this.views.draw(!this.views.region); this.toolbar(); this.say(this.views.region ? "Draw a rectangle on an image." : ""); }

  setWindow(name) {
    const values = this.original.values;
    this.window = PRESETS[name] ?? (name === "wide" ? [measure.percentile(values, 0), measure.percentile(values, 1)] : [measure.percentile(values, 0.005), measure.percentile(values, 0.995)]);
    this.views.window(...this.window);
  }

  setStrength(value) {
    this.strength = value;
    if (this.painting) return;
    this.painting = true;
    this.queue(async () => { this.painting = false; await this.paint(); this.measure(); this.relink(); });
  }

  /** The buttons of downloads say the strength; the dial itself stays as it is, so that it can be dragged on. */
  relink() {
    for (const { run } of this.results) this.tools.querySelector(`[data-bundle="${run.bundle}"]`)?.replaceChildren(...this.links(run));
  }

  queue(work) { this.busy = this.busy.then(work).catch((error) => this.say(error.message)); }

  moved(where) {
    const value = where.values?.[0]?.value, vox = where.vox ?? [];
    this.place.textContent = `voxel ${[...vox].map((n) => n + 1).join(", ")}   ${Number.isFinite(value) ? Number(value).toPrecision(5) : ""}`;
  }

  drew(drag) {
    const low = [0, 1, 2].map((axis) => Math.min(drag.fracStart[axis], drag.fracEnd[axis])), high = [0, 1, 2].map((axis) => Math.max(drag.fracStart[axis], drag.fracEnd[axis]));
    this.region = { low, high };
    this.views.outline(low, high);
    this.measure();
  }

  measure() {
    const rows = [], { region } = this;
    const stored = (volume, shares) => shares.map((share, axis) => Math.min(volume.dims[axis] - 1, Math.max(0, Math.floor(share * volume.dims[axis]))));
    if (region)
      for (const [name, volume] of [["Original", this.original], ...this.results.map(({ run, mixed }) => [run.bundle, mixed])]) {
        const found = measure.statistics(volume, this.box(volume, stored(volume, region.low), stored(volume, region.high)), this.clip?.frame);
        rows.push([name, "region", `mean ${found.mean.toPrecision(5)}`, `standard deviation ${found.deviation.toPrecision(4)}`, `${found.count} voxels`]);
      }
    if (this.truth) {
      const range = measure.percentile(this.truth.values, 0.99);
      for (const [name, volume] of [["Original", this.original], ...this.results.map(({ run, mixed }) => [run.bundle, mixed])]) {
        const truth = measure.enlarged(this.truth, volume.dims);
        if (truth) rows.push([name, "against the reference", `PSNR ${measure.psnr(volume, { values: truth }, range).toFixed(2)} dB`, `SSIM ${measure.ssim(volume, { values: truth, dims: volume.dims }, range).toFixed(4)}`, `range ${range.toPrecision(4)}, its 99th percentile; 7 × 7 uniform windows`]);
      }
    }
    this.figures.hidden = !rows.length;
    this.figures.replaceChildren(made("table", {}, ...rows.map((row) => made("tr", {}, ...row.map((text, n) => made(n ? "td" : "th", { textContent: text }))))));
  }

  /** NiiVue speaks of axes to the right, the front and the head; values lie as the file has them. */
  box(volume, low, high) {
    const { permRAS } = volume.image, from = [0, 0, 0], to = [0, 0, 0];
    for (let axis = 0; axis < 3; axis++) {
      const own = Math.abs(permRAS?.[axis] ?? axis + 1) - 1, side = volume.dims[own], share = (index) => Math.min(side - 1, index);
      const flipped = (permRAS?.[axis] ?? 1) < 0;
      from[own] = flipped ? side - 1 - share(high[axis]) : share(low[axis]);
      to[own] = flipped ? side - 1 - share(low[axis]) : share(high[axis]);
    }
    return { from: from.map((n) => Math.max(0, n)), to };
  }

  note(notes) {
    this.notes.replaceChildren(...(notes.length ? [made("b", { textContent: "Notes" }), made("ul", {}, ...notes.map((text) => made("li", { textContent: text })))] : []));
  }

  key(name) {
    if (!this.shown || this.tools.hidden) return false;
    const modes = { 1: "beside", 2: "slider", 3: "blink" }, up = { ArrowUp: 1, ArrowDown: -1 }[name], weaker = { "[": -0.05, "]": 0.05 }[name], cut = { ",": -5, ".": 5 }[name];
    if (modes[name] && this.results.length) this.setMode(modes[name]);
    else if (up && this.clip) { this.clip.pause(); this.clip.to(this.clip.frame + up); }
    else if (up) this.views.step(up);
    else if ((name === "p" || name === "P" || name === " ") && this.clip) this.clip.toggle();
    else if (name === "v" || name === "V") this.setPlane(Object.keys(PLANES)[(Object.keys(PLANES).indexOf(this.plane) + 1) % 4]);
    else if (name === "r" || name === "R") this.setRegion();
    else if (weaker && this.results.length && this.dial) { this.setStrength(Math.min(1, Math.max(0, Math.round(20 * (this.strength + weaker)) / 20))); this.toolbar(); }
    else if (cut && this.mode === "slider") { this.setCut(Math.min(100, Math.max(0, this.cut + cut))); this.toolbar(); }
    else return false;
    return true;
  }
}
