// SPDX-License-Identifier: Apache-2.0
// Figures of volumes: {values, dims: [x, y, z]}, X fastest. Regions are boxes of indices, ends included.

export function statistics(volume, box, frame = 0) {
  const [nx, ny, nz] = volume.dims, begin = frame * nx * ny * nz;
  let count = 0, sum = 0, squares = 0;
  for (let z = box.from[2]; z <= box.to[2]; z++)
    for (let y = box.from[1]; y <= box.to[1]; y++)
      for (let x = box.from[0]; x <= box.to[0]; x++) {
        const value = volume.values[begin + x + nx * (y + ny * z)];
        count++; sum += value; squares += value * value;
      }
  const mean = sum / count;
  return { count, mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)) };
}

export function percentile(values, share) {
  const step = Math.max(1, Math.floor(values.length / 100000));
  const some = [];
  for (let n = 0; n < values.length; n += step) if (Number.isFinite(values[n])) some.push(values[n]);
  some.sort((a, b) => a - b);
  return some.length ? some[Math.min(some.length - 1, Math.floor(share * some.length))] : 0;
}

/** Peak signal-to-noise ratio in dB against a truth, over all voxels; the range is the truth's 99th percentile. */
export function psnr(volume, truth, range) {
  let squares = 0;
  for (let n = 0; n < truth.values.length; n++) squares += (volume.values[n] - truth.values[n]) ** 2;
  return 10 * Math.log10(range ** 2 / (squares / truth.values.length));
}

/** Structural similarity after Wang (2004), 7 x 7 uniform window on each slice, K 0.01 and 0.03, mean over windows. */
export function ssim(volume, truth, range) {
  const [nx, ny, nz] = truth.dims, side = 7, area = side * side;
  if (nx < side || ny < side) return NaN;
  const c1 = (0.01 * range) ** 2, c2 = (0.03 * range) ** 2, width = nx + 1;
  let total = 0, windows = 0;
  const sums = Array.from({ length: 5 }, () => new Float64Array(width * (ny + 1)));
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      const row = [0, 0, 0, 0, 0];
      for (let x = 0; x < nx; x++) {
        const at = x + nx * (y + ny * z), a = volume.values[at], b = truth.values[at];
        [a, b, a * a, b * b, a * b].forEach((value, kind) => {
          row[kind] += value;
          sums[kind][x + 1 + width * (y + 1)] = sums[kind][x + 1 + width * y] + row[kind];
        });
      }
    }
    for (let y = side; y <= ny; y++)
      for (let x = side; x <= nx; x++) {
        const [a, b, aa, bb, ab] = sums.map(
          (sum) => (sum[x + width * y] - sum[x - side + width * y] - sum[x + width * (y - side)] + sum[x - side + width * (y - side)]) / area,
        );
        const bias = area / (area - 1), va = bias * (aa - a * a), vb = bias * (bb - b * b), vab = bias * (ab - a * b);
        total += ((2 * a * b + c1) * (2 * vab + c2)) / ((a * a + b * b + c1) * (va + vb + c2));
        windows++;
      }
  }
  return total / windows;
}

/** The values of a volume on a grid that is finer by whole numbers along X and Y, by linear interpolation. */
export function enlarged(volume, dims) {
  const [nx, ny, nz] = volume.dims, [mx, my, mz] = dims;
  if (nx === mx && ny === my && nz === mz) return volume.values;
  if (mx % nx || my % ny || mz !== nz) return null;
  const made = new Float32Array(mx * my * mz), fx = nx / mx, fy = ny / my;
  const clamp = (value, most) => Math.min(most, Math.max(0, value));
  for (let y = 0; y < my; y++) {
    const py = clamp((y + 0.5) * fy - 0.5, ny - 1), y0 = Math.floor(py), y1 = Math.min(ny - 1, y0 + 1), wy = py - y0;
    for (let x = 0; x < mx; x++) {
      const px = clamp((x + 0.5) * fx - 0.5, nx - 1), x0 = Math.floor(px), x1 = Math.min(nx - 1, x0 + 1), wx = px - x0;
      for (let z = 0; z < mz; z++) {
        const at = nx * ny * z, v = volume.values;
        const top = v[at + x0 + nx * y0] * (1 - wx) + v[at + x1 + nx * y0] * wx;
        const low = v[at + x0 + nx * y1] * (1 - wx) + v[at + x1 + nx * y1] * wx;
        made[x + mx * (y + my * z)] = top * (1 - wy) + low * wy;
      }
    }
  }
  return made;
}

export function blend(before, after, strength) {
  const made = new Float32Array(after.length);
  for (let n = 0; n < made.length; n++) made[n] = before[n] + strength * (after[n] - before[n]);
  return made;
}

export function difference(before, after) {
  const made = new Float32Array(after.length);
  for (let n = 0; n < made.length; n++) made[n] = after[n] - before[n];
  return made;
}
