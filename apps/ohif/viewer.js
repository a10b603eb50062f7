// SPDX-License-Identifier: Apache-2.0
// What the panel needs of OHIF 3.13.2, all in one place: the active series, and series side by side.
import { differences, displaySet, isDifference, windowOf } from "./difference.js";

const PATIENCE_MS = 120000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const near = (a, b, by) => a.every((one, n) => Math.abs(one - b[n]) <= by * Math.max(1, Math.abs(one)));

/** Whether a viewport shows the same as the first, of the same size: slice, zoom, pan, and but for differences the window. */
const same = (a, b) => {
  const from = isDifference(b.image) ? 2 : 0;
  return (a.slice === b.slice || a.slices !== b.slices) && near(a.view.slice(from), b.view.slice(from), 1e-3) && near(a.size, b.size, 0.02);
};

/** Scroll viewports together, image by image: OHIF's own way goes by positions, which clips and radiographs have not. */
function scrolled(viewports) {
  const told = new Map();
  for (const one of viewports)
    one.element.addEventListener("CORNERSTONE_STACK_NEW_IMAGE", ({ detail }) => {
      const was = told.get(one);
      told.delete(one);
      if (was === detail.imageIdIndex) return;
      for (const other of viewports.filter((viewport) => viewport !== one && !viewport.isDisabled && viewport.getCurrentImageIdIndex() !== detail.imageIdIndex)) {
        told.set(other, detail.imageIdIndex);
        other.setImageIdIndex(detail.imageIdIndex);
      }
    });
}

export class Viewer {
  constructor({ servicesManager, commandsManager, extensionManager }) {
    Object.assign(this, servicesManager.services);
    this.commands = commandsManager;
    this.extensions = extensionManager;
    this.turn = 0;
  }

  /** Call back whenever another series becomes active; gives a function that ends it. */
  watch(told) {
    const grid = this.viewportGridService, sets = this.displaySetService;
    const events = [
      [grid, grid.EVENTS.ACTIVE_VIEWPORT_ID_CHANGED],
      [grid, grid.EVENTS.GRID_STATE_CHANGED],
      [sets, sets.EVENTS.DISPLAY_SETS_ADDED],
    ];
    const ends = events.filter(([, name]) => name).map(([service, name]) => service.subscribe(name, () => setTimeout(told, 0)));
    return () => ends.forEach((one) => one.unsubscribe());
  }

  /** The series of the active viewport, or null. */
  active() {
    const { activeViewportId } = this.viewportGridService.getState();
    const [uid] = this.viewportGridService.getDisplaySetsUIDsForViewport(activeViewportId) ?? [];
    const set = uid && this.displaySetService.getDisplaySetByUID(uid);
    if (!set) return null;
    const count = set.numImageFrames ?? set.images?.length ?? 0;
    return { study: set.StudyInstanceUID, series: set.SeriesInstanceUID, modality: set.Modality, words: `${count} ${count === 1 ? "image" : "images"}` };
  }

  /**
   * Show two series of a study side by side, and their difference if that is wanted, scrolled and zoomed together.
   * True when all are on screen as they should be; false when something else was asked for meanwhile.
   */
  async beside(study, source, derived, difference = false) {
    const turn = ++this.turn, names = difference ? ["source", "derived", "difference"] : ["source", "derived"];
    const ids = names.map((name) => `clarivox-${name}-${turn}`);
    await this.fetched(study, derived);
    const sets = [source, derived].map((one) => this.displaySetService.getDisplaySetsForSeries(one)[0]);
    if (sets.some((set) => !set)) throw new Error("the derived series is stored; it will be in the list when the study is opened again");
    if (difference) sets.push(this.difference(...sets));
    // Viewports of their own, made with their series in one step: one that is given another series while it loads may show the first.
    await this.viewportGridService.setLayout({
      numRows: 1,
      numCols: ids.length,
      activeViewportId: ids[0],
      findOrCreateViewport: (place) => ({
        displaySetInstanceUIDs: [sets[place].displaySetInstanceUID],
        displaySetOptions: [{}],
        viewportOptions: { viewportId: ids[place], viewportType: "stack", toolGroupId: "default" },
      }),
    });
    const right = [source, derived, derived].map((series, place) => (image) => image.includes(series) && isDifference(image) === place > 1);
    if (!(await this.settled(ids, right, () => turn === this.turn))) return false;
    this.link(ids);
    return true;
  }

