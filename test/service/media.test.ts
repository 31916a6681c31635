import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MAX_MEDIA_BYTES, MEDIA_TYPES } from "../../src/channels/media.ts";
import { exchange, rawRequest } from "../helpers/fuzz-raw.ts";
import { FILES } from "../helpers/media-files.ts";
import { openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

async function upload(
  bytes: Buffer | undefined,
  contentType: string | undefined,
  query: Record<string, string> = { accountId },
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${service.url}/api/media?${new URLSearchParams(query).toString()}`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${SECRET}`,
      ...(contentType === undefined ? {} : { "content-type": contentType }),
      ...headers,
    },
    ...(bytes === undefined ? {} : { body: new Uint8Array(bytes) }),
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}

async function uploads(): Promise<number> {
  return (await world.sql.query("select count(*)::int as n from media")).rows[0].n;
}

async function nothingIsKept(run: () => Promise<Answer>): Promise<Answer> {
  const before = await uploads();
  const answer = await run();
  expect(await uploads()).toBe(before);
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  return answer;
}

const pointersOf = ({ body }: Answer): string[] => body.errors.map(({ pointer }: { pointer: string }) => pointer);

describe("an upload", () => {
  test("of a right file → 201, and it is kept byte for byte", async () => {
    const bytes = Buffer.concat([FILES.jpeg, Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256))]);
    const before = Date.now();
    const answer = await upload(bytes, "image/jpeg", { accountId, fileName: "Façade n°4.jpg" });
    expect(answer).toMatchObject({
      status: 201,
      body: { mediaId: expect.stringMatching(/^[0-9a-f-]{36}$/), size: bytes.length, contentType: "image/jpeg" },
    });
    expect(Object.keys(answer.body).toSorted()).toEqual(["contentType", "expiresAt", "mediaId", "size"]);
    const days = 8 * 86_400_000;
    expect(Date.parse(answer.body.expiresAt) - before).toBeGreaterThanOrEqual(days);
    expect(Date.parse(answer.body.expiresAt) - before).toBeLessThan(days + 60_000);
    const { rows } = await world.sql.query("select * from media where id = $1", [answer.body.mediaId]);
    expect(rows).toMatchObject([
      { account_id: accountId, content_type: "image/jpeg", file_name: "Façade n°4.jpg", size: bytes.length },
    ]);
    expect(Buffer.from(rows[0].data, "base64").equals(bytes)).toBe(true);
  });

  test.each([
    ["image/png", FILES.png],
    ["image/webp", FILES.webp],
    ["video/mp4", FILES.mp4],
    ["video/3gpp", FILES["3gp"]],
    ["audio/ogg; codecs=opus", FILES.opus],
    ["Audio/MPEG", FILES.mp3],
    ["audio/mp4", FILES.m4a],
    ["audio/aac", FILES.aac],
    ["audio/amr", FILES.amr],
    ["application/pdf", FILES.pdf],
    ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", FILES.docx],
    ["application/msword", FILES.doc],
    ["text/csv; charset=iso-8859-1", FILES.csv],
  ])("of %s → 201", async (type, bytes) => {
    const { status, body } = await upload(bytes, type);
    expect({ status, type: body.contentType, size: body.size }).toEqual({
      status: 201,
      type: type.toLowerCase().split(";")[0],
      size: bytes.length,
    });
  });

  test("packed → 201, as it was before packing", async () => {
    const { status, body } = await upload(gzipSync(FILES.pdf), "application/pdf", undefined, {
      "content-encoding": "gzip",
    });
    expect([status, body.size]).toEqual([201, FILES.pdf.length]);
  });

  test("of exactly 16 MiB → 201; a byte more → 413", async () => {
    const largest = Buffer.alloc(MAX_MEDIA_BYTES);
    FILES.mp4.copy(largest);
    expect(await upload(largest, "video/mp4")).toMatchObject({ status: 201, body: { size: MAX_MEDIA_BYTES } });
    const answer = await nothingIsKept(() => upload(Buffer.concat([largest, Buffer.alloc(1)]), "video/mp4"));
    expect(answer).toMatchObject({
      status: 413,
      body: { code: "body_too_large", detail: expect.stringContaining("16 MiB") },
    });
  });
});

