// SPDX-License-Identifier: Apache-2.0
// A head of ellipses with simulated noise: an image for whoever has none at hand, and the picture of the first screen.

const SHAPES = [
  [0, 0, 0.82, 0.92, 900], [0, 0, 0.76, 0.86, -500], [-0.24, 0.05, 0.12, 0.3, -180], [0.24, 0.05, 0.12, 0.3, -180],
  [0, 0.5, 0.22, 0.16, 240], [0.1, -0.45, 0.08, 0.08, 200], [-0.2, -0.5, 0.05, 0.05, 320], [0, -0.1, 0.03, 0.2, 260],
];

/** What is there at a place of a slice, each from -1 to 1. */
function truth(u, v, grow = 1) {
  let value = 0;
  for (const [a, b, wide, high, add] of SHAPES) if (((u - a) / (wide * grow)) ** 2 + ((v - b) / (high * grow)) ** 2 < 1) value += add;
  return value;
}

/** Noise of an MR magnitude image, the same in every run. */
function noisy() {
  let seed = 7;
  const uniform = () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform() + 1e-12)) * Math.cos(2 * Math.PI * uniform());
  return (value) => Math.hypot(value + 55 * normal(), 55 * normal());
}

/** The phantom as a NIfTI file. */
export function phantom(side = 128, slices = 9) {
  const buffer = new ArrayBuffer(352 + 2 * side * side * slices), view = new DataView(buffer), noise = noisy();
  const shorts = (at, values) => values.forEach((value, n) => view.setInt16(at + 2 * n, value, true));
  const floats = (at, values) => values.forEach((value, n) => view.setFloat32(at + 4 * n, value, true));
  view.setInt32(0, 348, true);
  shorts(40, [3, side, side, slices, 1, 1, 1, 1]);
  shorts(70, [4, 16]);
  floats(76, [1, 1.5, 1.5, 4, 0, 0, 0, 0]);
  floats(108, [352, 1, 0]);
  view.setUint8(123, 2);
  shorts(252, [0, 1]);
  floats(280, [-1.5, 0, 0, 0.75 * side, 0, -1.5, 0, 0.75 * side, 0, 0, 4, 0]);
  [0x6e, 0x2b, 0x31, 0].forEach((byte, n) => view.setUint8(344 + n, byte));
  const pixels = new Int16Array(buffer, 352);
  for (let z = 0; z < slices; z++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        pixels[x + side * (y + side * z)] = noise(truth((2 * x) / side - 1, (2 * y) / side - 1, 1 - 0.03 * Math.abs(z - slices / 2)));
  return new File([buffer], "phantom.nii");
}

/** Draw it on a canvas: with noise on the left, without on the right. */
export function illustrate(canvas) {
  const { width: wide, height: high } = canvas, pen = canvas.getContext("2d"), image = pen.createImageData(wide, high), noise = noisy();
  for (let y = 0; y < high; y++)
    for (let x = 0; x < wide; x++) {
      const there = truth((2 * x) / wide - 1, 1 - (2 * y) / high), level = Math.min(255, (x < wide / 2 ? noise(there) : there) / 3.6);
      image.data.set([0.62 * level, level, 0.97 * level, 255 * Math.min(1, level / 24)], 4 * (x + wide * y));
    }
  pen.putImageData(image, 0, 0);
  pen.fillStyle = "#f5b45f";
  pen.fillRect(wide / 2 - 1, 0, 2, high);
}
