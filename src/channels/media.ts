/** What a file may be, by what is to be made of it. */
export type MediaKind = "image" | "video" | "audio" | "document";

/**
 * 16 MiB, for a download as for an upload: the Cloud API's limit for audio and video, and more than its 5 MB for images
 * (https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media). Its 100 MB for documents are not for a
 * first message to a stranger.
 */
export const MAX_MEDIA_BYTES = 16 * 1024 * 1024;

const OOXML = "application/vnd.openxmlformats-officedocument";
const OOXML_TYPES = [
  `${OOXML}.wordprocessingml.document`,
  `${OOXML}.spreadsheetml.sheet`,
  `${OOXML}.presentationml.presentation`,
];
const OLE_TYPES = ["application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"];
const TEXT_TYPES = ["text/plain", "text/csv"];

/** Types that WhatsApp's clients show, as the Cloud API lists them, and CSV. No archives: nobody sees what is in them. */
const TYPES = {
  image: ["image/jpeg", "image/png", "image/webp"],
  video: ["video/mp4", "video/3gpp"],
  audio: ["audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr"],
  document: ["application/pdf", ...OOXML_TYPES, ...OLE_TYPES, ...TEXT_TYPES],
};

/** Every type that is taken at all. */
export const MEDIA_TYPES: readonly string[] = Object.values(TYPES).flat();

/** Whatever is taken at all may also be sent as a document, which WhatsApp leaves as it is. */
export function typesOf(kind: MediaKind): readonly string[] {
  return kind === "document" ? MEDIA_TYPES : TYPES[kind];
}

/** What servers call the same things. */
const ALIASES: Readonly<Record<string, string>> = {
  "image/jpg": "image/jpeg",
  "video/3gp": "video/3gpp",
  "audio/mp3": "audio/mpeg",
  "audio/m4a": "audio/mp4",
  "audio/x-m4a": "audio/mp4",
  "audio/x-aac": "audio/aac",
  "audio/opus": "audio/ogg",
  "application/ogg": "audio/ogg",
};
/** What stores call a file whose type nobody told them. */
const NO_TYPE = new Set(["application/octet-stream", "binary/octet-stream"]);

/** Whether a server that gives its file this type may have one of a kind. */
export function mayBe(kind: MediaKind, declared: string): boolean {
  return NO_TYPE.has(declared) || typesOf(kind).includes(ALIASES[declared] ?? declared);
}

/** As many bytes of a file as tell what it is. */
export const HEAD_BYTES = 512;

/**
 * The type of a file by its first bytes (`HEAD_BYTES`, or all of it), one of `allowed`; undefined when it is none of them:
 * what is declared decides only between types that begin alike, and for text, which has no mark of its own.
 */
export function typeOfBytes(head: Buffer, declared: string, allowed: readonly string[]): string | undefined {
  const name = ALIASES[declared] ?? declared;
  const possible = (typesByMark(head) ?? (looksLikeText(head) ? TEXT_TYPES : [])).filter((type) =>
    allowed.includes(type),
  );
  if (possible.includes(name)) return name;
  return possible.find((type) => !TEXT_TYPES.includes(type));
}

/** undefined: no mark that is known. */
function typesByMark(head: Buffer): string[] | undefined {
  const at = (offset: number, mark: string): boolean =>
    head.subarray(offset, offset + mark.length).equals(Buffer.from(mark, "latin1"));
  if (at(0, "\xff\xd8\xff")) return ["image/jpeg"];
  if (at(0, "\x89PNG\r\n\x1a\n")) return ["image/png"];
  if (at(0, "RIFF") && at(8, "WEBP")) return ["image/webp"];
  if (at(4, "ftyp")) return typesByBrand(head.toString("latin1", 8, 12));
  if (at(0, "OggS")) return ["audio/ogg"];
  if (at(0, "#!AMR")) return ["audio/amr"];
  // Tags at the head of either.
  if (at(0, "ID3")) return ["audio/mpeg", "audio/aac"];
  if (at(0, "%PDF-")) return ["application/pdf"];
  if (at(0, "PK\x03\x04")) return OFFICE_ENTRY.test(head.toString("latin1", 30, 64)) ? OOXML_TYPES : [];
  if (at(0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")) return OLE_TYPES;
  const [first = 0, second = 0] = head;
  // The sync words of MPEG layer III and of ADTS.
  if (first === 0xff && (second & 0xe6) === 0xe2) return ["audio/mpeg"];
  if (first === 0xff && (second & 0xf6) === 0xf0) return ["audio/aac"];
  return undefined;
}

/** What stands first in a file of Office. A program for Android or Java is a zip as well, and begins otherwise. */
const OFFICE_ENTRY = /^(?:\[Content_Types\]\.xml|_rels\/|docProps\/|word\/|xl\/|ppt\/|customXml\/)/;

/** ISO base media, https://mp4ra.org/registered-types/brands: pictures (HEIC, AVIF) and QuickTime are of the family too. */
function typesByBrand(brand: string): string[] {
  if (brand.startsWith("3g")) return ["video/3gpp"];
  if (brand.startsWith("M4A") || brand.startsWith("M4B")) return ["audio/mp4"];
  return /^(?:isom|iso\d|mp4\d|avc\d|M4V|MSNV|dash|f4v|mmp4)/.test(brand) ? ["video/mp4", "audio/mp4"] : [];
}

/** In any encoding that extends ASCII. A page, a picture in XML or a script is not meant when somebody says text. */
function looksLikeText(head: Buffer): boolean {
  if (head.length === 0 || head.some((byte) => byte < 0x20 && !(byte >= 0x09 && byte <= 0x0d))) return false;
  const start = head.toString("latin1").replace(/^\xef\xbb\xbf/, "");
  return !/^\s*<[a-z!?]|^#!/i.test(start);
}

const MAX_FILE_NAME = 200;
/** Paths, control characters, and marks that turn the direction of writing: "exe.pdf" may then stand for "fdp.exe". */
const NOT_IN_NAMES = /[/\\\p{Cc}\u202a-\u202e\u2066-\u2069]/u;

/** What is wrong with a file's name as the recipient is to see it, in words, or undefined. */
export function fileNameFault(value: unknown): string | undefined {
  if (typeof value !== "string") return "Give the file's name as text.";
  if (value.length > MAX_FILE_NAME) {
    return `The file's name has ${value.length} characters; at most ${MAX_FILE_NAME} are allowed.`;
  }
  if (value.trim() === "") return "The file's name is empty.";
  if (NOT_IN_NAMES.test(value) || !value.isWellFormed()) {
    return "The file's name holds a slash, or a character that is not for names; give it without a folder.";
  }
  return undefined;
}
