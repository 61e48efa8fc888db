// Answers length-prefixed requests on standard input, one after the other; see sharp_node.py.
//   request: one line of JSON (length, raw, and the fields of a Plan), then the JPEG
//   answer:  one line of JSON (length, seconds, versions), then the JPEG, or raw RGB
import { createRequire } from "node:module";

const sharp = createRequire(process.argv[2])("sharp");
sharp.concurrency(1);
sharp.cache(false);

async function render(data, plan) {
  const [width, height] = plan.resized;
  const [left, top] = plan.crop;
  const image = sharp(data)
    .resize(width, height, { fit: "fill", kernel: "cubic" })
    .extract({ left, top, width: plan.target[0], height: plan.target[1] });
  const out = plan.raw
    ? image.removeAlpha().raw()
    : image.jpeg({ quality: plan.quality, chromaSubsampling: plan.subsampling });
  return out.toBuffer();
}

let waiting = Buffer.alloc(0);
let plan = null;
for await (const chunk of process.stdin) {
  waiting = waiting.length ? Buffer.concat([waiting, chunk]) : chunk;
  if (plan === null) {
    const end = waiting.indexOf(10);
    if (end < 0) continue;
    plan = JSON.parse(waiting.subarray(0, end).toString());
    waiting = waiting.subarray(end + 1);
  }
  if (waiting.length < plan.length) continue;
  const start = process.hrtime.bigint();
  const out = await render(waiting.subarray(0, plan.length), plan);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  waiting = waiting.subarray(plan.length);
  const { sharp: own, vips } = sharp.versions;
  const versions = { node: process.versions.node, sharp: own, libvips: vips };
  process.stdout.write(JSON.stringify({ length: out.length, seconds, versions }) + "\n");
  process.stdout.write(out);
  plan = null;
}
