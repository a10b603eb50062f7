// SPDX-License-Identifier: Apache-2.0
// What the panel needs of OHIF 3.13.2, all in one place: the active series, and two series side by side.

const PATIENCE_MS = 120000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const near = (a, b, by) => a.every((one, n) => Math.abs(one - b[n]) <= by * Math.max(1, Math.abs(one)));

/** Whether two viewports of one size show the same of their series: slice, window, zoom, pan. */
const same = (a, b) => (a.slice === b.slice || a.slices !== b.slices) && near(a.view, b.view, 1e-3) && near(a.size, b.size, 0.02);

/** Scroll two viewports together, image by image: OHIF's own way goes by positions, which clips and radiographs have not. */
function scrolled(viewports) {
  const told = new Map();
  viewports.forEach((one, place) => {
    const other = viewports[1 - place];
    one.element.addEventListener("CORNERSTONE_STACK_NEW_IMAGE", ({ detail }) => {
      const was = told.get(one);
      told.delete(one);
      if (was === detail.imageIdIndex || other.isDisabled || other.getCurrentImageIdIndex() === detail.imageIdIndex) return;
      told.set(other, detail.imageIdIndex);
      other.setImageIdIndex(detail.imageIdIndex);
    });
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
   * Show two series of a study side by side, scrolled, windowed and zoomed together.
   * True when both are on screen as they should be; false when something else was asked for meanwhile.
   */
  async beside(study, source, derived) {
    const turn = ++this.turn, series = [source, derived], ids = [`clarivox-source-${turn}`, `clarivox-derived-${turn}`];
    await this.fetched(study, derived);
    const uids = series.map((one) => this.displaySetService.getDisplaySetsForSeries(one)[0]?.displaySetInstanceUID);
    if (uids.some((uid) => !uid)) throw new Error("the derived series is stored; it will be in the list when the study is opened again");
    // Viewports of their own, made with their series in one step: one that is given another series while it loads may show the first.
    await this.viewportGridService.setLayout({
      numRows: 1,
      numCols: 2,
      activeViewportId: ids[0],
      findOrCreateViewport: (place) => ({
        displaySetInstanceUIDs: [uids[place]],
        displaySetOptions: [{}],
        viewportOptions: { viewportId: ids[place], viewportType: "stack", toolGroupId: "default" },
      }),
    });
    const asked = () => turn === this.turn;
    if (!(await this.settled(ids, series, asked))) return false;
    this.link(ids);
    return true;
  }

  /** Wait until each viewport has drawn its own series and both show the same of it; the second is made to follow the first. */
  async settled(ids, series, asked) {
    const until = performance.now() + PATIENCE_MS;
    for (let calm = 0; calm < 3; ) {
      if (performance.now() > until) throw new Error(`the two series do not come on screen: ${JSON.stringify(ids.map((id) => this.state(id)))}`);
      await pause(100);
      if (!asked()) return false;
      const [first, second] = ids.map((id) => this.state(id));
      const drawn = [first, second].every((one, place) => one?.drawn && one.image.includes(series[place]));
      if (drawn && same(first, second)) calm++;
      else {
        calm = 0;
        if (drawn) await this.follow(ids);
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

  /** Both fit their places; the second takes slice and window of the first. */
  async follow(ids) {
    const [first, second] = ids.map((id) => this.cornerstoneViewportService.getCornerstoneViewport(id));
    const { voiRange, invert } = first.getProperties();
    if (first.getImageIds().length === second.getImageIds().length) await second.setImageIdIndex(first.getCurrentImageIdIndex());
    second.setProperties({ voiRange, invert });
    for (const viewport of [first, second]) {
      viewport.resetCamera();
      viewport.render();
    }
  }

  /** From now on what is done in one viewport is done in the other. */
  link(ids) {
    const viewports = ids.map((id) => this.cornerstoneViewportService.getCornerstoneViewport(id));
    const groups = [["voi", "clarivox-window"], ["zoompan", "clarivox-zoom"]];
    if (viewports[0].getImageIds().length === viewports[1].getImageIds().length) scrolled(viewports);
    else groups.push(["imageSlice", "clarivox-slice"]);
    for (const viewportId of ids)
      for (const [type, id] of groups)
        this.syncGroupService.addViewportToSyncGroup(viewportId, viewports[0].renderingEngineId, { type, id, source: true, target: true });
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
