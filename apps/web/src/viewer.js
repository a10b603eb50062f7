// SPDX-License-Identifier: Apache-2.0
// Panes of NiiVue with one crosshair. It is a chunk of its own, fetched when the first image is there.
import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";

export const PLANES = { slices: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, all: SLICE_TYPE.MULTIPLANAR };
const SIGNS = { above: [255, 150, 50], below: [64, 160, 255] };
const SETTINGS = {
  backColor: [0.016, 0.022, 0.031, 1],
  crosshairColor: [0.31, 0.84, 0.77, 0.85],
  crosshairWidth: 0.25,
  crosshairWidthUnit: "percent",
  show3Dcrosshair: false,
  multiplanarShowRender: SHOW_RENDER.NEVER,
  multiplanarLayout: MULTIPLANAR_TYPE.GRID,
  isColorbar: false,
  isOrientCube: false,
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  dragMode: DRAG_MODE.contrast,
  loadingText: "",
  logLevel: "silent",
};

/** A volume in memory: the image of NiiVue, its values as numbers, and its sides. */
export class Volume {
  constructor(image) {
    this.image = image;
    const [, x, y, z] = image.hdr.dims;
    this.dims = [x, y, Math.max(1, z)];
    this.frames = Math.max(1, image.nFrame4D ?? 1);
    this.colour = image.hdr.datatypeCode === 128;
    this.values = this.colour ? luma(image.img) : scaled(image);
    this.spacing = image.hdr.pixDims.slice(1, 4);
  }

  /** The same grid with other values. */
  with(values) {
    const image = copied(this.image);
    image.hdr = Object.assign(Object.create(Object.getPrototypeOf(this.image.hdr)), this.image.hdr);
    image.img = values;
    Object.assign(image.hdr, { datatypeCode: 16, numBitsPerVoxel: 32, scl_slope: 1, scl_inter: 0, cal_min: 0, cal_max: 0 });
    image.trustCalMinMax = false;
    image.calMinMax();
    const made = Object.create(Volume.prototype);
    return Object.assign(made, { image, dims: this.dims, frames: this.frames, colour: false, values, spacing: this.spacing });
  }
}

/** NiiVue's own copy forgets that a clip has frames. */
function copied(image) {
  const { nFrame4D, nTotalFrame4D, nVox3D } = image;
  return Object.assign(image.clone(), { nFrame4D, nTotalFrame4D, nVox3D });
}

function scaled(image) {
  const slope = image.hdr.scl_slope || 1, offset = image.hdr.scl_inter || 0, stored = image.img;
  const values = new Float32Array(stored.length);
  for (let n = 0; n < values.length; n++) values[n] = stored[n] * slope + offset;
  return values;
}

function luma(bytes) {
  const values = new Float32Array(bytes.length / 3);
  for (let n = 0; n < values.length; n++) values[n] = 0.299 * bytes[3 * n] + 0.587 * bytes[3 * n + 1] + 0.114 * bytes[3 * n + 2];
  return values;
}

export class Panes {
  constructor(place, { moved, drawn }) {
    this.place = place;
    this.moved = moved;
    this.drawn = drawn;
    this.list = new Map();
    this.plane = "slices";
    this.region = false;
    this.frame = 0;
    this.oriented = true;
  }

