/** What a call does, verb by verb. */
export type Verb =
  | { verb: "Say"; text: string; voice: string | undefined; language: string | undefined }
  | { verb: "Play"; url: string }
  | { verb: "Pause"; seconds: number }
  | { verb: "Redirect"; url: string }
  | { verb: "Hangup" };

const DOCUMENT = /^<\?xml version="1\.0" encoding="UTF-8"\?><Response>([^]*)<\/Response>$/;
const ELEMENT = /^<(Say|Play|Redirect)((?: \w+="[^"<]*")*)>([^<]*)<\/\1>|^<(Pause|Hangup)((?: \w+="[^"<]*")*)\/>/;
const ENTITIES: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'" };

/** Reads TwiML as strictly as XML wants it, and throws on what Twilio would refuse: so hostile text is not merely echoed. */
export function readTwiml(xml: string): Verb[] {
  if (/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/u.test(xml))
    throw new Error("Not XML: a character");
  let rest = DOCUMENT.exec(xml)?.[1];
  if (rest === undefined) throw new Error(`Not a TwiML document: ${xml}`);
  const verbs: Verb[] = [];
  while (rest !== "") {
    const element = ELEMENT.exec(rest);
    if (!element) throw new Error(`Not a TwiML element: ${rest}`);
    rest = rest.slice(element[0].length);
    verbs.push(verbOf(element));
  }
  return verbs;
}

function verbOf([, name, attributes = "", body = "", empty, emptyAttributes = ""]: RegExpExecArray): Verb {
  const of = (given: string): Record<string, string> =>
    Object.fromEntries([...given.matchAll(/ (\w+)="([^"]*)"/g)].map(([, key, value]) => [key!, unescaped(value!)]));
  const text = unescaped(body);
  switch (name ?? empty) {
    case "Say": {
      if (Buffer.byteLength(text) > 3000 || encodeURIComponent(text).length > 4500) throw new Error("13521: too long");
      const { voice, language } = of(attributes);
      return { verb: "Say", text, voice, language };
    }
    case "Play":
      return { verb: "Play", url: text };
    case "Redirect":
      return { verb: "Redirect", url: text };
    case "Pause":
      return { verb: "Pause", seconds: Number(of(emptyAttributes)["length"]) };
    default:
      return { verb: "Hangup" };
  }
}

function unescaped(text: string): string {
  return text.replaceAll(/&[^;]*;?/g, (entity) => {
    const character = ENTITIES[entity];
    if (character === undefined) throw new Error(`Not an entity: ${entity}`);
    return character;
  });
}
