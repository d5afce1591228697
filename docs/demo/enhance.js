// What the package does around the network: the decisions for a photograph as a whole, and tiles.
// Each function names the one in Python that it follows.
const TILE = 256;
const BLOCK = 16;

/** Decide how to enhance a photograph, as Analyzer.analyze in engines/analysis.py. */
export async function analyze({ ort, grid, settings }, pixels) {
  const side = settings.thumbnail;
  const thumbnail = thumbnailOf(pixels, side);
  const { grid: maps } = await grid.run({
    thumbnail: new ort.Tensor("float32", thumbnail, [side, side, 3]),
  });
  const brightest = thumbnail.reduce((a, b) => Math.max(a, b), 0);
  return { maps, presence: lightPresence(brightest), denoise: denoiseStrength(pixels) };
}

/** Return the means of equal shares of a photograph, as Analyzer._thumbnail. */
function thumbnailOf({ data, width, height }, side) {
  const rows = new Float32Array(side * width * 3);
  for (const [row, y, weight] of shares(height, side))
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++)
        rows[(row * width + x) * 3 + c] += (weight / 255) * data[(y * width + x) * 4 + c];
  const thumbnail = new Float32Array(side * side * 3);
  for (const [column, x, weight] of shares(width, side))
    for (let row = 0; row < side; row++)
      for (let c = 0; c < 3; c++)
        thumbnail[(row * side + column) * 3 + c] += weight * rows[(row * width + x) * 3 + c];
  return thumbnail;
}

/** Yield the weight of each pixel in each share, as area_weights in ops/grid.py. */
function* shares(size, count) {
  for (let share = 0; share < count; share++) {
    const start = (share * size) / count;
    const end = ((share + 1) * size) / count;
    for (let pixel = Math.floor(start); pixel < Math.min(end, size); pixel++) {
      const overlap = Math.min(end, pixel + 1) - Math.max(start, pixel);
      yield [share, pixel, (overlap * count) / size];
    }
  }
}

/** Return how far a photograph has lights, as light_presence in ops/highlights.py. */
function lightPresence(brightest) {
  const t = Math.min(Math.max((brightest - 0.5) / 0.4, 0), 1);
  return t * t * (3 - 2 * t);
}

/** Measure the noise, and return the denoising strength, as resolve_denoise in ops/denoise.py. */
function denoiseStrength({ data, width, height }) {
  const estimates = [];
  for (const top of blockStarts(height))
    for (const left of blockStarts(width)) {
      const half = halfOf(data, width, top, left);
      const mean = half.reduce((a, b) => a + b, 0) / half.length;
      if (mean > 2 / 255 && mean <= 0.5) estimates.push(noiseOf(half));
    }
  const least = 0.17;
  if (estimates.length < 16) return least;
  estimates.sort((a, b) => a - b);
  const at = 0.1 * (estimates.length - 1);
  const first = Math.floor(at);
  const next = estimates[Math.min(first + 1, estimates.length - 1)];
  const noise = 2 * (estimates[first] + (at - first) * (next - estimates[first]));
  return Math.min(Math.max((3 * noise) / 0.02, least), 1);
}

/** Return the starts of up to 32 blocks, each in the middle of an equal share of an axis. */
function blockStarts(size) {
  const blocks = Math.floor(size / BLOCK);
  const count = Math.min(blocks, 32);
  return Array.from({ length: count }, (_, i) =>
    BLOCK * Math.floor(((2 * i + 1) * blocks) / (2 * count)),
  );
}

/** Return the brightness of a block at half size, in [0, 1]. */
function halfOf(data, width, top, left) {
  const side = BLOCK / 2;
  const half = new Float32Array(side * side);
  for (let y = 0; y < BLOCK; y++)
    for (let x = 0; x < BLOCK; x++)
      for (let c = 0; c < 3; c++)
        half[(y >> 1) * side + (x >> 1)] += data[((top + y) * width + left + x) * 4 + c] / 12 / 255;
  return half;
}

