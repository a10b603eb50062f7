// SPDX-License-Identifier: Apache-2.0
// Builds the page into dist/: one small script, and the viewer in a chunk that is fetched when an image is there.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";

await rm("dist", { recursive: true, force: true });
await mkdir("dist/assets", { recursive: true });
await build({
  entryPoints: { page: "src/main.js" },
  outdir: "dist/assets",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  chunkNames: "[name]-[hash]",
  alias: Object.fromEntries(["blosc", "lz4", "zstd"].map((codec) => [`numcodecs/${codec}`, "./src/none.js"])),
});
// OHIF imports one file at run time and registers what it exports.
await build({ entryPoints: { ohif: "../ohif/extension.js" }, outdir: "dist/assets", bundle: true, format: "esm", target: "es2022", minify: true });
await build({ entryPoints: ["src/page.css"], outdir: "dist/assets", bundle: true, minify: true });
await copyFile("src/icon.svg", "dist/assets/icon.svg");
const about = ["@niivue/niivue", "fflate"].map(async (name) => {
  const { version, license } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const text = await readFile(`node_modules/${name}/LICENSE`, "utf8").catch(() => "");
  return `${name} ${version}, ${license}\n\n${text}`;
});
await writeFile("dist/assets/licences.txt", (await Promise.all(about)).join("\n\n"));
await copyFile("src/index.html", "dist/index.html");
