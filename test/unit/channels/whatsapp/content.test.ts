import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Channel } from "../../../../src/channels/channel.ts";
import { fileNameFault, mayBe, MEDIA_TYPES, typeOfBytes, typesOf } from "../../../../src/channels/media.ts";
import { whatsappChannels } from "../../../../src/channels/whatsapp/whatsapp.channel.ts";
import type { Fault } from "../../../../src/core/problem.ts";
import { readContacts } from "../../../../src/hunt/contacts.ts";
import { planChunk } from "../../../../src/hunt/plan.ts";
import { FILES } from "../../../helpers/media-files.ts";

const channels = new Map<string, Channel>(whatsappChannels.map((channel) => [channel.name, channel]));
const channelOf = (name: string): Channel => channels.get(`whatsapp_${name}`)!;
const URL_OF_FILE = "https://cdn.example.com/a.jpg";
const ID = "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51";

/** What a field takes and what it does not; the rest of the body is right. */
const FIELDS: [channel: string, field: string, good: unknown[], bad: unknown[]][] = [
  ["text", "replyTo", ["a", "x".repeat(200), ID], ["", " ", "x".repeat(201), "a\0b", 5, {}]],
  [
    "image",
    "mediaUrl",
    [URL_OF_FILE, "http://cdn.example.com:8080/a?b=c#d", `https://a.example/${"x".repeat(2030)}`],
    [
      "",
      5,
      {},
      "cdn.example.com/a.jpg",
      "ftp://cdn.example.com/a",
      "file:///etc/passwd",
      "data:image/png;base64,AAAA",
      "javascript:alert(1)",
      "https://user:secret@cdn.example.com/a",
      "http://127.0.0.1/a",
      "http://localhost/a",
      "http://2130706433/a",
      "http://0x7f.1/a",
      "http://[::1]/a",
      "http://[::ffff:10.0.0.1]/a",
      "http://169.254.169.254/latest/meta-data",
      "https://cdn.example.com:22/a",
      "https://cdn.example.com/\0",
      `https://a.example/${"x".repeat(2048)}`,
    ],
  ],
  ["image", "mediaId", [ID, ID.toUpperCase()], ["", "1", `${ID}0`, 5, null]],
  ["image", "message", ["a", "é".repeat(1024)], ["", "\n", "é".repeat(1025), "a\ud800", 5]],
  ["video", "message", ["a"], ["é".repeat(1025)]],
  ["audio", "voiceNote", [true, false], ["true", 1, {}]],
  ["document", "message", ["a"], ["é".repeat(1025)]],
  [
    "document",
    "fileName",
    ["Estimation n°4.pdf", "a", "x".repeat(200)],
    ["", " ", "../a", "a\\b", "a\nb", "\u202efdp.exe", "x".repeat(201), "a\ud800", 5],
  ],
  ["location", "latitude", [90, -90, 0, 48.8584], [90.1, -91, "48", Number.NaN, Number.POSITIVE_INFINITY, null]],
  ["location", "longitude", [180, -180, 2.2945], [180.01, -181, "2", true]],
  ["location", "placeName", ["a", "x".repeat(200)], ["", "x".repeat(201), 5]],
  ["location", "placeAddress", ["a", "x".repeat(400)], ["", "x".repeat(401), 5]],
  ["contact", "contactName", ["Zoé; Agence", "x".repeat(100)], ["", "x".repeat(101), "a\r\nTEL:1", 5]],
  [
    "contact",
    "contactPhone",
    ["+33145678901", " +33 1 45 67 89 01", "0033145678901"],
    ["0145678901", "+33", "+33145678901 ext. 5", "call me", "", 33_145_678_901, `+33145678901${" ".repeat(100)}`],
  ],
  ["poll", "question", ["a", "x".repeat(255)], ["", "x".repeat(256), 5]],
  [
    "poll",
    "options",
    [["a", "b"], Array.from({ length: 12 }, (_, i) => `${i}`), ["x".repeat(100), "b"]],
    [
      [],
      ["a"],
      Array.from({ length: 13 }, (_, i) => `${i}`),
      ["a", "a"],
      ["a", " a "],
      ["a", ""],
      ["a", 5],
      ["a", "x".repeat(101)],
      "a,b",
      { length: 2 },
    ],
  ],
  ["poll", "multipleAnswers", [true, false], ["yes", 0]],
];

