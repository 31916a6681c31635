/**
 * A fake WhatsApp in a process of its own: `node test/fakes/whatsapp/cli.ts [--port N]`.
 *
 * Prints one line `{"url": "ws://…", "control": "http://…", "media": {"url", "ca"}}` once it listens. `control` is JSON
 * over HTTP (see control.ts): `GET /state`, `GET /messages`, `POST /scan {phone, qr}`, `POST /code {phone, code}`,
 * `POST /reply {from, to, text}`, `POST /rules {rules}`, `POST /disconnect {phone, code}` and more. Runs until it is ended.
 */
import { parseArgs } from "node:util";
import { startControl } from "./control.ts";
import { startFakeWhatsApp } from "./server.ts";

const { values } = parseArgs({ options: { port: { type: "string", default: "0" } } });
const fake = await startFakeWhatsApp({ port: Number(values.port) });
const control = await startControl(fake);
const { url, ca } = fake.media;
process.stdout.write(`${JSON.stringify({ url: fake.url, control: control.url, media: { url, ca } })}\n`);
