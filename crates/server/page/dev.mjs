// A server for working on the page: passes everything on to a running `hambar serve`, but answers `/assets/…` with the
// scripts and styles of this folder, built anew at every change. Reload the page to see one.
//
//   hambar serve --anonymous &
//   npm run dev              # http://127.0.0.1:5173
//
// `HAMBAR_URL` names another server, `PORT` another port.

import { context } from "esbuild";
import { createReadStream, existsSync } from "node:fs";
import { createServer, request } from "node:http";
import { basename, extname, join } from "node:path";
import { options } from "./build.mjs";

const TARGET = new URL(process.env.HAMBAR_URL ?? "http://127.0.0.1:8080");
const PORT = Number(process.env.PORT ?? 5173);
const FOLDER = join(process.env.HAMBAR_DEV_FOLDER ?? "dist", "dev");
const MEDIA_TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".topojson": "application/json" };

const building = await context(
  options(FOLDER, { entryNames: "[name]", minify: false, sourcemap: "linked", logLevel: "info" }),
);
await building.watch();

/** The file of an address: names of entries lose the hash that the server's own build gave them. */
function fileOf(path) {
  const name = basename(path);
  const plain = name.replace(/-[0-9A-Z]{8}(\.\w+)$/, "$1");
  if (plain === "icon.svg") return join("style", plain);
  return [name, plain].map((each) => join(FOLDER, each)).find(existsSync);
}

createServer((incoming, outgoing) => {
  const { pathname } = new URL(incoming.url ?? "/", TARGET);
  const file = pathname.startsWith("/assets/") ? fileOf(pathname) : undefined;
  if (file) {
    outgoing.writeHead(200, { "content-type": MEDIA_TYPES[extname(file)] ?? "text/plain", "cache-control": "no-store" });
    createReadStream(file).pipe(outgoing);
    return;
  }
  const headers = { ...incoming.headers, host: TARGET.host };
  // To the server, the page's origin is its own.
  if (headers.origin) headers.origin = TARGET.origin;
  const passed = request({ host: TARGET.hostname, port: TARGET.port, path: incoming.url, method: incoming.method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  passed.on("error", (error) => {
    if (outgoing.headersSent) outgoing.destroy();
    else outgoing.writeHead(502, { "content-type": "text/plain" }).end(`${TARGET.origin}: ${error.message}\n`);
  });
  outgoing.on("close", () => passed.destroy());
  incoming.pipe(passed);
}).listen(PORT, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${PORT} shows ${TARGET.origin}\n`));