/** A right body of each channel, without the fields of which only one may be there. */
const RIGHT: Record<string, Record<string, unknown>> = {
  text: { message: "Bonjour" },
  image: {},
  video: {},
  audio: {},
  document: {},
  location: { latitude: 1, longitude: 2 },
  contact: { contactName: "Agence", contactPhone: "+33145678901" },
  poll: { question: "Quand ?", options: ["Ce soir", "Demain"] },
};

function bodyWith(channel: string, field: string, value: unknown): Record<string, unknown> {
  const hasFile = ["image", "video", "audio", "document"].includes(channel) && !field.startsWith("media");
  return { ...RIGHT[channel], ...(hasFile ? { mediaUrl: URL_OF_FILE } : {}), [field]: value };
}

describe.each(FIELDS)("%s: %s", (name, field, good, bad) => {
  const channel = channelOf(name);
  const body = z.object(channel.single.fields);
  const values = [...good.map((value) => ({ value, right: true })), ...bad.map((value) => ({ value, right: false }))];

  test.each(values)("$value → right: $right, for a contact, a single send and a job alike", ({ value, right }) => {
    const given = bodyWith(name, field, value);
    const result = channel.contentOf(given);
    expect(body.safeParse(given).success).toBe(right);
    if ("content" in result) {
      expect(right).toBe(true);
      const stored: unknown = JSON.parse(JSON.stringify(result.content));
      expect(channel.content.parse(stored)).toEqual(stored);
    } else {
      expect(right).toBe(false);
      expect(result.faults).toContainEqual({
        pointer: `/${field}`,
        detail: expect.stringMatching(/^[A-Z].*\w \w.*\.$/),
      });
    }
  });

  test("a fault → told once, and in the same words everywhere", () => {
    const given = bodyWith(name, field, bad.find((value) => typeof value === "string" && value !== "") ?? bad[0]);
    const result = channel.contentOf(given);
    const issues = body.safeParse(given).error?.issues ?? [];
    expect(issues.map(({ path }) => `/${path[0] as string}`)).toEqual([`/${field}`]);
    if (
      typeof given[field] === "string" &&
      !["voiceNote", "multipleAnswers", "latitude", "longitude", "options"].includes(field)
    )
      expect("faults" in result && result.faults.map(({ detail }) => detail)).toEqual([issues[0]?.message]);
  });
});

describe.each(whatsappChannels.map((channel) => [channel.name, channel] as const))("%s", (_, channel) => {
  test("the example of its single send → valid, and makes content that a job may carry", () => {
    const body = z.object(channel.single.fields).parse(channel.single.example);
    expect(channel.single.check?.(body) ?? []).toEqual([]);
    const result = channel.contentOf(channel.single.input(body));
    expect(result).toHaveProperty("content");
    if ("content" in result) expect(channel.content.safeParse(result.content).success).toBe(true);
  });

  test("its content with a field that is not its own → no job", () => {
    const result = channel.contentOf(channel.single.example);
    expect(channel.content.safeParse({ ...(result as { content: object }).content, extra: 1 }).success).toBe(false);
  });

  test("nothing at all → every field that is missing", () => {
    const result = channel.contentOf({});
    expect("faults" in result && result.faults.length).toBeGreaterThan(0);
  });

  test("shares queue, variable and provider with its siblings", () => {
    const [first] = whatsappChannels;
    expect([channel.queue, channel.providerVariable]).toEqual(["whatsapp", "WHATSAPP_PROVIDER"]);
    expect(channel.providers).toBe(first!.providers);
  });
});

