// SPDX-License-Identifier: Apache-2.0
// What the panel needs of OHIF 3.13.2, all in one place: the active series, and two series side by side.

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Viewer {
  constructor({ servicesManager, commandsManager, extensionManager }) {
    Object.assign(this, servicesManager.services);
    this.commands = commandsManager;
    this.extensions = extensionManager;
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

  /** Show two series of a study side by side, scrolled and windowed together. */
  async beside(study, source, derived) {
    await this.fetched(study, derived);
    const uids = [source, derived].map((series) => this.displaySetService.getDisplaySetsForSeries(series)[0]?.displaySetInstanceUID);
    if (uids.some((uid) => !uid)) throw new Error("the derived series is stored; it will be in the list when the study is opened again");
    await this.commands.runCommand("setViewportGridLayout", { numRows: 1, numCols: 2 });
    await pause(300);
    const ids = await this.filled([source, derived], uids);
    await this.link(ids);
  }

  /** Put two series into the two viewports until each shows its own: the new layout may fill them itself a moment later. */
  async filled(series, uids) {
    let ids = [];
    for (let n = 0; n < 40; n++) {
      ids = [...this.viewportGridService.getState().viewports.keys()].slice(0, 2);
      const wrong = ids.some((id, place) => this.viewportGridService.getDisplaySetsUIDsForViewport(id)?.[0] !== uids[place]);
      if (ids.length === 2 && wrong)
        this.viewportGridService.setDisplaySetsForViewports(ids.map((viewportId, place) => ({ viewportId, displaySetInstanceUIDs: [uids[place]] })));
      await pause(250);
      if (ids.length === 2 && !wrong && ids.every((id, place) => this.image(id).includes(series[place]))) break;
    }
    return ids;
  }

  /** The address of the image that a viewport shows; "" before there is one. */
  image(id) {
    return this.cornerstoneViewportService.getCornerstoneViewport(id)?.getCurrentImageId?.() ?? "";
  }

  /** Scroll, window and zoom of viewports go together, from when each shows its image: a camera that is linked before has no scale. */
  async link(ids) {
    const service = this.cornerstoneViewportService;
    await pause(300);
    for (const id of ids) {
      service.getCornerstoneViewport(id).resetCamera();
      service.getCornerstoneViewport(id).render();
    }
    const renderingEngineId = service.getRenderingEngine().id;
    for (const viewportId of ids)
      for (const [type, id] of [["imageSlice", "clarivox-slice"], ["voi", "clarivox-window"], ["zoompan", "clarivox-zoom"]])
        this.syncGroupService.addViewportToSyncGroup(viewportId, renderingEngineId, { type, id, source: true, target: true });
  }

  /** Let OHIF know of a series that came after the study was opened. */
  async fetched(study, series) {
    if (this.displaySetService.getDisplaySetsForSeries(series)?.length) return;
    const [source] = this.extensions.getActiveDataSource();
    // 3.13.2 keeps what it knows of a study under "source:study", but forgets it by the study alone.
    source.deleteStudyMetadataPromise(study);
    source.deleteStudyMetadataPromise(`${source.getConfig().name}:${study}`);
    await source.retrieve.series.metadata({ StudyInstanceUID: study, filters: { seriesInstanceUID: [series] } });
    for (let n = 0; n < 40 && !this.displaySetService.getDisplaySetsForSeries(series)?.length; n++)
      await pause(100);
  }
}
