/** A contact's card in vCard 3.0 (RFC 2426), which WhatsApp's clients read; by `waid` they know the number as one of theirs. */
export function vcardOf(name: string, phone: string): string {
  const text = name.replaceAll(/[\\;,]/g, String.raw`\$&`).replaceAll(/[\r\n]+/g, " ");
  const lines = [
    "BEGIN:VCARD",
    "VERSION:3.0",
    `FN:${text}`,
    `N:;${text};;;`,
    `TEL;type=CELL;type=VOICE;waid=${phone.slice(1)}:${phone}`,
    "END:VCARD",
  ];
  return lines.join("\n");
}