describe("a file by URL or by upload, exactly one", () => {
  test.each([
    [{ mediaUrl: URL_OF_FILE }, { media: { url: URL_OF_FILE } }],
    [
      { mediaId: ID, message: "La façade" },
      { media: { mediaId: ID }, caption: "La façade" },
    ],
  ])("%j → the content", (input, content) => {
    expect(channelOf("image").contentOf(input)).toEqual({ content });
  });

  test.each([
    [{}, ["/mediaUrl"]],
    [{ mediaUrl: URL_OF_FILE, mediaId: ID, accountId: "a" }, ["/mediaUrl"]],
    [{ mediaUrl: URL_OF_FILE, mediaId: ID }, ["/mediaUrl", "/accountId"]],
    [{ mediaId: ID }, ["/accountId"]],
    [{ mediaId: ID, accountId: "a" }, []],
    [{ mediaUrl: URL_OF_FILE }, []],
  ])("a single send of %j → faults at %j", (body, pointers) => {
    const faults = channelOf("document").single.check?.(body) ?? [];
    expect(faults.map(({ pointer }) => pointer)).toEqual(pointers);
  });

  test("several wrong fields → all of them at once", () => {
    const result = channelOf("document").contentOf({ mediaUrl: "ftp://x", message: "", fileName: "a/b", replyTo: "" });
    expect("faults" in result && result.faults.map(({ pointer }) => pointer).toSorted()).toEqual([
      "/fileName",
      "/mediaUrl",
      "/message",
      "/replyTo",
    ]);
  });
});

test("a contact's number → E.164 on the card, whatever way it was written", () => {
  expect(channelOf("contact").contentOf({ contactName: "A", contactPhone: "00 33 1 45 67 89 01" })).toEqual({
    content: { name: "A", phone: "+33145678901" },
  });
});

describe("a hunt's contacts", () => {
  const contact = (fields: object) => ({ adId: "ad", recipientPhone: "+33612345678", ...fields });
  const read = async (raw: unknown[]) => {
    const faults: Fault[] = [];
    const contacts = await readContacts(raw, channels, faults);
    return { contacts, faults };
  };

  test("keep the fields of their own channel, and none of another", async () => {
    const everything = {
      mediaUrl: URL_OF_FILE,
      latitude: 1,
      longitude: 2,
      voiceNote: true,
      replyTo: "r",
    };
    const { contacts } = await read([
      contact({ channel: "whatsapp_audio", ...everything }),
      contact({ channel: "whatsapp_location", ...everything }),
      contact({ channel: "whatsapp_text", message: "Bonjour", ...everything, replyTo: null }),
    ]);
    const own = contacts.map((each) =>
      Object.keys(each).filter(
        (key) => each[key] !== undefined && !["adId", "recipientPhone", "channel"].includes(key),
      ),
    );
    expect(own).toEqual([["mediaUrl", "voiceNote", "replyTo"], ["latitude", "longitude", "replyTo"], ["message"]]);
  });

  test("are planned with the content that was checked", async () => {
    const poll = {
      channel: "whatsapp_poll",
      question: "Quand ?",
      options: ["Ce soir", "Demain"],
      multipleAnswers: true,
    };
    const { contacts } = await read([contact(poll)]);
    const chunk = {
      huntId: "h",
      accountId: "a",
      priority: "normal" as const,
      expiresAt: "2031-01-01T00:00:00Z",
      defaultCountry: "FR",
      contacts: [],
    };
    const on = new Map([...channels].map(([name, channel]) => [name, { channel, on: true }]));
    // As it comes back from the database.
    const stored = JSON.parse(JSON.stringify(contacts)) as typeof contacts;
    expect(planChunk(chunk, stored, on)).toMatchObject([
      {
        channel: "whatsapp_poll",
        queue: "whatsapp",
        skip: undefined,
        content: { question: "Quand ?", options: ["Ce soir", "Demain"], multipleAnswers: true },
      },
    ]);
  });

  test("with faults → each by its pointer", async () => {
    const { faults } = await read([
      contact({ channel: "whatsapp_image" }),
      contact({ channel: "whatsapp_location", latitude: 91 }),
      contact({ channel: "whatsapp_poll", question: "", options: "a" }),
      contact({ channel: "whatsapp_image", mediaUrl: "http://10.0.0.1/" }),
      contact({ channel: "whatsapp_video", mediaUrl: URL_OF_FILE, mediaId: ID }),
    ]);
    expect(faults.map(({ pointer }) => pointer)).toEqual([
      "/contacts/0/mediaUrl",
      "/contacts/1/latitude",
      "/contacts/1/longitude",
      "/contacts/2/question",
      "/contacts/2/options",
      "/contacts/3/mediaUrl",
      "/contacts/4/mediaUrl",
    ]);
  });
});

