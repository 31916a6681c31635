import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startServiceProcess, untilAnswers } from "../../dev/service-process.ts";
import { freePort } from "../../dev/stack/ports.ts";
import { recorded } from "../../dev/stack/run-directory.ts";

const SERVICE = `
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { word } from './word.ts';
const server = createServer((_, response) => response.end(word)).listen(Number(process.env.PORT), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close(() => appendFileSync(process.env.DRAINED ?? '', word + ' drained;'));
  server.closeAllConnections();
});
`;

it("lets the service drain before each reload and at the end", { timeout: 15_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "auto-prospect-test-"));
  try {
    const entry = join(directory, "index.ts");
    const word = join(directory, "word.ts");
    const drained = join(directory, "drained.txt");
    const port = await freePort();
    const url = `http://127.0.0.1:${port}/`;
    writeFileSync(entry, SERVICE);
    writeFileSync(word, `export const word = 'one';`);
    writeFileSync(drained, "");
    const service = await startServiceProcess({
      entry,
      cwd: directory,
      env: { PATH: process.env["PATH"], PORT: String(port), DRAINED: drained },
      run: { directory, id: "test" },
    });
    expect(await untilAnswers(url, AbortSignal.timeout(10_000))).toBe(true);
    expect(recorded(directory).map((record) => record.name)).toEqual(["service"]);

    writeFileSync(word, `export const word = 'two';`);
    const answer = () =>
      fetch(url).then(
        (response) => response.text(),
        () => undefined,
      );
    await expect.poll(answer, { timeout: 10_000 }).toBe("two");
    expect(readText(drained)).toBe("one drained;");

    await service.stop();
    expect(readText(drained)).toBe("one drained;two drained;");
    expect(await answer()).toBeUndefined();
    expect(recorded(directory)).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

function readText(file: string): string {
  return readFileSync(file, "utf8");
}