describe("an upload is refused", () => {
  test.each([
    ["HTML as a picture", FILES.html, "image/jpeg"],
    ["HTML as text", FILES.html, "text/plain"],
    ["SVG as a picture", FILES.svg, "image/png"],
    ["a program as a picture", FILES.exe, "image/png"],
    ["a program as a PDF", FILES.elf, "application/pdf"],
    ["a script as text", FILES.script, "text/plain"],
    [
      "a program in a zip as a document",
      FILES.jar,
      MEDIA_TYPES.find((type) => type.endsWith("wordprocessingml.document"))!,
    ],
    ["a PNG as a JPEG", FILES.png, "image/jpeg"],
    ["a picture as a voice note", FILES.heic, "audio/mp4"],
  ])("%s → 415 media_mismatch", async (_, bytes, type) => {
    const answer = await nothingIsKept(() => upload(bytes, type));
    expect(answer).toMatchObject({ status: 415, body: { code: "media_mismatch" } });
    expect(answer.body.detail).toMatch(/\w+ \w+/);
  });

  test.each([
    "text/html",
    "image/svg+xml",
    "application/zip",
    "application/x-msdownload",
    "application/octet-stream",
    "application/json",
    "multipart/form-data; boundary=x",
    "nonsense",
    undefined,
  ])("the type %s → 415 with the types that are taken", async (type) => {
    const answer = await nothingIsKept(() => upload(FILES.pdf, type));
    expect(answer).toMatchObject({ status: 415, body: { code: "unsupported_media_type" } });
    expect(answer.headers.get("accept")).toBe(MEDIA_TYPES.join(", "));
  });

  test("nothing in it → 400, with all other faults at once", async () => {
    const answer = await nothingIsKept(() => upload(undefined, undefined, { fileName: "../a", colour: "red" }));
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(pointersOf(answer).toSorted()).toEqual(["", "/query/accountId", "/query/colour", "/query/fileName"]);
  });

  test.each(["", "a/b.pdf", "a\u202efdp.exe", "x".repeat(201)])(
    "the name %j → 400 at /query/fileName",
    async (name) => {
      const answer = await nothingIsKept(() => upload(FILES.pdf, "application/pdf", { accountId, fileName: name }));
      expect([answer.status, pointersOf(answer)]).toEqual([400, ["/query/fileName"]]);
    },
  );

  test("an unknown account → 422; a suspended one → 403", async () => {
    const unknown = await nothingIsKept(() => upload(FILES.pdf, "application/pdf", { accountId: "nobody" }));
    expect(unknown).toMatchObject({ status: 422, body: { code: "unknown_account" } });
    expect(pointersOf(unknown)).toEqual(["/query/accountId"]);
    const suspended = await world.account({ status: "suspended" });
    const refused = await nothingIsKept(() => upload(FILES.pdf, "application/pdf", { accountId: suspended }));
    expect(refused).toMatchObject({ status: 403, body: { code: "suspended_account" } });
  });

  test("packed to a thousandth of its size → 413", async () => {
    const bomb = gzipSync(Buffer.concat([FILES.mp4, Buffer.alloc(64 * 1024 * 1024)]));
    const answer = await nothingIsKept(() => upload(bomb, "video/mp4", undefined, { "content-encoding": "gzip" }));
    expect(answer.status).toBe(413);
  });

  test("a length beyond the limit → 413 before a byte of it is sent", async () => {
    const head = `POST /api/media?accountId=${accountId} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${SECRET}\r\n`;
    const answer = await exchange(
      service.url,
      `${head}Content-Type: image/jpeg\r\nContent-Length: 99999999999\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("without a token → 401, whatever is in it", async () => {
    const answer = await rawRequest(service.url, {
      method: "POST",
      target: `/api/media?accountId=${accountId}`,
      headers: { "content-type": "image/jpeg" },
      body: FILES.jpeg,
    });
    expect(answer.status).toBe(401);
  });

  test("a limit of the operator's that is lower → holds for uploads too", async () => {
    await using other = await openWorld();
    const strict = await other.start({ MAX_BODY_BYTES: "1024" });
    const response = await fetch(`${strict.url}/api/media?accountId=${await other.account()}`, {
      method: "POST",
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/pdf" },
      body: new Uint8Array(Buffer.concat([FILES.pdf, Buffer.alloc(2000)])),
    });
    expect(response.status).toBe(413);
  });
});

test("the database is away → 503, to be tried again", async () => {
  await world.database.pausePostgrest();
  try {
    expect(await upload(FILES.pdf, "application/pdf")).toMatchObject({
      status: 503,
      body: { code: "database_unavailable" },
    });
  } finally {
    await world.database.resumePostgrest();
  }
  await expect.poll(async () => (await upload(FILES.pdf, "application/pdf")).status).toBe(201);
});

test("an upload that is asked for with JSON's words → 405, 404: it can only be sent", async () => {
  expect((await service.get(`/api/media?accountId=${accountId}`)).status).toBe(405);
  expect((await service.get(`/api/media/${randomUUID()}`)).status).toBe(404);
});
