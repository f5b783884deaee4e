// node check.mjs model.onnx picture.rgba WIDTH HEIGHT [THRESHOLD]: the objects in raw RGBA pixels, as JSON.
import { readFile } from "node:fs/promises";
import { open } from "./segue.mjs";

const [model, picture, width, height, threshold = "0.5"] = process.argv.slice(2);
const find = await open(await readFile(model));
const objects = await find(await readFile(picture), Number(width), Number(height), Number(threshold));
console.log(JSON.stringify(objects.map(({ mask, ...others }) => others)));
