// A file of `segue export` in JavaScript: pixels in, a list of objects out. Works in browsers and under Node.
import * as ort from "onnxruntime-web";

/** Open an exported region network, given as the bytes of its file. */
export async function open(bytes) {
  const said = metadata(bytes);
  const session = await ort.InferenceSession.create(bytes);
  const categories = JSON.parse(said["segue.categories"]).map((category) => category.name);
  const words = JSON.parse(said["segue.words"] ?? "[]");
  return (pixels, width, height, threshold = 0.5) =>
    find(session, { categories, words }, pixels, width, height, threshold);
}

/** The objects in RGBA pixels, row by row as a canvas gives them. Boxes are x0, y0, x1, y1 in pixels. */
async function find(session, { categories, words }, pixels, width, height, threshold) {
  const area = width * height;
  const planes = new Uint8Array(3 * area); // red, green, blue, one after the other
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) planes[c * area + i] = pixels[4 * i + c];
  const found = await session.run({
    images: new ort.Tensor("uint8", planes, [1, 3, height, width]),
    threshold: new ort.Tensor("float32", [threshold], []),
  });
  const of = (name, slot) => { // the values of one slot
    const { data, dims } = found[name];
    const each = dims.slice(2).reduce((product, side) => product * side, 1);
    return data.subarray(each * slot, each * (slot + 1));
  };
  const slots = [...found.valid.data.keys()].filter((slot) => found.valid.data[slot]);
  return slots.map((slot) => ({
    box: [...of("boxes", slot)],
    score: found.scores.data[slot],
    label: found.labels.data[slot],
    category: categories[found.labels.data[slot]],
    mask: found.masks && of("masks", slot), // 28 x 28 probabilities, to be stretched over the box
    caption: found.captions && sentence(of("captions", slot), words),
  }));
}

/** Numbers of words as text; the first number beyond the words ends it. */
function sentence(numbers, words) {
  const end = numbers.findIndex((number) => number >= words.length);
  return [...numbers.subarray(0, end < 0 ? numbers.length : end)].map((number) => words[number]).join(" ");
}

/** What an ONNX file says of itself, texts by key; the runtime does not tell. */
function metadata(bytes) {
  const text = new TextDecoder(), said = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue; // metadata_props of a ModelProto: pairs of key (1) and value (2)
    const pair = Object.fromEntries(fields(entry));
    said[text.decode(pair[1])] = text.decode(pair[2]);
  }
  return said;
}

/** Number and content of those fields of a protobuf message that have a length. */
function* fields(bytes) {
  let place = 0;
  const number = () => {
    let value = 0;
    for (let unit = 1, more = true; more; unit *= 128) {
      value += (bytes[place] & 127) * unit;
      more = bytes[place++] > 127;
    }
    return value;
  };
  while (place < bytes.length) {
    const tag = number(), kind = tag % 8;
    if (kind === 2) {
      const length = number();
      yield [(tag - kind) / 8, bytes.subarray(place, place + length)];
      place += length;
    } else if (kind === 0) number();
    else place += kind === 1 ? 8 : 4;
  }
}
