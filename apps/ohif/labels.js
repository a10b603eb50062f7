// SPDX-License-Identifier: Apache-2.0
// What a viewport shows, in a word over its corner. The header of the image that is drawn says it, not the viewport's place
// and not what was asked for: so it follows whatever is put there, and names no image that is not on screen.
import { isDifference } from "./difference.js";

const STYLE = `
:host { display: block; margin-bottom: 3px; text-shadow: none; } [hidden] { display: none; }
div { display: inline-block; min-width: min-content; padding: 2px 8px 3px; border-radius: 6px; background: #000c; color: #fff; white-space: normal; font: 600 15px/1.25 system-ui, sans-serif; border-left: 4px solid #b9c4dc; }
small { display: block; font: 12px/1.3 system-ui, sans-serif; } .enhanced, .copy { border-color: #4fd6c4; color: #7ff0e0; } .difference { border-color: #f5b45f; color: #ffd08f; }`;
const EVENTS = ["CORNERSTONE_IMAGE_RENDERED", "CORNERSTONE_STACK_NEW_IMAGE"];

const list = (value) => (value == null ? [] : Array.isArray(value) ? value : [value]);
/** Derived series that the panel asked for: the series it was made of. */
const sources = new Map();
let services;

/** Note what a job was about, for a PACS that gives less of a header than it was sent. */
export const pair = (source, derived, bundle) => sources.set(derived, { source, bundle });

/** The bundles that an image went through, the first first; none where clarivox did not make it. */
export function bundlesOf(instance) {
  const ours = list(instance?.ContributingEquipmentSequence).filter((one) => one.Manufacturer === "clarivox");
  if (ours.length) return ours.map((one) => String(one.ManufacturerModelName));
  const said = [...String(instance?.DerivationDescription ?? "").matchAll(/\bclarivox \S+: \S+ by ([\w.-]+)/g)].map(([, name]) => name);
  const asked = sources.get(instance?.SeriesInstanceUID);
  return said.length || !asked ? said : [asked.bundle];
}

/** Whether a series of the study was made of this one. */
function isSource(series) {
  const made = services.displaySetService.getActiveDisplaySets().map((set) => set.instance ?? set.instances?.[0]);
  return made.some((one) => {
    // What the source itself referred to comes before our own item.
    const refers = list(one?.ReferencedSeriesSequence).at(-1)?.SeriesInstanceUID ?? sources.get(one?.SeriesInstanceUID)?.source;
    return refers === series && bundlesOf(one).length > 0;
  });
}

/** A word for an image and, smaller, which: null where nothing can be said. */
function told(imageId) {
  const instance = window.cornerstone.metaData.get("instance", imageId);
  if (!instance) return null;
  const bundles = bundlesOf(instance);
  if (isDifference(imageId)) return ["DIFFERENCE", `${bundles.join(", then ")} minus original`];
  if (bundles.length) return [bundles.every((one) => one === "identity") ? "COPY" : "ENHANCED", bundles.join(", then ")];
  return isSource(instance.SeriesInstanceUID) ? ["ORIGINAL", ""] : null;
}

/** The image that a viewport has drawn; none where several series lie over one another. */
function drawn(id) {
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
  if (!viewport || services.viewportGridService.getDisplaySetsUIDsForViewport(id)?.length > 1) return undefined;
  return viewport.getCornerstoneImage ? viewport.getCornerstoneImage()?.imageId : (viewport.getCurrentImageId?.() ?? viewport.getImageIds?.()[0]);
}

class ViewportLabel extends HTMLElement {
  static observedAttributes = ["viewport"];

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).innerHTML = `<style>${STYLE}</style><div hidden></div>`;
  }

  connectedCallback() {
    // These events do not bubble, but every element above hears them on their way down.
    for (const name of EVENTS) document.addEventListener(name, this, true);
    const sets = services.displaySetService;
    this.added = sets.subscribe(sets.EVENTS.DISPLAY_SETS_ADDED, () => this.look());
    this.look();
  }

  disconnectedCallback() {
    for (const name of EVENTS) document.removeEventListener(name, this, true);
    this.added.unsubscribe();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.look();
  }

  handleEvent({ detail }) {
    if (detail.viewportId === this.getAttribute("viewport")) this.look();
  }

  look() {
    const image = drawn(this.getAttribute("viewport")), found = image ? told(image) : null, text = found?.join(" ").trim() ?? "";
    if (this.dataset.says === text) return;
    this.dataset.says = text;
    const box = this.shadowRoot.querySelector("div"), [word, more] = found ?? ["", ""];
    box.hidden = !found;
    box.className = word.toLowerCase();
    box.textContent = word;
    if (!more) return;
    const small = document.createElement("small");
    // Names break at their joints where a viewport is narrow.
    more.split(/(?<=_)/).forEach((part) => small.append(part, document.createElement("wbr")));
    box.append(small);
  }
}

/** The overlay item of OHIF's customization service that shows them; `element` makes what React takes for one. */
export function labels(given, element) {
  services = given;
  if (!customElements.get("clarivox-label")) customElements.define("clarivox-label", ViewportLabel);
  return { id: "clarivox", contentF: ({ viewportId }) => element("clarivox-label", { viewport: viewportId }) };
}

/** In the list of series the word comes first, where it is not cut off; what OHIF shows of a series, not what is stored. */
export function listed({ displaySetService: sets }) {
  return sets.subscribe(sets.EVENTS.DISPLAY_SETS_ADDED, ({ displaySetsAdded }) => {
    for (const set of displaySetsAdded) {
      const bundles = bundlesOf(set.instance ?? set.instances?.[0]);
      if (bundles.length && !isDifference(set.imageIds?.[0] ?? "")) set.SeriesDescription = `${bundles.at(-1)}: ${set.SeriesDescription ?? ""}`;
    }
  });
}
