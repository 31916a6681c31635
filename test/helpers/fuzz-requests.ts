import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import type { RawRequest } from "./fuzz-raw.ts";
import { dereference, type Operation } from "./fuzz-schema.ts";
import { fitting, hostileJson, hostileText, mutated, textOf, type Known } from "./fuzz-values.ts";
import { SECRET } from "./service.ts";

export interface FuzzRequest extends RawRequest {
  /** Undefined for a path or a method that the document does not have. */
  operation: Operation | undefined;
  authorized: boolean;
}

const RIGHT = `Bearer ${SECRET}`;
const WRONG = [
  undefined,
  "",
  "Bearer",
  "Bearer ",
  `Bearer ${SECRET}x`,
  `Bearer ${SECRET.slice(1)}`,
  `Bearer ${SECRET.toUpperCase()}`,
  `Basic ${Buffer.from(`x:${SECRET}`).toString("base64")}`,
  SECRET,
  `Bearer ${SECRET} ${SECRET}`,
  `Bearer, ${SECRET}`,
  "Bearer null",
  `Token ${"x".repeat(2000)}`,
];

const segment = fc.oneof(
  hostileText.map((text) => encodeURIComponent(text.slice(0, 400).toWellFormed())),
  fc.constantFrom("%", "%zz", "%ff", "%c0%80", "%2e%2e", "..%2f..", "%00", "%0d%0aX-Bad:%201", "a;b=c", "~", ":x"),
);

/** One percent-encoded path segment; never empty, which would be another path. */
function parameter(name: string, operation: Operation, known: Known): fc.Arbitrary<string> {
  const { schema = {} } = operation.parameters?.find((each) => each.name === name) ?? {};
  const fits = fitting(schema, name, known).map((value) => encodeURIComponent(String(value).toWellFormed()));
  return fc.oneof({ weight: 3, arbitrary: fits }, { weight: 1, arbitrary: segment }).map((text) => text || "%20");
}

function query(operation: Operation, known: Known): fc.Arbitrary<string> {
  const declared = (operation.parameters ?? []).filter(({ in: place }) => place === "query");
  const pair = (name: string, value: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
    value.map(
      (given) => `${encodeURIComponent(name)}=${encodeURIComponent(String(given).slice(0, 1000).toWellFormed())}`,
    );
  const own = declared.map(({ name, schema }) =>
    fc.oneof(
      { weight: 4, arbitrary: pair(name, fitting(schema, name, known)) },
      { weight: 1, arbitrary: pair(name, hostileText) },
    ),
  );
  const strange = fc.oneof(
    hostileText.chain((name) => pair(name.slice(0, 100).toWellFormed(), hostileText)),
    fc.constantFrom(
      "%",
      "&&&",
      "a[b][c]=1",
      "=",
      "limit",
      "status[]=unknown",
      "__proto__[x]=1",
      "%ff=%fe",
      "access_token=x",
    ),
  );
  // All of those that there are, mostly: a single one that is missing refuses the request before anything else.
  const all = fc.tuple(...own).map((pairs) => pairs.join("&"));
  const some = fc.array(fc.oneof(...own, strange), { maxLength: 4 }).map((pairs) => pairs.join("&"));
  return fc.oneof({ weight: 3, arbitrary: all }, { weight: 1, arbitrary: some });
}

/** What Node's client agrees to send. */
const headerText = fc.oneof(
  hostileText.map((text) => text.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "").slice(0, 600)),
  fc.constantFrom("x".repeat(255), "x".repeat(256), "x".repeat(128), "x".repeat(129), "a b", "{}", "é"),
);
const optional = (value: fc.Arbitrary<string>) => fc.option(value, { nil: undefined, freq: 3 });

/** Few keys, so that one comes again with another body. */
const idempotencyKey = optional(fc.oneof(fc.constantFrom("k1", "k2", "k3"), fc.uuid(), headerText));

interface Payload {
  bytes: Buffer | undefined;
  headers: Record<string, string>;
}

const contentType = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("application/json", "application/json; charset=utf-8") },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/json; charset=utf-16",
      "",
      "multipart/form-data; boundary=x",
      "application/problem+json",
    ),
  },
);

const MARKS: Record<string, Buffer> = {
  "image/jpeg": Buffer.from("\xff\xd8\xff\xe0", "latin1"),
  "application/pdf": Buffer.from("%PDF-1.7\n"),
  "audio/ogg": Buffer.from("OggS"),
  "text/csv": Buffer.from("phone,reason\n+33612345678,asked\n"),
  "text/html": Buffer.from("<!doctype html><script>"),
  "application/x-msdownload": Buffer.from("MZ"),
};

/** A file of a type that is taken, more often than not with bytes of that type. */
function file(types: string[]): fc.Arbitrary<Payload> {
  const right = fc.constantFrom(...Object.entries(MARKS));
  const wrong = fc.tuple(fc.constantFrom(...types), fc.constantFrom(...Object.values(MARKS)));
  return fc
    .tuple(fc.oneof(right, wrong), fc.uint8Array({ maxLength: 300 }))
    .map(([[type, mark], rest]) => ({ bytes: Buffer.concat([mark, rest]), headers: { "content-type": type } }));
}

