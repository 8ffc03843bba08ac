// Bundles src/ into resmon/static/panel.js and panel.css: one ES module and one style sheet, nothing loaded at run time.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

// uPlot goes with the bundle, and so does its licence
const licence = readFileSync(join(here, "node_modules", "uplot", "LICENSE"), "utf8").trim();
const banner = `/*! contains uPlot\n${licence}\n*/`;

await build({
  absWorkingDir: here,
  entryPoints: { panel: "src/index.ts" },
  outdir: join(here, "..", "resmon", "static"),
  bundle: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  legalComments: "none",
  banner: { js: banner, css: banner },
  logLevel: "info",
});
