// SPDX-License-Identifier: Apache-2.0
// What an enhancement changed, as a series of its own in OHIF: derived minus source, made here of the images that are shown.

const SCHEME = "clarivox-difference";
/** Image id: [source, derived]. */
const pairs = new Map();

/** Values of an image as they are meant, one a pixel; the mean of colours. */
function values(image) {
  const data = image.voxelManager.getScalarData(), pixels = image.rows * image.columns;
  const parts = Math.round(data.length / pixels), used = Math.min(parts, 3);
  const scaled = image.preScale?.scaled, slope = scaled ? 1 : (image.slope ?? 1), intercept = scaled ? 0 : (image.intercept ?? 0);
  return Float32Array.from({ length: pixels }, (_, n) => {
    let sum = 0;
    for (let part = 0; part < used; part++) sum += data[n * parts + part];
    return (sum / used) * slope + intercept;
  });
}

async function made(imageId) {
  const { imageLoader, utilities } = window.cornerstone;
  const [source, derived] = await Promise.all(pairs.get(imageId).map((id) => imageLoader.loadAndCacheImage(id)));
  const before = values(source), scalarData = values(derived);
  let reach = 0;
  for (let n = 0; n < scalarData.length; n++) {
    scalarData[n] -= before[n];
    reach = Math.max(reach, Math.abs(scalarData[n]));
  }
  const { rows, columns } = derived;
  const voxelManager = utilities.VoxelManager.createImageVoxelManager({ height: rows, width: columns, numberOfComponents: 1, scalarData, id: imageId });
  const plain = { color: false, rgba: false, numberOfComponents: 1, photometricInterpretation: "MONOCHROME2", dataType: "Float32Array", invert: false };
  const scale = { slope: 1, intercept: 0, preScale: undefined, windowCenter: 0, windowWidth: 2 * reach || 1, minPixelValue: -reach, maxPixelValue: reach };
  const own = { imageId, voxelManager, getPixelData: () => scalarData, getCanvas: undefined, imageFrame: undefined, sizeInBytes: scalarData.byteLength };
  return { ...derived, ...plain, ...scale, ...own };
}

/** What OHIF asks of such an image: as of the derived one, but for what its numbers mean. */
function about(type, imageId) {
  if (typeof imageId !== "string" || !isDifference(imageId)) return undefined;
  const found = window.cornerstone.metaData.get(type, pairs.get(imageId)[1]);
  if (type === "modalityLutModule") return { rescaleSlope: 1, rescaleIntercept: 0, modality: found?.modality };
  if (type === "voiLutModule") return {};
  if (type === "imagePixelModule")
    return { ...found, samplesPerPixel: 1, photometricInterpretation: "MONOCHROME2", bitsAllocated: 32, bitsStored: 32, highBit: 31, pixelRepresentation: 1 };
  return found;
}

/** The image ids of the differences of two series, image by image; null where they are not on one grid. */
export function differences(sources, deriveds) {
  const { imageLoader, metaData } = window.cornerstone;
  const sides = ([id]) => ["rows", "columns"].map((name) => metaData.get("imagePixelModule", id)?.[name]).join();
  if (sources.length !== deriveds.length || sides(sources) !== sides(deriveds)) return null;
  if (!pairs.size) {
    imageLoader.registerImageLoader(SCHEME, (imageId) => ({ promise: made(imageId) }));
    metaData.addProvider(about, 100000);
  }
  return deriveds.map((derived, n) => {
    const id = `${SCHEME}:${derived}`;
    pairs.set(id, [sources[n], derived]);
    return id;
  });
}

/** The window that shows nearly all of a change, the same to both sides of none. */
export function windowOf(image) {
  const sizes = image.voxelManager.getScalarData().map(Math.abs).sort();
  const upper = sizes[Math.floor(0.995 * (sizes.length - 1))] || 1;
  return { lower: -upper, upper };
}

/** Whether an image is a difference. */
export const isDifference = (imageId) => imageId.startsWith(`${SCHEME}:`);

/** A small picture of a difference, for the list of series. */
async function picture(imageId) {
  const image = await window.cornerstone.imageLoader.loadAndCacheImage(imageId), { upper } = windowOf(image);
  const canvas = Object.assign(document.createElement("canvas"), { width: image.columns, height: image.rows });
  const context = canvas.getContext("2d"), drawn = context.createImageData(image.columns, image.rows);
  image.voxelManager.getScalarData().forEach((one, n) => drawn.data.set([...Array(3).fill(127.5 * (1 + one / upper)), 255], 4 * n));
  context.putImageData(drawn, 0, 0);
  return canvas.toDataURL();
}

/** A display set of the differences, as OHIF keeps them. */
export function displaySet(derived, imageIds) {
  const uid = `${SCHEME}-${derived.displaySetInstanceUID}`;
  const own = { displaySetInstanceUID: uid, SeriesDescription: `Difference: ${derived.SeriesDescription ?? ""}`, imageIds };
  const shown = { thumbnailSrc: undefined, getThumbnailSrc: () => picture(imageIds[imageIds.length >> 1]) };
  return Object.assign(Object.create(Object.getPrototypeOf(derived)), derived, own, shown, { isReconstructable: false, madeInClient: false });
}
