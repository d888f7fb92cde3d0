/* The absolute difference of two pictures on a canvas. */

const MOST_PIXELS = 4096 * 4096;

/* Pixels of a picture in a frame of that size: as large as fits, centred, never stretched. */
function pixelsIn(picture, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = Math.min(width / picture.naturalWidth, height / picture.naturalHeight);
  const [wide, high] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
  context.drawImage(picture, (width - wide) / 2, (height - high) / 2, wide, high);
  return context.getImageData(0, 0, width, height);
}

/* |A - B| of each channel, transparent where only one of the two pictures has pixels. */
export function differenceOf(a, b, frame) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (frame.width * frame.height)));
  const width = Math.max(1, Math.round(frame.width * scale));
  const height = Math.max(1, Math.round(frame.height * scale));
  const one = pixelsIn(a, width, height);
  const other = pixelsIn(b, width, height).data;
  const data = one.data;
  let most = 0;
  for (let at = 0; at < data.length; at += 4) {
    const shared = data[at + 3] === 255 && other[at + 3] === 255;
    for (let channel = at; channel < at + 3; channel++) {
      const away = shared ? Math.abs(data[channel] - other[channel]) : 0;
      data[channel] = away;
      if (away > most) most = away;
    }
    data[at + 3] = shared ? 255 : 0;
  }
  return { pixels: one, most };
}

/* Draw a difference times a gain; values over 255 are 255. */
export function drawDifference(canvas, difference, gain) {
  const { width, height, data } = difference.pixels;
  const drawn = new ImageData(new Uint8ClampedArray(data), width, height);
  if (gain !== 1)
    for (let at = 0; at < data.length; at += 4)
      for (let channel = at; channel < at + 3; channel++) drawn.data[channel] = gain * data[channel];
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}