  /** The display set of what changed between two series. */
  difference(source, derived) {
    const [data] = this.extensions.getActiveDataSource();
    const imageIds = differences(...[source, derived].map((set) => data.getImageIdsForDisplaySet(set)));
    if (!imageIds) throw new Error("the two series are not on one grid; the evidence page shows what changed");
    const made = displaySet(derived, imageIds);
    const known = this.displaySetService.getDisplaySetByUID(made.displaySetInstanceUID);
    if (known) return known;
    this.cornerstoneCacheService.stackImageIds.set(made.displaySetInstanceUID, imageIds);
    this.displaySetService.addDisplaySets(made);
    return made;
  }

  /** Wait until each viewport has drawn its own series and all show the same of it; the others are made to follow the first. */
  async settled(ids, right, asked) {
    const until = performance.now() + PATIENCE_MS;
    for (let calm = -1; calm < 3; ) {
      if (performance.now() > until) throw new Error(`the series do not come on screen: ${JSON.stringify(ids.map((id) => this.state(id)))}`);
      await pause(100);
      if (!asked()) return false;
      const views = ids.map((id) => this.state(id));
      if (!views.every((one, place) => one?.drawn && right[place](one.image))) continue;
      if (calm >= 0 && views.every((one) => same(views[0], one))) calm++;
      else {
        calm = 0;
        await this.follow(ids);
      }
    }
    return true;
  }

  /** What a viewport shows; null before it is there. */
  state(id) {
    const viewport = this.cornerstoneViewportService.getCornerstoneViewport(id);
    const image = viewport?.getCurrentImageId?.();
    if (!image) return null;
    // The image that is asked for and the image that has come are two things.
    const drawn = viewport.getCornerstoneImage()?.imageId === image && viewport.viewportStatus === "rendered";
    const { lower, upper } = viewport.getProperties().voiRange ?? {};
    const view = [lower ?? 0, upper ?? 0, viewport.getZoom(), ...viewport.getPan()];
    const size = [viewport.element.clientWidth, viewport.element.clientHeight];
    return { image, drawn, slice: viewport.getCurrentImageIdIndex(), slices: viewport.getImageIds().length, view, size };
  }

  /** All fit their places; the others take slice and window of the first. */
  async follow(ids) {
    const [first, ...others] = ids.map((id) => this.cornerstoneViewportService.getCornerstoneViewport(id));
    const { voiRange, invert } = first.getProperties();
    for (const other of others) {
      if (first.getImageIds().length === other.getImageIds().length) await other.setImageIdIndex(first.getCurrentImageIdIndex());
      if (isDifference(other.getCurrentImageId())) other.setProperties({ voiRange: windowOf(other.getCornerstoneImage()) });
      else other.setProperties({ voiRange, invert });
    }
    for (const viewport of [first, ...others]) {
      viewport.resetCamera();
      viewport.render();
    }
  }

  /** From now on what is done in one viewport is done in the others; a difference keeps its own window. */
  link(ids) {
    const viewports = ids.map((id) => this.cornerstoneViewportService.getCornerstoneViewport(id));
    const groups = [["voi", "clarivox-window"], ["zoompan", "clarivox-zoom"]];
    if (viewports.every((one) => one.getImageIds().length === viewports[0].getImageIds().length)) scrolled(viewports);
    else groups.push(["imageSlice", "clarivox-slice"]);
    for (const viewport of viewports)
      for (const [type, id] of groups)
        if (type !== "voi" || !isDifference(viewport.getCurrentImageId()))
          this.syncGroupService.addViewportToSyncGroup(viewport.id, viewport.renderingEngineId, { type, id, source: true, target: true });
  }

  /** Let OHIF know of a series that came after the study was opened. */
  async fetched(study, series) {
    if (this.displaySetService.getDisplaySetsForSeries(series)?.length) return;
    const [source] = this.extensions.getActiveDataSource();
    // 3.13.2 keeps what it knows of a study under "source:study", but forgets it by the study alone.
    source.deleteStudyMetadataPromise(study);
    source.deleteStudyMetadataPromise(`${source.getConfig().name}:${study}`);
    await source.retrieve.series.metadata({ StudyInstanceUID: study, filters: { seriesInstanceUID: [series] } });
    const until = performance.now() + PATIENCE_MS;
    while (performance.now() < until && !this.displaySetService.getDisplaySetsForSeries(series)?.length) await pause(100);
  }
}