  async add(name, caption) {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), words = document.createElement("figcaption");
    figure.dataset.pane = name;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    words.textContent = caption;
    canvas.setAttribute("aria-label", caption);
    const box = document.createElement("div");
    box.append(canvas);
    figure.append(box, words);
    this.place.append(figure);
    const viewer = new Niivue(SETTINGS);
    await viewer.attachToCanvas(canvas);
    for (const [key, [red, green, blue]] of Object.entries(SIGNS))
      viewer.addColormap(key, { R: [0, red], G: [0, green], B: [0, blue], A: [0, 255], I: [0, 255] });
    viewer.setSliceType(PLANES[this.plane]);
    viewer.onLocationChange = (where) => this.moved(name, where);
    viewer.onDragRelease = (drag) => this.region && this.drawn(name, drag);
    const pane = { name, figure, canvas, words, viewer, volume: null };
    this.list.set(name, pane);
    this.link();
    return pane;
  }

  /** Each pane tells all others where its crosshair is. */
  link() {
    const every = [...this.list.values()].map((pane) => pane.viewer);
    for (const viewer of every)
      viewer.broadcastTo(every.filter((other) => other !== viewer), { "2d": true, "3d": false, crosshair: true, zoomPan: true, sliceType: true });
  }

  async decoded(bytes) {
    const { NVImage } = await import("@niivue/niivue");
    return new Volume(await NVImage.new(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), bytes[0] === 0x1f ? "image.nii.gz" : "image.nii"));
  }

  async show(name, caption, volume, { window, signed } = {}) {
    const pane = this.list.get(name) ?? (await this.add(name, caption));
    pane.words.textContent = caption;
    pane.canvas.setAttribute("aria-label", caption);
    while (pane.viewer.volumes.length) pane.viewer.removeVolumeByIndex(0);
    pane.volume = volume;
    pane.viewer.opts.isOrientationTextVisible = this.oriented;
    const image = copied(volume.image);
    image.hdr = volume.image.hdr;
    image.img = volume.image.img;
    if (signed) {
      image.colormap = "above";
      image.colormapNegative = "below";
      image.cal_min = 0;
      image.cal_max = signed;
      image.cal_minNeg = 0;
      image.cal_maxNeg = -signed;
    } else if (window && !volume.colour) [image.cal_min, image.cal_max] = window;
    image.frame4D = Math.min(this.frame, volume.frames - 1);
    pane.viewer.addVolume(image);
    pane.signed = Boolean(signed);
    pane.viewer.updateGLVolume();
    return pane;
  }

  remove(name) {
    const pane = this.list.get(name);
    if (!pane) return;
    pane.figure.remove();
    this.list.delete(name);
    pane.viewer.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.link();
  }

  clear() {
    for (const name of [...this.list.keys()]) this.remove(name);
  }

  window(low, high) {
    for (const pane of this.list.values()) {
      if (pane.signed || !pane.volume || pane.volume.colour) continue;
      const [image] = pane.viewer.volumes;
      image.cal_min = low;
      image.cal_max = high;
      pane.viewer.updateGLVolume();
    }
  }

  /** Show a frame of clips, from 0. */
  at(frame) {
    this.frame = frame;
    for (const { viewer, volume } of this.list.values())
      if (volume?.frames > 1 && viewer.volumes.length) viewer.setFrame4D(viewer.volumes[0].id, Math.min(frame, volume.frames - 1));
  }

  planes(name) {
    this.plane = name;
    for (const pane of this.list.values()) pane.viewer.setSliceType(PLANES[name]);
  }

  step(slices) {
    const [pane] = this.list.values();
    if (!pane) return;
    const along = { coronal: [0, slices, 0], sagittal: [slices, 0, 0] }[this.plane] ?? [0, 0, slices];
    for (const one of this.list.values()) {
      one.viewer.moveCrosshairInVox(...along);
      one.viewer.createOnLocationChange();
    }
  }

  draw(on) {
    this.region = on;
    for (const pane of this.list.values()) {
      pane.viewer.opts.dragMode = on ? DRAG_MODE.callbackOnly : DRAG_MODE.contrast;
      pane.viewer.opts.dragModePrimary = on ? DRAG_MODE.callbackOnly : DRAG_MODE.crosshair;
    }
    this.place.classList.toggle("drawing", on);
  }

  /** Outline a box, given as shares of each side from 0 to 1, in every pane. */
  outline(from, to) {
    for (const { viewer, volume } of this.list.values()) {
      if (!volume || !viewer.volumes.length) continue;
      viewer.createEmptyDrawing();
      const [nx, ny, nz] = viewer.back.dimsRAS.slice(1, 4), bitmap = viewer.drawBitmap;
      const low = from.map((share, axis) => index(share, [nx, ny, nz][axis])), high = to.map((share, axis) => index(share, [nx, ny, nz][axis]));
      for (let z = low[2]; z <= high[2]; z++)
        for (let y = low[1]; y <= high[1]; y++)
          for (let x = low[0]; x <= high[0]; x++) {
            const edges = (x === low[0] || x === high[0]) + (y === low[1] || y === high[1]) + (z === low[2] || z === high[2]);
            if (edges > (low[2] === high[2] ? 1 : 0)) bitmap[x + nx * (y + ny * z)] = 4;
          }
      viewer.setDrawOpacity(0.9);
      viewer.refreshDrawing(true);
    }
  }
}

export const index = (share, side) => Math.min(side - 1, Math.max(0, Math.floor(share * side)));
