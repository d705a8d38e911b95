// Bundles the page's scripts and styles into a folder of files whose names carry a hash of their contents, each with a
// Brotli-compressed twin, and writes down what there is (`assets.tsv`) and whose licences hold (`notices.tsv`).
//
//   node build.mjs FOLDER [--quick]

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));

// Older browsers lack what the page is written with; without them the pages still show everything.
const TARGETS = ["chrome123", "firefox121", "safari17.5"];

// The best compression takes seconds, which only a release is worth.
const QUALITY = 11;
const QUALITY_QUICK = 4;

// A smaller file is not worth a twin.
const PACKED_BYTES_MIN = 512;

const MEDIA_TYPES = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".topojson": "application/json",
};

// Files that pages name themselves, and by what name.
const LOGICAL = { "src/main.ts": "main.js", "style/style.css": "style.css" };

export function options(folder, overrides = {}) {
  return {
    absWorkingDir: HERE,
    entryPoints: ["src/main.ts", "style/style.css"],
    outdir: folder,
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    publicPath: "/assets/",
    bundle: true,
    splitting: true,
    format: "esm",
    target: TARGETS,
    minify: true,
    legalComments: "none",
    metafile: true,
    charset: "utf8",
    logLevel: "warning",
    plugins: [shapes()],
    ...overrides,
  };
}

// The outlines of countries are a package's JSON, which would become part of a script; as a file of its own they are
// fetched when a map is shown.
function shapes() {
  const file = join(HERE, "node_modules/world-atlas/countries-50m.json");
  return {
    name: "shapes",
    setup(builder) {
      // The path is no file's, so that hashes do not depend on where the build runs.
      const resolved = { path: "countries.topojson", namespace: "shapes" };
      builder.onResolve({ filter: /^hambar:countries\.topojson$/ }, () => resolved);
      builder.onLoad({ filter: /.*/, namespace: "shapes" }, () => ({ contents: readFileSync(file), loader: "file" }));
    },
  };
}

// The packages whose files are in the bundle.
function packagesOf(metafile) {
  const names = new Set(["world-atlas"]);
  for (const output of Object.values(metafile.outputs)) {
    for (const input of Object.keys(output.inputs)) {
      const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(input);
      if (found) names.add(found[1]);
    }
  }
  return [...names].sort();
}

function notices(folder, metafile) {
  const lines = [];
  for (const name of packagesOf(metafile)) {
    const home = join(HERE, "node_modules", name);
    const about = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
    const found = readdirSync(home).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file));
    const text = found.map((file) => readFileSync(join(home, file), "utf8").trim()).join("\n\n");
    if (!about.license || !text) throw new Error(`the package ${name} has no licence or no text of it`);
    const file = `notice-${lines.length}.txt`;
    writeFileSync(join(folder, file), `${text}\n`);
    lines.push([name, about.version, about.license, file].join("\t"));
  }
  writeFileSync(join(folder, "notices.tsv"), lines.map((line) => `${line}\n`).join(""));
}

function pack(folder, file, quality) {
  const bytes = readFileSync(join(folder, file));
  if (bytes.length < PACKED_BYTES_MIN) return;
  const packed = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: quality } });
  if (packed.length < bytes.length) writeFileSync(join(folder, `${file}.br`), packed);
}

function icon(folder) {
  const bytes = readFileSync(join(HERE, "style/icon.svg"));
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase();
  const file = `icon-${hash}.svg`;
  copyFileSync(join(HERE, "style/icon.svg"), join(folder, file));
  return file;
}

async function main(folder, quality) {
  if (existsSync(folder)) rmSync(folder, { recursive: true });
  mkdirSync(folder, { recursive: true });
  const { metafile } = await build(options(folder));
  const assets = [["icon.svg", icon(folder)]];
  for (const [output, made] of Object.entries(metafile.outputs)) {
    assets.push([LOGICAL[made.entryPoint] ?? "", basename(output)]);
  }
  const lines = assets.map(([logical, file]) => {
    const media = MEDIA_TYPES[extname(file)];
    if (!media) throw new Error(`no media type is known for ${file}`);
    pack(folder, file, quality);
    return `${[logical, file, media].join("\t")}\n`;
  });
  writeFileSync(join(folder, "assets.tsv"), lines.sort().join(""));
  notices(folder, metafile);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isQuick = process.argv.includes("--quick");
  await main(resolve(process.argv[2] ?? "dist"), isQuick ? QUALITY_QUICK : QUALITY);
}
