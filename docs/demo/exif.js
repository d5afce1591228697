// EXIF of JPEG files: it moves from the photograph to the result unchanged, but for the orientation.
const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0];
const ORIENTATION = 0x0112;

/** Return a JPEG file with the EXIF of another one; files without EXIF change nothing. */
export async function keepExif(original, result) {
  const block = exifOf(new Uint8Array(await original.arrayBuffer()));
  if (!block) return result;
  setUpright(block);
  const length = block.length + 2;
  const head = Uint8Array.of(0xff, 0xd8, 0xff, 0xe1, length >> 8, length & 255);
  return new Blob([head, block, result.slice(2)], { type: result.type });
}

/** Return a copy of the EXIF segment of a JPEG file, or null. */
function exifOf(data) {
  if (data[0] !== 0xff || data[1] !== 0xd8) return null;
  for (let at = 2; at + 4 < data.length && data[at] === 0xff && data[at + 1] !== 0xda; ) {
    const length = (data[at + 2] << 8) | data[at + 3];
    const content = data.slice(at + 4, at + 2 + length);
    if (data[at + 1] === 0xe1 && EXIF.every((byte, i) => content[i] === byte)) return content;
    at += 2 + length;
  }
  return null;
}

/** State that the pixels are upright, since the browser has turned them. */
function setUpright(block) {
  const tiff = new DataView(block.buffer, block.byteOffset + EXIF.length, block.length - EXIF.length);
  try {
    const little = tiff.getUint16(0) === 0x4949;
    const directory = tiff.getUint32(4, little);
    const count = tiff.getUint16(directory, little);
    for (let i = 0; i < count; i++) {
      const entry = directory + 2 + 12 * i;
      if (tiff.getUint16(entry, little) === ORIENTATION) tiff.setUint16(entry + 8, 1, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // Damaged EXIF stays as it is.
  }
}
