import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { messagesOf, submit } from "../helpers/hunts.ts";
import { contact, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";
import { LIST, openSuppressionScene, query, type SuppressionScene } from "../helpers/suppression-scene.ts";

let scene: SuppressionScene;
let world: World;
let service: TestService;
let provider: SuppressionScene["provider"];

beforeAll(async () => {
  scene = await openSuppressionScene();
  ({ world, service, provider } = scene);
});
afterAll(() => scene[Symbol.asyncDispose]());

describe("the list", () => {
  test("a number of an account → is on its list once, and is not contacted by that account", async () => {
    const [accountId, to] = [await world.account(), scene.nextPhone()];
    const first = await scene.suppress({ phone: `0${to.slice(3)}`, accountId, reason: "asked by e-mail" });
    expect(first).toMatchObject({ status: 200 });
    expect(first.body).toEqual({
      accountId,
      phone: to,
      source: "manual",
      reason: "asked by e-mail",
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect((await scene.suppress({ phone: to, accountId })).body).toEqual(first.body);
    expect(await scene.listed({ accountId })).toEqual([first.body]);
    expect(await scene.sending(to, accountId)).toBe("suppressed");
    expect(await scene.sending(to, await world.account())).toBe("sent");
  });

  test("a number without an account → is contacted by nobody", async () => {
    const to = scene.nextPhone();
    expect((await scene.suppress({ phone: to })).body).toMatchObject({ accountId: null });
    expect(await scene.sending(to, await world.account())).toBe("suppressed");
    expect(await scene.listed({ everybody: "true", phone: to })).toHaveLength(1);
    const accountId = await world.account();
    expect(await scene.listed({ accountId, phone: to })).toMatchObject([{ accountId: null, phone: to }]);
    expect(await scene.listed({ accountId })).toEqual([]);
    await scene.suppress({ phone: to, accountId: await world.account() });
    expect(await scene.listed({ accountId, phone: to })).toHaveLength(1);
  });

  test("a number that is queued already → is not called after the answer, and its credit comes back", async () => {
    const [accountId, to] = [await world.account(), scene.nextPhone()];
    await world.credits(accountId, "sms", 1);
    await world.queue("sms").pause();
    const { huntId } = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("queued");
    await scene.suppress({ phone: to, accountId });
    await world.queue("sms").resume();
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.reason).toBe("suppressed");
    expect(provider.callsTo(to)).toBe(0);
    const { rows } = await world.sql.query("select balance, reserved, spent from credits where account_id = $1", [
      accountId,
    ]);
    expect(rows).toEqual([{ balance: "1", reserved: "0", spent: "0" }]);
  });

  test("a number that is taken off → is contacted again; one that is not there → 404", async () => {
    const [accountId, to] = [await world.account(), scene.nextPhone()];
    await scene.suppress({ phone: to, accountId });
    expect(await scene.lift({ phone: to })).toMatchObject({ status: 404, body: { code: "not_found" } });
    expect(await scene.lift({ phone: to, accountId })).toMatchObject({ status: 200, body: { phone: to, accountId } });
    expect(await scene.lift({ phone: to, accountId })).toMatchObject({ status: 404 });
    expect(await scene.sending(to, accountId)).toBe("sent");
  });

  test("pages → each entry once, in the order of adding", async () => {
    const accountId = await world.account();
    const numbers = Array.from({ length: 7 }, scene.nextPhone);
    for (const number of numbers) await scene.suppress({ phone: number, accountId });
    const seen: string[] = [];
    let cursor: string | null = "0";
    for (let page = 0; cursor !== null; page++) {
      const { body }: Answer = await service.get(LIST + query({ accountId, limit: "3", cursor }));
      seen.push(...body.suppressions.map((each: { phone: string }) => each.phone));
      cursor = body.nextCursor;
      expect(page).toBeLessThan(3);
    }
    expect(seen).toEqual(numbers);
  });

  test.each([
    [{ phone: "12" }, 400, "/phone"],
    [{ phone: "+33612345678", reason: "x".repeat(501) }, 400, "/reason"],
    [{ phone: "+33612345678", accountId: "acc_nobody" }, 422, "/accountId"],
    [{}, 400, "/phone"],
  ])("%j → %i at %s", async (entry, status, pointer) => {
    expect(await scene.suppress(entry)).toMatchObject({ status, body: { errors: [{ pointer }] } });
  });
});

describe("files", () => {
  const importing = (text: string, filter: Record<string, string> = {}) =>
    scene.call("POST", `${LIST}/import${query(filter)}`, text);

  test("good and faulty lines → the good ones are taken, each faulty one is named", async () => {
    const [accountId, other] = [await world.account(), await world.account({ default_country: "US" })];
    const [a, b, c] = [scene.nextPhone(), scene.nextPhone(), scene.nextPhone()];
    const file = [
      "Phone,reason,accountId,city",
      `${a},"moved, ""far"" away",,Lyon`,
      "nonsense,,,",
      "",
      `0${b.slice(3)},,,`,
      `(415) 555-0199,,${other},`,
      `${c},,acc_nobody,`,
      `${c},${"x".repeat(501)},,`,
      ",no number,,",
      `${a},,,`,
    ].join("\n");
    const answer = await importing(file, { accountId });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ taken: 4, added: 3 });
    expect(
      answer.body.faults.map((fault: { line: number; detail: string }) => [fault.line, fault.detail.split(":")[0]]),
    ).toEqual([
      [3, "phone"],
      [7, "accountId"],
      [8, "reason"],
      [9, "phone"],
    ]);
    expect(await scene.listed({ accountId })).toMatchObject([
      { phone: a, source: "import", reason: 'moved, "far" away' },
      { phone: b, source: "import", reason: null },
    ]);
    expect(await scene.listed({ accountId: other })).toMatchObject([{ phone: "+14155550199" }]);
    expect(await scene.sending(b, accountId)).toBe("suppressed");
    expect((await importing(file, { accountId })).body).toMatchObject({ taken: 4, added: 0 });
  });

  test.each([
    [
      "semicolons, a mark at the start and Windows' line ends",
      (a: string, b: string) => `\ufeffphone;reason\r\n${a};"a;b"\r\n${b};x\r\n`,
    ],
    ["tabs", (a: string, b: string) => `reason\tphone\nx\t${a}\ny\t${b}\n`],
    ["one column", (a: string, b: string) => `phone\n${a}\n${b}`],
    ["quotation marks around everything", (a: string, b: string) => `"PHONE"\n"${a}"\n"${b}"\n`],
  ])("a file with %s → is read", async (_, text) => {
    const [a, b] = [scene.nextPhone(), scene.nextPhone()];
    expect((await importing(text(a, b))).body).toEqual({ taken: 2, added: 2, faults: [] });
    expect(await scene.listed({ phone: a })).toHaveLength(1);
  });

  test("quotation marks where there should be none → the line is named, the others are taken", async () => {
    const [a, b] = [scene.nextPhone(), scene.nextPhone()];
    const { status, body } = await importing(`phone,reason\n${a},x\n"bad" quote,y\n${b},5" screen\n`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ taken: 2, faults: [{ line: 3 }] });
  });

  test("a quotation mark that is never closed → nothing is taken, since nobody knows which lines follow", async () => {
    const [a, b] = [scene.nextPhone(), scene.nextPhone()];
    const { status, body } = await importing(`phone,reason\n${a},x\n${b},"y\n${a},z\n`);
    expect(status).toBe(400);
    expect(body.errors).toEqual([{ pointer: "", detail: "line 3 has a quotation mark that is not closed" }]);
    expect(await scene.listed({ phone: a })).toEqual([]);
  });

  test("a file as Excel writes it in Western Europe → its numbers are taken, and its accents are right", async () => {
    const a = scene.nextPhone();
    const bytes = Buffer.from(`phone;reason\r\n${a};d\xe9m\xe9nag\xe9\r\n`, "latin1");
    const response = await fetch(`${service.url}${LIST}/import`, {
      method: "POST",
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "text/csv; charset=windows-1252" },
      body: new Uint8Array(bytes),
    });
    expect(await response.json()).toMatchObject({ taken: 1 });
    expect(await scene.listed({ phone: a })).toMatchObject([{ reason: "déménagé" }]);
  });

  test("a file without a column of numbers, an empty one, another type → refused, nothing is taken", async () => {
    expect(await importing("number\n+33612345678\n")).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(await importing("")).toMatchObject({ status: 400 });
    expect(await scene.call("POST", `${LIST}/import`, "phone\n", "application/json")).toMatchObject({ status: 415 });
    const lines = `phone\n${"x\n".repeat(100_001)}`;
    expect(await importing(lines)).toMatchObject({
      status: 400,
      body: { errors: [{ detail: expect.stringContaining("100000") }] },
    });
  });

  test("what is written out, page by page → put together is what there is, and can be read in again", async () => {
    const accountId = await world.account();
    const reasons = ['says "no", twice', "=HYPERLINK(1)", "", "a\nb", "-1"];
    const numbers = reasons.map(scene.nextPhone);
    for (const [i, reason] of reasons.entries()) {
      await scene.suppress({ phone: numbers[i], accountId, ...(reason === "" ? {} : { reason }) });
    }
    let file = "";
    let cursor: string | null = null;
    let pages = 0;
    do {
      const more: Record<string, string> = cursor === null ? {} : { cursor };
      const page: Answer = await service.get(`${LIST}/export${query({ accountId, limit: "2", ...more })}`);
      expect(page.headers.get("content-type")).toBe("text/csv; charset=utf-8");
      file += page.body;
      cursor = page.headers.get("x-next-cursor");
      pages += 1;
    } while (cursor !== null);
    expect(pages).toBe(3);
    expect(file.split("\r\n")[0]).toBe("phone,accountId,reason,source,createdAt");
    expect(file).toContain(`${numbers[1]},${accountId},'=HYPERLINK(1),manual,`);
    for (const number of numbers) await scene.lift({ phone: number, accountId });
    expect((await importing(file)).body).toEqual({ taken: 5, added: 5, faults: [] });
    const again = await scene.listed({ accountId });
    expect(again.map((each: { reason: string | null }) => each.reason ?? "")).toEqual(reasons);
  });
});