function payload(operation: Operation | undefined, document: OpenApiDocument, known: Known): fc.Arbitrary<Payload> {
  const given = operation?.requestBody?.content["application/json"]?.schema;
  const schema = given && dereference(given, document);
  const json = (value: fc.Arbitrary<unknown>): fc.Arbitrary<Buffer> => value.map((each) => Buffer.from(textOf(each)));
  const garbage = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  const cut = json(schema ? fitting(schema, "", known) : hostileJson).chain((bytes) =>
    fc.nat({ max: bytes.length }).map((end) => bytes.subarray(0, end)),
  );
  const large = fc.integer({ min: 65_000, max: 140_000 }).map((size) => Buffer.from(`"${"x".repeat(size)}"`));
  const bytes = fc.oneof(
    { weight: 10, arbitrary: json(schema ? fitting(schema, "", known) : hostileJson) },
    { weight: 10, arbitrary: json(schema ? mutated(schema, known) : hostileJson) },
    { weight: 2, arbitrary: json(hostileJson) },
    { weight: 1, arbitrary: garbage },
    { weight: 1, arbitrary: cut },
    { weight: 1, arbitrary: large },
    { weight: 1, arbitrary: fc.constant(Buffer.alloc(0)) },
  );
  const encoded = fc.tuple(bytes, contentType, encoding).map(([plain, type, encode]): Payload => {
    const { bytes: packed, name } = encode(plain);
    const headers: Record<string, string> = name === undefined ? {} : { "content-encoding": name };
    return { bytes: packed, headers: type === "" ? headers : { ...headers, "content-type": type } };
  });
  const none = fc.constant<Payload>({ bytes: undefined, headers: {} });
  const files = Object.keys(operation?.requestBody?.content ?? {}).filter((type) => type !== "application/json");
  if (files.includes(NDJSON)) {
    const hunts = fc.oneof(fitting(schema ?? {}, "", known), mutated(schema ?? {}, known), hostileJson);
    const lines = hunts.map((hunt): Payload => ({ bytes: linesOf(hunt), headers: { "content-type": NDJSON } }));
    return fc.oneof({ weight: 12, arbitrary: encoded }, { weight: 4, arbitrary: lines }, none);
  }
  if (files.length > 0) return fc.oneof({ weight: 8, arbitrary: file(files) }, encoded, none);
  return schema
    ? fc.oneof({ weight: 15, arbitrary: encoded }, { weight: 1, arbitrary: none })
    : fc.oneof({ weight: 3, arbitrary: none }, { weight: 1, arbitrary: encoded });
}

const NDJSON = "application/x-ndjson";

/** A hunt, or something like one, with its contacts on lines of their own. */
function linesOf(hunt: unknown): Buffer {
  const { contacts, ...head } = { ...(hunt as { contacts?: unknown }) };
  return Buffer.from([head, ...(Array.isArray(contacts) ? contacts : [contacts])].map(textOf).join("\n"));
}

type Encode = (plain: Buffer) => { bytes: Buffer; name: string | undefined };
const asItIs: Encode = (bytes) => ({ bytes, name: undefined });
const encoding: fc.Arbitrary<Encode> = fc.oneof(
  { weight: 12, arbitrary: fc.constant(asItIs) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Encode>(
      (bytes) => ({ bytes: gzipSync(bytes), name: "gzip" }),
      (bytes) => ({ bytes: deflateSync(bytes), name: "deflate" }),
      (bytes) => ({ bytes: brotliCompressSync(bytes), name: "br" }),
    ),
  },
  // What the name promises is not what comes.
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("gzip", "br", "deflate", "gzip, gzip", "zstd", "identity", "\xff")
      .map((name): Encode => (bytes) => ({ bytes, name })),
  },
);

/** Any request: mostly to an operation of the document, sometimes by a method or to a path that it does not have. */
export function anyRequest(
  document: OpenApiDocument,
  operations: Operation[],
  known: Known,
): fc.Arbitrary<FuzzRequest> {
  const documented = fc.constantFrom(...operations).chain((operation) => {
    const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as string);
    return assemble(
      operation,
      fc.constant(operation.method),
      fc
        .tuple(fc.tuple(...names.map((name) => parameter(name, operation, known))), query(operation, known))
        .map(([values, search]) => {
          let place = 0;
          const path = operation.path.replaceAll(/\{\w+\}/g, () => values[place++] as string);
          return search === "" ? path : `${path}?${search}`;
        }),
    );
  });
  const strange = assemble(
    undefined,
    fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "REPORT", "PURGE"),
    fc.oneof(
      fc.constantFrom(...operations.map(({ path }) => path)),
      segment.map((text) => `/${text}?b#c`),
      segment.map((text) => `/api/${text}`),
      segment.map((text) => `/admin/${text}`),
      segment.map((text) => `/admin/queues/api/${text}`),
      fc.constantFrom(
        "/",
        "//",
        "/api",
        "/api/",
        "/API/queues/stats",
        "/api//queues/stats",
        "/admin/login",
        "/docs",
        "/openapi.json",
        "/api/queues/stats/",
        "*",
      ),
    ),
  );
  return fc.oneof({ weight: 9, arbitrary: documented }, { weight: 1, arbitrary: strange });

  function assemble(
    operation: Operation | undefined,
    method: fc.Arbitrary<string>,
    target: fc.Arbitrary<string>,
  ): fc.Arbitrary<FuzzRequest> {
    const authorization = fc.oneof(
      { weight: 8, arbitrary: fc.constant<string | undefined>(RIGHT) },
      { weight: 1, arbitrary: fc.constantFrom<(string | undefined)[]>(...WRONG) },
    );
    return fc
      .tuple(method, target, authorization, idempotencyKey, optional(headerText), payload(operation, document, known))
      .map(([verb, path, token, key, requestId, { bytes, headers }]) => ({
        operation,
        method: verb,
        target: path,
        headers: {
          ...headers,
          ...(token === undefined ? {} : { authorization: token }),
          ...(key === undefined ? {} : { "idempotency-key": key }),
          ...(requestId === undefined ? {} : { "x-request-id": requestId }),
        },
        body: bytes,
        authorized: token === RIGHT,
      }));
  }
}
