// The worker: it runs the network, and reads and writes the pixels.
import { analyze, enhance } from "./enhance.js";
import { keepExif } from "./exif.js";

const PREVIEW = 1200; // Longest side of previews, in pixels.
const QUALITY = 0.95;
const TRIAL_MILLISECONDS = 5000; // How long a GPU may take for a small image.
let network, photograph;

/** Load ONNX Runtime Web and the network: on the GPU where one can be used, or as WebAssembly. */
async function load() {
  const settings = await (await fetch("settings.json")).json();
  const hasGpu = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
  const ort = await (hasGpu
    ? import("./ort.webgpu.bundle.min.mjs")
    : import("./ort.wasm.bundle.min.mjs"));
  // Several threads need a server that sends the headers for cross-origin isolation.
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(4, navigator.hardwareConcurrency)
    : 1;
  const create = (name, provider) =>
    ort.InferenceSession.create(`${name}.onnx`, { executionProviders: [provider] });
  // The grid is so small that sending it to a GPU takes longer than computing it here.
  const grid = await create("grid", "wasm");
  const apply = await create("apply", "wasm");
  network = { ort, grid, apply, settings };
  if (!hasGpu) return { backend: "WebAssembly" };
  // Some drivers compute wrong results, and some adapters are programs that take many seconds.
  try {
    const onGpu = { ...network, apply: await create("apply", "webgpu") };
    if (await agree(network, onGpu)) network = onGpu;
  } catch (error) {
    console.warn(error);
  }
  return { backend: network.apply === apply ? "WebAssembly" : "WebGPU" };
}

/** Return whether a network enhances a small image as another one does, and in time. */
async function agree(reference, other) {
  const pixels = new ImageData(96, 64);
  for (let i = 0; i < pixels.data.length; i++) pixels.data[i] = i % 4 < 3 ? (i * 37) % 90 : 255;
  const decisions = await analyze(reference, pixels);
  const run = (network) => enhance(network, pixels, decisions, 1, () => {});
  const late = new Promise((resolve) => setTimeout(resolve, TRIAL_MILLISECONDS, null));
  const result = await Promise.race([run(other), late]);
  const expected = await run(reference);
  return result?.data.every((value, i) => Math.abs(value - expected.data[i]) <= 2) ?? false;
}

/** Return the pixels of a bitmap, which is scaled to a size. */
function pixelsOf(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function bitmapOf(pixels) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas.transferToImageBitmap();
}

async function open({ bitmap, file }) {
  const { width, height } = bitmap;
  const pixels = pixelsOf(bitmap, width, height);
  const scale = Math.min(1, PREVIEW / Math.max(width, height));
  const small =
    scale < 1
      ? pixelsOf(bitmap, Math.round(width * scale), Math.round(height * scale))
      : pixels;
  bitmap.close();
  photograph = { file, pixels, small, decisions: await analyze(network, pixels) };
  return { before: bitmapOf(small) };
}

async function preview({ strength }) {
  const { small, decisions } = photograph;
  return { after: bitmapOf(await enhance(network, small, decisions, strength, () => {})) };
}

async function save({ strength }) {
  const { file, pixels, decisions } = photograph;
  const result = await enhance(network, pixels, decisions, strength, (progress) =>
    self.postMessage({ progress }),
  );
  const canvas = new OffscreenCanvas(result.width, result.height);
  canvas.getContext("2d").putImageData(result, 0, 0);
  const type = ["image/png", "image/webp"].includes(file.type) ? file.type : "image/jpeg";
  const blob = await canvas.convertToBlob({ type, quality: QUALITY });
  return { blob: type === "image/jpeg" ? await keepExif(file, blob) : blob };
}

const TASKS = { load, open, preview, save };

self.addEventListener("message", async ({ data }) => {
  const start = performance.now();
  try {
    const answer = await TASKS[data.task](data);
    const transferred = Object.values(answer).filter((value) => value instanceof ImageBitmap);
    const seconds = (performance.now() - start) / 1000;
    self.postMessage({ ...answer, seconds }, transferred);
  } catch (error) {
    self.postMessage({ problem: String(error.message ?? error).split("\n")[0] });
  }
});
