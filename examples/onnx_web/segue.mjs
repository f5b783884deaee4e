// A file of `segue export` in JavaScript: pixels in, a list of objects out. Works in browsers and under Node.
import * as ort from "onnxruntime-web";

/** Open an exported region network; `model` is a URL or the bytes of the file. */
export async function open(model) {
  const session = await ort.InferenceSession.create(model);
  return (pixels, width, height, threshold = 0.5) => find(session, pixels, width, height, threshold);
}

/** The objects in RGBA pixels, row by row as a canvas gives them. Boxes are x0, y0, x1, y1 in pixels. */
async function find(session, pixels, width, height, threshold) {
  const area = width * height;
  const planes = new Uint8Array(3 * area); // red, green, blue, one after the other
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) planes[c * area + i] = pixels[4 * i + c];
  const found = await session.run({
    images: new ort.Tensor("uint8", planes, [1, 3, height, width]),
    threshold: new ort.Tensor("float32", [threshold], []),
  });
  const { boxes, scores, labels, valid, masks } = found;
  const slots = [...valid.data.keys()].filter((slot) => valid.data[slot]);
  return slots.map((slot) => ({
    box: [...boxes.data.subarray(4 * slot, 4 * slot + 4)],
    score: scores.data[slot],
    label: labels.data[slot],
    mask: masks?.data.subarray(784 * slot, 784 * (slot + 1)), // 28 x 28 probabilities, stretched over the box
  }));
}
