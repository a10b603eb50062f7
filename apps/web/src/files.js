// SPDX-License-Identifier: Apache-2.0
// What was dropped or chosen, as a list of files; a folder is walked to its leaves.
import { unzipSync } from "fflate";

export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [{ name: label([...transfer.files]), files: [...transfer.files] }];
  const found = await Promise.all(entries.map(walk));
  // Files that were dropped side by side are images of their own; those of one folder are one study.
  return found
    .map((files, number) => ({ name: entries[number].name, files: files.filter(visible) }))
    .filter((one) => one.files.length);
}

const visible = (file) => !file.name.startsWith(".") && file.name.toUpperCase() !== "DICOMDIR";

async function walk(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) break;
    for (const one of some) found.push(...(await walk(one)));
  }
  return found;
}

export function chosen(list, folder) {
  const files = [...list].filter(visible);
  if (!files.length) return [];
  const several = folder || files.every((file) => /\.dcm$/i.test(file.name));
  return several && files.length > 1
    ? [{ name: folder ? files[0].webkitRelativePath.split("/")[0] : label(files), files }]
    : files.map((file) => ({ name: file.name, files: [file] }));
}

const label = (files) => (files.length === 1 ? files[0].name : `${files.length} files`);

/** The images of a result: the file itself, or those of a zip, each with its place in the input (from 1). */
export function images(bytes) {
  if (bytes[0] !== 0x50 || bytes[1] !== 0x4b) return [{ place: 0, bytes }];
  const entries = Object.entries(unzipSync(bytes)).sort(([one], [other]) => (one < other ? -1 : 1));
  return entries.map(([name, content]) => ({ place: Number.parseInt(name, 10) || 0, bytes: content }));
}