describe("what a file is", () => {
  const OOXML = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
  const RIGHT_TYPES: [keyof typeof FILES, string][] = [
    ["jpeg", "image/jpeg"],
    ["png", "image/png"],
    ["webp", "image/webp"],
    ["mp4", "video/mp4"],
    ["mp4", "audio/mp4"],
    ["m4a", "audio/mp4"],
    ["3gp", "video/3gpp"],
    ["opus", "audio/ogg"],
    ["mp3", "audio/mpeg"],
    ["mp3Frames", "audio/mpeg"],
    ["aac", "audio/aac"],
    ["amr", "audio/amr"],
    ["pdf", "application/pdf"],
    ["docx", OOXML],
    ["doc", "application/msword"],
    ["csv", "text/csv"],
    ["csv", "text/plain"],
  ];

  test.each(RIGHT_TYPES)("%s as %s → it is", (file, type) => {
    expect(typeOfBytes(FILES[file], type, MEDIA_TYPES)).toBe(type);
    expect(typeOfBytes(FILES[file], type, [type])).toBe(type);
  });

  test.each(["heic", "quicktime", "jar", "html", "svg", "script", "exe", "elf"] as const)(
    "%s → nothing that is taken, whatever it is declared to be",
    (file) => {
      for (const type of [...MEDIA_TYPES, "application/octet-stream", "text/html"])
        expect({ type, is: typeOfBytes(FILES[file], type, MEDIA_TYPES) }).toEqual({ type, is: undefined });
    },
  );

  test("nothing → nothing that is taken", () => {
    for (const type of MEDIA_TYPES) expect(typeOfBytes(Buffer.alloc(0), type, MEDIA_TYPES)).toBeUndefined();
  });

  test("a file whose server does not know its type, or calls it otherwise → what its bytes say", () => {
    expect(typeOfBytes(FILES.png, "application/octet-stream", typesOf("image"))).toBe("image/png");
    expect(typeOfBytes(FILES.png, "image/jpeg", typesOf("image"))).toBe("image/png");
    expect(typeOfBytes(FILES.m4a, "audio/x-m4a", typesOf("audio"))).toBe("audio/mp4");
    expect(typeOfBytes(FILES.mp4, "application/octet-stream", typesOf("audio"))).toBe("audio/mp4");
    // Text says nothing by itself.
    expect(typeOfBytes(FILES.csv, "application/octet-stream", typesOf("document"))).toBeUndefined();
    expect(typeOfBytes(FILES.pdf, "image/png", typesOf("image"))).toBeUndefined();
  });

  test("a type that a server may give → by kind", () => {
    expect(mayBe("image", "image/jpg")).toBe(true);
    expect(mayBe("image", "binary/octet-stream")).toBe(true);
    expect(mayBe("document", "image/png")).toBe(true);
    for (const type of ["text/html", "image/svg+xml", "application/zip", "application/javascript", "video/webm"]) {
      for (const kind of ["image", "video", "audio", "document"] as const) expect(mayBe(kind, type)).toBe(false);
    }
  });

  test("a file's name with a path or a mark that turns writing round → is refused", () => {
    expect(fileNameFault("Été – plan.pdf")).toBeUndefined();
    for (const name of ["/etc/passwd", "..\\a", "a\0", "\u2066a", ""]) expect(fileNameFault(name)).toMatch(/\w+ \w+/);
  });
});
