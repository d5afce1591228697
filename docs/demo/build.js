// Builds the page into dist/: npm ci && npm run build. The variable PYTHON names the interpreter
// in which the package is installed.
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const OUT = "dist";
const RUNTIME = "node_modules/onnxruntime-web/dist";

rmSync(OUT, { recursive: true, force: true });
await build({
  entryPoints: ["page.js", "worker.js"],
  outdir: OUT,
  bundle: true,
  minify: true,
  format: "esm",
  // The worker loads one of the two forms of ONNX Runtime Web, beside it.
  external: ["./ort.*"],
});
for (const name of ["index.html", "style.css"]) cpSync(name, `${OUT}/${name}`);
cpSync("../../examples/coffee.jpg", `${OUT}/sample.jpg`);
for (const kind of ["wasm", "webgpu"]) {
  const module = `ort.${kind}.bundle.min.mjs`;
  const code = readFileSync(`${RUNTIME}/${module}`, "utf-8");
  cpSync(`${RUNTIME}/${module}`, `${OUT}/${module}`);
  for (const [binary] of code.matchAll(/ort-wasm-simd-threaded[.a-z]*\.wasm/g))
    cpSync(`${RUNTIME}/${binary}`, `${OUT}/${binary}`);
}
execFileSync(process.env.PYTHON ?? "python3", ["export_network.py", OUT], { stdio: "inherit" });

// The service worker keeps all files but the large runtime that this browser does not use.
const files = readdirSync(OUT).filter((name) => !name.startsWith("ort"));
const version = Date.now();
const code = readFileSync("offline.js", "utf-8");
writeFileSync(`${OUT}/offline.js`, `const VERSION = "${version}", FILES = ${JSON.stringify(files)};\n${code}`);