/** Estimate the noise of a block, as immerkaer in ops/noise.py. */
function noiseOf(half) {
  const side = BLOCK / 2;
  let sum = 0;
  for (let y = 1; y < side - 1; y++)
    for (let x = 1; x < side - 1; x++) {
      const row = (dy) => {
        const at = (y + dy) * side + x;
        return half[at - 1] - 2 * half[at] + half[at + 1];
      };
      sum += Math.abs(row(-1) - 2 * row(0) + row(1));
    }
  return ((sum / (side - 2) ** 2) * Math.sqrt(Math.PI / 2)) / 6;
}

/** Enhance a photograph tile by tile, as OnnxEngine.enhance in engines/onnx_runtime.py. */
export async function enhance({ ort, apply, settings }, pixels, decisions, strength, onProgress) {
  const { width, height } = pixels;
  const result = new ImageData(new Uint8ClampedArray(pixels.data), width, height);
  const number = (value) => new ort.Tensor("float32", [value], []);
  const adjustments = {
    maps: decisions.maps,
    gray: new ort.Tensor("bool", [0], []),
    strength: number(strength),
    highlight_protection: number(settings.protectHighlights * decisions.presence),
    denoise: number(decisions.denoise),
    rounding: number(1 / 255),
    black: number(decisions.presence),
    gamma: number(settings.gamma),
  };
  // A model has only the inputs that its steps need.
  const known = Object.entries(adjustments).filter(([name]) => apply.inputNames.includes(name));
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const inner = { top, left, bottom: Math.min(top + TILE, height), right: Math.min(left + TILE, width) };
      const outer = {
        top: Math.max(top - settings.reach, 0),
        left: Math.max(left - settings.reach, 0),
        bottom: Math.min(inner.bottom + settings.reach, height),
        right: Math.min(inner.right + settings.reach, width),
      };
      const inputs = { ...Object.fromEntries(known), ...tileInputs(ort, settings, pixels, inner, outer) };
      const { enhanced } = await apply.run(inputs);
      paste(await enhanced.getData(), result, inner);
      enhanced.dispose();
    }
    onProgress(Math.min(top + TILE, height) / height);
  }
  return result;
}

/** Return the pixels of a tile with its surroundings, and its place in the grid. */
function tileInputs(ort, { cells }, { data, width, height }, inner, outer) {
  const rows = outer.bottom - outer.top;
  const columns = outer.right - outer.left;
  const cut = new Uint8Array(rows * columns * 3);
  for (let y = 0, to = 0; y < rows; y++)
    for (let x = 0, from = ((outer.top + y) * width + outer.left) * 4; x < columns; x++, from += 4)
      for (let c = 0; c < 3; c++) cut[to++] = data[from + c];
  const vertical = new Float32Array(rows * cells);
  for (let y = 0; y < rows; y++)
    vertical.set(cellWeights(outer.top + y, height, cells), y * cells);
  const horizontal = new Float32Array(cells * columns);
  for (let x = 0; x < columns; x++)
    cellWeights(outer.left + x, width, cells).forEach((weight, cell) => {
      horizontal[cell * columns + x] = weight;
    });
  const box = [inner.top - outer.top, inner.left - outer.left, inner.bottom - outer.top, inner.right - outer.left];
  return {
    pixels: new ort.Tensor("uint8", cut, [rows, columns, 3]),
    vertical: new ort.Tensor("float32", vertical, [rows, cells]),
    horizontal: new ort.Tensor("float32", horizontal, [cells, columns]),
    inner: new ort.Tensor("int64", BigInt64Array.from(box, BigInt), [4]),
  };
}

/** Return the weights of the cells for a pixel: cell_positions and linear_weights in ops/. */
function cellWeights(pixel, size, cells) {
  const position = Math.min(Math.max(((pixel + 0.5) * cells) / size - 0.5, 0), cells - 1);
  return Float32Array.from({ length: cells }, (_, i) => Math.max(0, 1 - Math.abs(position - i)));
}

/** Copy an enhanced tile into the result, which keeps its opacity. */
function paste(tile, { data, width }, { top, left, bottom, right }) {
  for (let y = top, from = 0; y < bottom; y++)
    for (let x = left, to = (y * width + left) * 4; x < right; x++, to += 4)
      for (let c = 0; c < 3; c++) data[to + c] = tile[from++];
}
