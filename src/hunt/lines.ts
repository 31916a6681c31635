import { invalidRequest, type Fault } from "../core/problem.ts";
import type { Line } from "../core/route.ts";
import { MAX_CONTACTS, type HuntBodyReader, type HuntHead, type ReadHead } from "./body.ts";
import { copyCounter, readContact, type ChannelDirectory, type Contact } from "./contacts.ts";
import { CHUNK_SIZE } from "./plan.ts";

/** Where so many are wrong, the first ones tell enough. */
const MAX_FAULTS = 1000;

/** For the documents. */
export const LINES_EXAMPLE = [
  { huntId: "hunt_123", accountId: "acc_456" },
  { adId: "ad_789", recipientPhone: "+33612345678", channel: "sms", message: "Bonjour, votre bien est-il libre ?" },
]
  .map((line) => `${JSON.stringify(line)}\n`)
  .join("");

export interface LinesReader {
  channels: ChannelDirectory;
  readHead: HuntBodyReader["readHead"];
  /** The head was right; what the contacts say of its times is not in it yet. Whatever it throws ends the reading. */
  begin(head: HuntHead): Promise<void>;
  /** The next contacts, up to a chunk of them; `total`: with those before. Not called once something was wrong. */
  take(contacts: Contact[], total: number): Promise<void>;
}

/**
 * Reads a hunt in NDJSON: its head on the first line, then a contact a line, taken as they arrive. Throws `invalidRequest` with all
 * faults, by line.
 */
export async function readHuntLines(
  lines: AsyncIterable<Line>,
  { channels, readHead, begin, take }: LinesReader,
): Promise<{ hunt: HuntHead; contacts: number }> {
  const faults: Fault[] = [];
  const copyOf = copyCounter();
  let head: ReadHead | undefined;
  let contacts = 0;
  let chunk: Contact[] = [];
  const pass = async (): Promise<void> => {
    // Once something is wrong nothing is taken: the rest is only read to be checked.
    if (faults.length === 0) await take(chunk, contacts);
    chunk = [];
  };

  for await (const line of lines) {
    const at = `/lines/${line.no}`;
    if ("fault" in line) {
      const rest = head === undefined ? "; it is the hunt, and nothing after it was read" : "";
      faults.push({ pointer: at, detail: line.fault + rest });
      // Any other line would be taken for it.
      if (head === undefined) break;
    } else if (head === undefined) {
      head = await readHead(line.value, faults, at);
      if (faults.length === 0) await begin(head.result());
    } else {
      contacts += 1;
      const contact = readContact(line.value, at, channels, faults, head.terms);
      if (contact && faults.length === 0) chunk.push(copyOf(contact));
      if (contacts > MAX_CONTACTS) {
        faults.push({
          pointer: at,
          detail: `is one too many: at most ${MAX_CONTACTS} contacts a request; send further ones in another, for the same hunt`,
        });
        break;
      }
      if (contacts % CHUNK_SIZE === 0) await pass();
    }
    if (faults.length >= MAX_FAULTS) {
      faults.push({ pointer: at, detail: `was the last that was read, after ${MAX_FAULTS} faults` });
      break;
    }
  }
  if (head === undefined && faults.length === 0)
    faults.push({ pointer: "", detail: "has no lines: the first is the hunt" });
  else if (contacts === 0 && faults.length === 0)
    faults.push({ pointer: "", detail: "has no contacts: they follow the hunt, one a line" });
  if (faults.length > 0) throw invalidRequest(faults);
  if (chunk.length > 0) await pass();
  return { hunt: head!.result(), contacts };
}
