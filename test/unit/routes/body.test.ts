import { once } from "node:events";
import { request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import { connect } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import request from "supertest";
import { expect, test } from "vitest";
import { BEARER, MAX_BODY_BYTES, listen, madeUpApp } from "./made-up-app.ts";

const { app } = madeUpApp();

/** A raw request. Once it is answered, that the server closes under what is still being sent is no error. */
function call(port: number, headers: Record<string, string | number>): ClientRequest {
  const outgoing = httpRequest({ port, method: "POST", path: "/api/things", headers });
  outgoing.once("response", () => outgoing.on("error", () => undefined));
  return outgoing;
}

async function answerOf(
  outgoing: ClientRequest,
): Promise<{ status: number | undefined; connection: string | undefined; text: string }> {
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  let text = "";
  for await (const part of answer) text += String(part);
  return { status: answer.statusCode, connection: answer.headers.connection, text };
}

const post = (path = "/api/things") => request(app).post(path).set("Authorization", BEARER);
const postJson = (body: string) => post().set("Content-Type", "application/json").send(body);

test.each([
  ["text/plain", "{}"],
  ["application/x-www-form-urlencoded", "name=x"],
  ["application/json; charset=latin1", '{"name":"x"}'],
  ["application/vnd.api+json", "{}"],
])("%s is a 415 problem", async (type, body) => {
  const answer = await post().set("Content-Type", type).send(body);
  expect([answer.status, answer.body.code]).toEqual([415, "unsupported_media_type"]);
});

test("a body without a Content-Type is a 415 problem", async () => {
  await using server = await listen(app);
  const outgoing = call(server.port, { Authorization: BEARER });
  outgoing.end('{"name":"x"}');
  expect((await answerOf(outgoing)).status).toBe(415);
});

test.each(["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'])(
  "%s is read",
  async (type) => {
    expect((await post().set("Content-Type", type).send('{"name":"x"}')).status).toBe(202);
  },
);

test.each([
  ["gzip", gzipSync],
  ["deflate", deflateSync],
  ["br", brotliCompressSync],
])("a body in %s is read", async (encoding, compress) => {
  const answer = await post()
    .set({ "Content-Type": "application/json", "Content-Encoding": encoding })
    .serialize((data: unknown) => data as string)
    .send(compress('{"name":"squeezed"}') as unknown as string);
  expect(answer.body.body).toEqual({ name: "squeezed", count: 1 });
});

test("a compressed body that grows past the limit is a 413 problem", async () => {
  const bomb = gzipSync(JSON.stringify({ name: "x".repeat(1_000_000) }));
  expect(bomb.length).toBeLessThan(MAX_BODY_BYTES);
  const answer = await post()
    .set({ "Content-Type": "application/json", "Content-Encoding": "gzip" })
    .serialize((data: unknown) => data as string)
    .send(bomb as unknown as string);
  expect([answer.status, answer.body.code]).toEqual([413, "body_too_large"]);
});

test("a body that is not what its Content-Encoding says is a 400 problem", async () => {
  const answer = await post().set({ "Content-Type": "application/json", "Content-Encoding": "gzip" }).send("{}");
  expect([answer.status, answer.body.code]).toEqual([400, "malformed_request"]);
});

test("an unknown Content-Encoding is a 415 problem", async () => {
  const answer = await post().set({ "Content-Type": "application/json", "Content-Encoding": "zip" }).send("{}");
  expect(answer.status).toBe(415);
});

test("a too long Content-Length is refused with the limit before the body has come", async () => {
  await using server = await listen(app);
  const socket = connect(server.port, "127.0.0.1");
  socket.write(
    `POST /api/things HTTP/1.1\r\nHost: x\r\nAuthorization: ${BEARER}\r\nContent-Type: application/json\r\nContent-Length: 40000000\r\n\r\n{`,
  );
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 /);
  expect(answer.toString()).toMatch(/Connection: close/i);
  expect(answer.toString()).toContain(`limit of ${MAX_BODY_BYTES} bytes (2 KiB)`);
});

test.each(["Content-Length", "chunks"])(
  "a caller that sends 40 MB by %s to its end still gets the 413",
  async (how) => {
    await using server = await listen(app);
    const chunk = Buffer.alloc(1_000_000, " ");
    const length = how === "chunks" ? {} : { "Content-Length": 40 * chunk.length };
    const outgoing = call(server.port, { Authorization: BEARER, "Content-Type": "application/json", ...length });
    const answered = answerOf(outgoing);
    for (let sent = 0; sent < 40; sent++) outgoing.write(chunk);
    outgoing.end();
    const { status, text } = await answered;
    expect(status).toBe(413);
    expect(JSON.parse(text)).toMatchObject({ code: "body_too_large" });
  },
);

test("a stranger's long body is answered with the 401 as well", async () => {
  await using server = await listen(app);
  const outgoing = call(server.port, { "Content-Length": 5_000_000 });
  outgoing.end(Buffer.alloc(5_000_000));
  expect(await answerOf(outgoing)).toMatchObject({ status: 401, connection: "close" });
});

test("a caller that leaves within its body gets no answer and causes no error", async () => {
  const { app: own, lines } = madeUpApp();
  await using server = await listen(own);
  const socket = connect(server.port, "127.0.0.1").on("error", () => undefined);
  socket.write(
    `POST /api/things HTTP/1.1\r\nHost: x\r\nAuthorization: ${BEARER}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
    () => socket.destroy(),
  );
  await expect.poll(() => lines.map((line) => line.msg)).toEqual(["caller went away before the answer"]);
});

test("a missing body is a 400 with the pointer of the body", async () => {
  const answer = await post();
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toEqual([{ pointer: "", detail: expect.stringMatching(/^the body is missing/) }]);
});

test("a route without a body takes none, and anything", async () => {
  expect((await post("/api/things/7/retry")).status).toBe(202);
  expect((await post("/api/things/7/retry").send({ any: "thing" })).status).toBe(202);
});

test.each([
  ['{"name": Jean}', "line 1, column 10 (position 9)"],
  ['{"name": "Jean",\n "count": 1,}', "line 2, column 13"],
  ['{"name": "Jean"', "ends too early"],
  ['{"name": "Jean"} {', "position 17"],
  ["{'name': 1}", "double quotes"],
])("malformed JSON %j is a 400 that says where, without the content", async (body, where) => {
  const answer = await postJson(body);
  expect([answer.status, answer.body.code]).toEqual([400, "malformed_json"]);
  expect(answer.body.detail).toContain(where);
  expect(answer.text).not.toContain("Jean");
});

test("bytes that are not UTF-8 are a 400 and never mended silently", async () => {
  const answer = await post()
    .set("Content-Type", "application/json")
    .serialize((data: unknown) => data as string)
    .send(Buffer.from('{"name":"caf\xe9"}', "latin1") as unknown as string);
  expect([answer.status, answer.body.detail]).toEqual([400, "The body is not valid UTF-8."]);
});

test.each([
  ['{"name":"x","__proto__":{"admin":true}}', "/__proto__"],
  ['{"name":"x","tags":[{"constructor":{"prototype":1}}]}', "/tags/0/constructor"],
  ['{"name":"x","a/b":{"prototype":1}}', "/a~1b/prototype"],
  [String.raw`{"name":"x","__\u0070roto__":1}`, "/__proto__"],
])("the key in %s is refused with its pointer", async (body, pointer) => {
  const answer = await postJson(body);
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toEqual([{ pointer, detail: "is a key that is never accepted" }]);
  expect(({} as { admin?: boolean }).admin).toBeUndefined();
});

test("the same words in a text are no offence", async () => {
  const answer = await postJson('{"name":"constructor of __proto__ and prototype"}');
  expect(answer.status).toBe(202);
});

test.each([
  ["a hundred lists and objects within each other", `{"name":${"[".repeat(99)}${"]".repeat(99)}}`, "/name"],
  ["one more", `{"name":${"[".repeat(100)}${"]".repeat(100)}}`, ""],
  ["a hundred thousand, with a key that is never accepted", `{"constructor":1,"name":${"[".repeat(100_000)}`, ""],
  ["a thousand beside each other", `{"name":[${"[[]],".repeat(1000)}{}]}`, "/name"],
  ["a thousand brackets in a text, and a quote", String.raw`{"name":["\\\"${"[{".repeat(500)}\\"]}`, "/name"],
])("%s → is taken for what it is", async (_, body, pointer) => {
  const { app: large } = madeUpApp({ maxBodyBytes: 1_000_000 });
  const outgoing = request(large).post("/api/things").set("Authorization", BEARER);
  const answer = await outgoing.set("Content-Type", "application/json").send(body);
  expect([answer.status, answer.body.code]).toEqual([400, "invalid_request"]);
  expect(answer.body.errors).toEqual([
    {
      pointer,
      detail: pointer === "" ? expect.stringMatching(/^is nested too deep: at most 100 /) : expect.any(String),
    },
  ]);
});
