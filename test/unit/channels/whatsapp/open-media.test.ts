import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import type { MediaKind } from "../../../../src/channels/media.ts";
import { createOpenMedia, type OpenMediaOptions } from "../../../../src/channels/whatsapp/open-media.ts";
import { createRecentUploads } from "../../../../src/channels/whatsapp/recent-uploads.ts";
import { PermanentError, TransientError, UnavailableError } from "../../../../src/core/errors.ts";
import type { UploadedMedia } from "../../../../src/store/sessions.ts";
import { FILES } from "../../../helpers/media-files.ts";
import { errorOf, file, isLeftAlone, openerFor, serve } from "../../../helpers/media-server.ts";

const open = openerFor();

describe("a file by URL", () => {
  test("of a wanted type → its bytes, streamed, and the type", async () => {
    const whole = Buffer.concat([FILES.jpeg, Buffer.alloc(1_000_000, 7)]);
    const { origin } = await file("image/jpeg; x=y", whole);
    const { stream, contentType, fileName } = await open(`${origin}/a`);
    expect([contentType, fileName]).toEqual(["image/jpeg", undefined]);
    let chunks = 0;
    const parts: Buffer[] = [];
    for await (const chunk of stream) {
      chunks += 1;
      parts.push(chunk as Buffer);
    }
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
    expect(chunks).toBeGreaterThan(3);
  });

  test.each([1, 511, 512, 513])("with %i bytes after its mark → not one is lost", async (length) => {
    const whole = Buffer.concat([FILES.pdf, Buffer.alloc(length, 1)]);
    const { origin } = await file("application/pdf", whole);
    const { stream } = await open(origin, "document");
    expect((await buffer(stream)).equals(whole)).toBe(true);
  });

  test("that comes byte by byte → not one is lost", async () => {
    const whole = Buffer.concat([FILES.png, Buffer.alloc(600, 1)]);
    const { origin } = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/png" });
      let place = 0;
      const next = (): void => {
        if (place >= whole.length) response.end();
        else response.write(whole.subarray(place, (place += 7)), () => setImmediate(next));
      };
      next();
    });
    const { stream } = await open(origin);
    expect((await buffer(stream)).equals(whole)).toBe(true);
  });

  test("whose server does not say what it is → what its bytes say", async () => {
    const { origin } = await file(undefined, FILES.png);
    expect(await open(origin)).toMatchObject({ contentType: "image/png" });
    const wrong = await file("image/png", FILES.jpeg);
    expect(await open(wrong.origin)).toMatchObject({ contentType: "image/jpeg" });
  });

  test("that is opened and then not wanted → the connection is given back", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]));
    });
    const { stream } = await open(server.origin);
    stream.destroy();
    await isLeftAlone(server);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    [404, PermanentError, "media_gone"],
    [410, PermanentError, "media_gone"],
    [401, PermanentError, "media_refused"],
    [403, PermanentError, "media_refused"],
    [429, TransientError, "media_unreachable"],
    [500, TransientError, "media_unreachable"],
    [503, TransientError, "media_unreachable"],
  ])("answered with %i → %o %s", async (status, kind, code) => {
    const { origin } = await serve((_request, response) => void response.writeHead(status).end("no"));
    const error = await errorOf(open(origin));
    expect(error).toBeInstanceOf(kind);
    expect(error.code).toBe(code);
  });

  test("nobody answers, or breaks off in the middle → may succeed later", async () => {
    expect(await errorOf(open("http://127.0.0.1:1/"))).toMatchObject({
      name: "TransientError",
      code: "media_unreachable",
    });
    const { origin } = await serve((request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg", "content-length": 5000 });
      response.write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]), () => request.socket.destroy());
    });
    const { stream } = await open(origin);
    expect(await errorOf(buffer(stream))).toMatchObject({ name: "TransientError", code: "media_unreachable" });
  });

  test("the attempt is ended, before or within the file → not sent, and nothing stays open", async () => {
    const controller = new AbortController();
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]));
    });
    const { stream } = await open(server.origin, "image", controller.signal);
    const failing = errorOf(buffer(stream));
    controller.abort(new Error("the service stops"));
    expect(await failing).toMatchObject({ name: "TransientError", code: "media_aborted" });
    await isLeftAlone(server);
    expect(await errorOf(open(server.origin, "image", controller.signal))).toMatchObject({ code: "media_aborted" });
    expect(server.requests).toHaveLength(1);
  });

  test("more redirects than anybody needs → refused", async () => {
    const { origin } = await serve((_request, response) => void response.writeHead(302, { location: "/again" }).end());
    expect(await errorOf(open(origin))).toMatchObject({ name: "PermanentError", code: "media_refused" });
  });
});

