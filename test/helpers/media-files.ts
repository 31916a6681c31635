/** The beginnings of files, and small whole ones, by what they are. */
export const FILES = {
  jpeg: Buffer.from("\xff\xd8\xff\xe0\0\x10JFIF\0", "latin1"),
  png: Buffer.from("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "latin1"),
  webp: Buffer.from("RIFF\x24\0\0\0WEBPVP8 ", "latin1"),
  mp4: Buffer.from("\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "latin1"),
  m4a: Buffer.from("\0\0\0\x20ftypM4A \0\0\0\0", "latin1"),
  "3gp": Buffer.from("\0\0\0\x18ftyp3gp4\0\0\0\0", "latin1"),
  heic: Buffer.from("\0\0\0\x18ftypheic\0\0\0\0", "latin1"),
  quicktime: Buffer.from("\0\0\0\x14ftypqt  \0\0\0\0", "latin1"),
  mp3: Buffer.from("ID3\x03\0\0\0\0\0\0", "latin1"),
  mp3Frames: Buffer.from("\xff\xfb\x90\x64", "latin1"),
  aac: Buffer.from("\xff\xf1\x50\x80", "latin1"),
  amr: Buffer.from("#!AMR\n\x3c", "latin1"),
  pdf: Buffer.from("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "latin1"),
  docx: zipOf("[Content_Types].xml"),
  jar: zipOf("META-INF/MANIFEST.MF"),
  doc: Buffer.from("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "latin1"),
  csv: Buffer.from("nom;prix\ncaf\xe9;3\n", "latin1"),
  html: Buffer.from("<!DOCTYPE html><script>alert(1)</script>"),
  svg: Buffer.from('\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
  script: Buffer.from("#!/bin/sh\nrm -rf /\n"),
  exe: Buffer.from("MZ\x90\0\x03\0\0\0", "latin1"),
  elf: Buffer.from("\x7fELF\x02\x01\x01\0", "latin1"),
  /** A voice note of three seconds. */
  opus: opusOf(3 * 48_000 + 312),
};

function zipOf(firstEntry: string): Buffer {
  const head = Buffer.alloc(30);
  head.write("PK\x03\x04", "latin1");
  head.writeUInt16LE(firstEntry.length, 26);
  return Buffer.concat([head, Buffer.from(firstEntry)]);
}

/** An Ogg file of two pages, the second of which ends at this sample; 312 of them are to be skipped. */
export function opusOf(samples: number): Buffer {
  const page = (granule: number): Buffer => {
    const header = Buffer.alloc(28);
    header.write("OggS");
    header.writeBigInt64LE(BigInt(granule), 6);
    header.writeUInt8(1, 26);
    return header;
  };
  const head = Buffer.alloc(19);
  head.write("OpusHead");
  head.writeUInt8(1, 8);
  head.writeUInt16LE(312, 10);
  return Buffer.concat([page(0), head, page(samples), Buffer.alloc(100)]);
}
