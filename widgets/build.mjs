// Bundles src/ into resmon/static/panel.js and panel.css: one ES module and one style sheet, nothing loaded at run time.
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

await build({
  absWorkingDir: here,
  entryPoints: { panel: "src/index.ts" },
  outdir: join(here, "..", "resmon", "static"),
  bundle: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  legalComments: "linked",
  logLevel: "info",
});