describe("a file by upload", () => {
  const upload: UploadedMedia = {
    id: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
    accountId: "acc",
    contentType: "application/pdf",
    fileName: "Estimation.pdf",
    data: FILES.pdf,
  };
  /** As the store answers: nothing to another account. */
  function storeOf(...all: UploadedMedia[]) {
    const asked: string[] = [];
    return {
      asked,
      async media(id: string, accountId: string) {
        asked.push(id);
        return all.find((each) => each.id === id && each.accountId === accountId);
      },
    };
  }
  const openUpload = (options: Partial<OpenMediaOptions>, accountId: string | undefined, kind: MediaKind) =>
    createOpenMedia({ provider: "baileys", uploads: storeOf(upload), ...options })({ mediaId: upload.id }, kind, {
      accountId,
    });

  test("of the same account → its bytes, type and name", async () => {
    const { stream, ...rest } = await openUpload({}, "acc", "document");
    expect(rest).toEqual({ contentType: "application/pdf", fileName: "Estimation.pdf" });
    expect(await buffer(stream)).toEqual(FILES.pdf);
  });

  test.each([["another"], [undefined]])("of account %s → gone", async (accountId) => {
    expect(await errorOf(openUpload({}, accountId, "document"))).toMatchObject({
      name: "PermanentError",
      code: "media_gone",
    });
  });

  test("of another kind, or bigger than is allowed now → refused", async () => {
    expect(await errorOf(openUpload({}, "acc", "image"))).toMatchObject({ code: "media_wrong_type" });
    expect(await errorOf(openUpload({ maxBytes: 5 }, "acc", "document"))).toMatchObject({ code: "media_too_big" });
  });

  test("the database is away → may succeed later", async () => {
    const away = { media: () => Promise.reject(new UnavailableError("database", "away")) };
    expect(await errorOf(openUpload({ uploads: away }, "acc", "document"))).toMatchObject({
      name: "TransientError",
      code: "media_unreachable",
    });
  });

  test("opened again and again, also at once → asked of the database once", async () => {
    const store = storeOf(upload);
    const opener = createOpenMedia({ provider: "baileys", uploads: store });
    const once = () => opener({ mediaId: upload.id }, "document", { accountId: "acc" });
    const opened = [...(await Promise.all([once(), once()])), await once()];
    for (const { stream } of opened) expect(await buffer(stream)).toEqual(FILES.pdf);
    expect(store.asked).toHaveLength(1);
    // Remembered for that account alone.
    expect(await errorOf(opener({ mediaId: upload.id }, "document", { accountId: "other" }))).toMatchObject({
      code: "media_gone",
    });
  });

  test("more of them than memory is for → the one that was longest not used is asked for again", async () => {
    const all = ["a", "b", "c"].map((id) => ({ ...upload, id, data: Buffer.alloc(40) }));
    const store = storeOf(...all);
    const media = createRecentUploads(store, 100);
    for (const id of ["a", "b", "a", "c", "a", "c", "b"]) await media(id, "acc");
    expect(store.asked).toEqual(["a", "b", "c", "b"]);
  });

  test("a question that failed → is asked again", async () => {
    let calls = 0;
    const media = createRecentUploads({
      media: () => (++calls === 1 ? Promise.reject(new UnavailableError("database", "away")) : Promise.resolve(upload)),
    });
    await expect(media(upload.id, "acc")).rejects.toThrow("away");
    expect(await media(upload.id, "acc")).toBe(upload);
  });
});
