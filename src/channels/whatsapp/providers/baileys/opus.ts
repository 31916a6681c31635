/** Of every Opus stream, whatever it was recorded with (RFC 7845, 4). */
const SAMPLES_PER_SECOND = 48_000;

/** An Ogg file's length in whole seconds, at least one; undefined when it does not hold Opus. */
export function opusSeconds(file: Buffer): number | undefined {
  // The first page holds the header and nothing else (RFC 7845, 3).
  const header = file.subarray(0, 512).indexOf("OpusHead");
  const lastPage = file.lastIndexOf("OggS");
  if (header < 0 || lastPage <= header || file.length < lastPage + 14 || file.length < header + 12) return undefined;
  const preSkip = file.readUInt16LE(header + 10);
  // The granule position: samples up to the end of this page, -1 where no packet ends on it (RFC 3533, 6).
  const samples = Number(file.readBigInt64LE(lastPage + 6)) - preSkip;
  return Math.min(Math.max(1, Math.round(samples / SAMPLES_PER_SECOND)), 86_400);
}
