import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONSOLE_ROUTES } from "../../src/routes/console-api.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { openChromium } from "../helpers/chromium.ts";
import { finished, phone, submit } from "../helpers/hunts.ts";
import { rawRequest } from "../helpers/fuzz-raw.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { openFakeWhatsApp, sessionOf, sessionPhone, whatsappEnvironment } from "../helpers/whatsapp.ts";

const MAX_BYTES = 100_000;

let world: World;
let fake: FakeWhatsApp;
let service: TestService;
let browser: Browser;
let cookie: string;

beforeAll(async () => {
  [fake, world, browser] = await Promise.all([openFakeWhatsApp(), openWorld(), openChromium()]);
  service = await world.start(whatsappEnvironment(fake));
  const body = new URLSearchParams({ secret: SECRET });
  const answer = await fetch(`${service.url}/admin/login`, { method: "POST", body, redirect: "manual" });
  cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? "";
});
afterAll(async () => {
  await browser.close();
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

/** Logs in as a person does; what the page complains of in its console is kept. */
async function openConsole(timezoneId = "UTC"): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage({ timezoneId });
  // Soon enough for a test that fails to say what it waited for.
  page.setDefaultTimeout(15_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.goto(`${service.url}/admin`);
  await page.getByLabel("API secret").fill(SECRET);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Hunts" }).waitFor();
  return { page, complaints };
}

/** Of an origin that is not ours, with everything else as it should be. */
const ask = (method: string, path: string, headers: Record<string, string>) =>
  rawRequest(service.url, { method, target: path, headers });

describe("in a browser", () => {
  test("log in, pair a number, run a hunt to its end, settle an unknown: nothing but the page is needed", async () => {
    const accountId = await world.account();
    const { page, complaints } = await openConsole();

    await page.getByRole("link", { name: "WhatsApp" }).click();
    const number = sessionPhone();
    await page.getByLabel("Account").fill(accountId);
    await page.getByLabel("Number of the phone").fill(number);
    await page.getByRole("button", { name: "Pair a number" }).click();
    const item = page.getByRole("listitem").filter({ hasText: number });
    const picture = item.getByRole("img", { name: "QR code" });
    await picture.waitFor();
    // As wide as the picture that the service draws, and no longer as an empty canvas is.
    await expect.poll(() => picture.getAttribute("width")).toBe("384");
    const { body } = await service.get(`/api/whatsapp/sessions?accountId=${accountId}`);
    const { id, qr } = await sessionOf(service, body.sessions[0].id);
    await fake.scanQr(number, qr);
    await item.getByText("Sends").waitFor();

    await world.queue("sms").pause();
    const contacts = Array.from({ length: 30 }, (_, i) => contact({ recipientPhone: phone(4000 + i) }));
    contacts.push(contact({ recipientPhone: "+33612340004" }), contact({ recipientPhone: "+33612340001" }));
    const { huntId } = await submit(service, { accountId, contacts });
    await page.getByRole("link", { name: "Hunts", exact: true }).click();
    await page.getByRole("link", { name: huntId }).click();
    const main = page.getByRole("main");
    await main.getByText("running", { exact: true }).waitFor();
    await main.getByText("0 of 32").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await main.getByText("paused", { exact: true }).waitFor();
    await world.queue("sms").resume();
    await page.getByRole("button", { name: "Resume" }).click();
    await main.getByText("32 done").waitFor();
    await page.getByRole("button", { name: "failed 1" }).click();
    await page.getByRole("cell", { name: "+33612340001" }).waitFor();
    await expect.poll(() => page.getByRole("row").count()).toBe(2);
    await expect.poll(() => page.getByRole("slider").getAttribute("aria-valuetext")).toContain("30 delivered");

    await page.getByRole("link", { name: /^Unknown/ }).click();
    await page.getByRole("button", { name: "+33612340004: it was sent" }).click();
    await page.getByText("Nothing to settle").waitFor();
    const { body: sent } = await service.get(`/api/hunt/${huntId}/messages?status=sent`);
    expect(sent.messages).toMatchObject([{ recipientPhone: "+33612340004" }]);

    await page.getByRole("link", { name: "Failed" }).click();
    await page.getByRole("button", { name: /^Try .* again$/ }).click();
    await expect.poll(async () => (await attemptsOf(huntId))[0]).toBe(2);

    await page.getByRole("link", { name: "WhatsApp" }).click();
    await page.getByRole("button", { name: `Log ${number} out` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Log it out" }).click();
    await page.getByText("No number is paired").waitFor();
    expect((await service.get(`/api/whatsapp/sessions/${id}`)).status).toBe(404);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test("the list of who must not be contacted: in by hand, by a file and out again", async () => {
    const { page, complaints } = await openConsole();
    await page.getByRole("link", { name: "Do not contact" }).click();
    const form = page.getByRole("form", { name: "Put a number on the list" });
    await form.getByLabel("Number").fill("06 11 22 33");
    await page.keyboard.press("Enter");
    await page.getByText(/phone .*number/i).waitFor();
    await form.getByLabel("Number").fill("06 11 22 33 44");
    await page.keyboard.press("Enter");
    await page.getByRole("cell", { name: "+33611223344", exact: true }).waitFor();
    const csv = Buffer.from("phone,reason\n+33611223355,left\nnobody,\n");
    await page.getByLabel("CSV file").setInputFiles({ name: "list.csv", mimeType: "text/csv", buffer: csv });
    await page.getByText(/^Line 3: phone/).waitFor();
    await page.getByRole("search").getByLabel("Number").fill("+33611223355");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByRole("row").count()).toBe(2);
    await page.getByRole("button", { name: "Take +33611223355 off the list" }).click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    expect((await service.get("/api/suppressions?phone=%2B33611223355")).body.suppressions).toHaveLength(1);
    await page.getByRole("button", { name: "Take +33611223355 off the list" }).click();
    await page.getByRole("button", { name: "Take it off the list", exact: true }).click();
    await page.getByText("Not on the list").waitFor();
    const search = page.getByRole("search");
    await search.getByLabel("Number").fill("06");
    await page.keyboard.press("Enter");
    await page.getByText("That is a part of a number").waitFor();
    await search.getByLabel("Number").fill("+33611223344");
    await search.getByLabel("Account").fill(await world.account());
    await page.keyboard.press("Enter");
    await page.getByRole("cell", { name: "every account" }).waitFor();
    // The browser itself writes what a 400 was asked for.
    expect(complaints.filter((words) => !words.includes("status of 400"))).toEqual([]);
    await page.close();
  });

  test("another time, end, hours and priority of a hunt, by the keyboard alone: only what was changed is said", async () => {
    const accountId = await world.account();
    const soon = new Date(Date.now() + 7_200_000).toISOString();
    const { huntId } = await submit(service, { accountId, contacts: [contact()], sendAt: soon });
    const { page } = await openConsole("Asia/Tokyo");
    await page.goto(`${service.url}/admin#/hunts/${huntId}`);
    const patches: unknown[] = [];
    page.on("request", (request) => void (request.method() === "PATCH" && patches.push(request.postDataJSON())));
    await page.getByText("0 of 1, begins in 2 h").waitFor();
    const opens = page.getByRole("button", { name: "Times…" });
    await opens.press("Enter");
    const dialog = page.getByRole("dialog");
    const notBefore = dialog.getByLabel("Not before");
    await expect.poll(() => page.evaluate("document.activeElement.name")).toBe("sendAt");
    expect(await dialog.getByLabel("Priority").inputValue()).toBe("normal");
    const day = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 10);
    await notBefore.fill(`${day}T09:30`);
    await dialog.getByRole("button", { name: "Save" }).press("Enter");
    await dialog.getByText("is not before the hunt's “Nothing after”").waitFor();
    expect(patches).toEqual([{ sendAt: `${day}T00:30:00.000Z` }]);
    expect((await service.get(`/api/hunts/${huntId}`)).body).toMatchObject({ sendAt: null, windows: null });
    await dialog.getByLabel("Nothing after").fill(`${day}T21:00`);
    await dialog.getByLabel("Priority").selectOption("high");
    await dialog.getByLabel("Only within these hours").press("Space");
    await dialog.getByLabel("Fri").press("Space");
    await dialog.getByLabel("To", { exact: true }).fill("00:00");
    await dialog.getByLabel("Spread evenly").press("Space");
    expect(await excess(page)).toBe(0);
    await page.setViewportSize({ width: 390, height: 844 });
    const box = "document.querySelector('dialog').";
    expect(await page.evaluate(`${box}scrollWidth - ${box}clientWidth`)).toBe(0);
    await dialog.getByRole("button", { name: "Save" }).press("Enter");
    await dialog.waitFor({ state: "hidden" });
    const windows = { days: [1, 2, 3, 4], from: "09:00", to: "24:00", timeZone: "Asia/Tokyo", spread: true };
    const sendAt = new Date(`${day}T00:30:00Z`).toISOString();
    const expiresAt = new Date(`${day}T12:00:00Z`).toISOString();
    const { body: hunt } = await service.get(`/api/hunts/${huntId}`);
    expect(hunt).toMatchObject({ priority: "high", sendAt, windows, expiresAt });
    await expect.poll(() => page.evaluate("document.activeElement.textContent")).toBe("Times…");
    await page.getByText("high priority").waitFor();
    await opens.press("Enter");
    await expect.poll(() => notBefore.inputValue()).toBe(`${day}T09:30`);
    expect(await dialog.getByLabel("To", { exact: true }).inputValue()).toBe("00:00");
    await dialog.getByLabel("Priority").selectOption("low");
    await dialog.getByRole("button", { name: "Save" }).press("Enter");
    await dialog.waitFor({ state: "hidden" });
    expect(patches.at(-1)).toEqual({ priority: "low" });
    await opens.press("Enter");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    expect((await service.get(`/api/hunts/${huntId}`)).body).toMatchObject({ priority: "low", windows, sendAt });
    await service.post(`/api/hunt/${huntId}/cancel`, undefined);
    await page.close();
  });

  test("on a phone → no page is wider than the screen", async () => {
    const listed = { phone: "+33611223366", reason: "asked by telephone" };
    expect((await service.post("/api/suppressions", listed)).status).toBe(200);
    const { page } = await openConsole();
    await page.setViewportSize({ width: 390, height: 844 });
    const names = await page.getByRole("navigation").getByRole("link").allTextContents();
    expect(names.length).toBeGreaterThan(5);
    const tables = [];
    for (const name of names.map((text) => text.replace(/\d+$/, ""))) {
      const link = page.getByRole("navigation").getByRole("link", { name });
      await link.click();
      await expect.poll(() => link.getAttribute("aria-current")).toBe("page");
      await expect.poll(() => page.getByRole("status", { name: "Loading" }).count()).toBe(0);
      if ((await page.getByRole("table").count()) > 0) tables.push(name);
      expect({ name, excess: await excess(page) }).toEqual({ name, excess: 0 });
    }
    expect(tables).toContain("Do not contact");
    await page.close();
  });

  test("Bull Board → shows jobs and lets a queue be held, and has no button that is refused", async () => {
    const accountId = await world.account();
    const { jobId } = await submit(service, { accountId, contacts: [contact({ recipientPhone: "+33612340001" })] });
    await finished(service, jobId);
    const { page, complaints } = await openConsole();
    const refused: string[] = [];
    page.on("response", (answer) => {
      if (answer.status() === 403) refused.push(answer.url());
    });

    await page.goto(`${service.url}/admin/queues/queue/sms?status=failed`);
    await page.getByText("sandbox_refused").first().waitFor();
    const buttons = page.locator("section button");
    // Of one job or several.
    const labels = new Set(await buttons.filter({ visible: true }).allTextContents());
    expect([...labels].filter((label) => label !== "")).toEqual(["Error", "Data", "Progress", "Options", "Logs"]);
    // They are there, so it is their names that hide them: after an upgrade that gives others, they would be seen.
    const hidden = page.locator('[class*="jobActions-"] button, [class*="queueActions-"] button');
    expect(await hidden.count()).toBeGreaterThan(1);
    expect(await hidden.filter({ visible: true }).count()).toBe(0);

    for (const [item, paused] of [
      ["Pause", true],
      ["Resume", false],
    ] as const) {
      await buttons.and(page.locator("[aria-haspopup=menu]")).click();
      const items = page.getByRole("menuitem").filter({ visible: true });
      await items.filter({ hasText: item }).waitFor();
      expect(await items.allTextContents()).toEqual([item]);
      await items.click();
      await page.getByRole("button", { name: "Confirm" }).click();
      await expect.poll(() => world.queue("sms").isPaused()).toBe(paused);
    }
    expect({ refused, complaints }).toEqual({ refused: [], complaints: [] });
    await page.close();
  });

  test("the paths on /docs → begin with what is used most, and each link stays in its column", async () => {
    const page = await browser.newPage();
    await page.goto(`${service.url}/docs`);
    const links = page.getByRole("navigation").getByRole("link");
    expect((await links.allTextContents())[0]).toBe("POST /api/hunt/execute");
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: 844 });
      const boxes = await Promise.all((await links.all()).map((link) => link.boundingBox()));
      const overlapping = boxes.filter((a, i) =>
        boxes.some(
          (b, j) =>
            a && b && i < j && a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y && b.y < a.y + a.height - 4,
        ),
      );
      expect(overlapping).toEqual([]);
      expect(await excess(page)).toBe(0);
    }
    await page.close();
  });

  test("while no number can be paired → the API's words stand in place of the form", async () => {
    const { page } = await openConsole();
    const off = "Set this and that.";
    await page.route("**/admin/api/whatsapp/sessions", (route) => route.fulfill({ json: { sessions: [], off } }));
    await page.getByRole("link", { name: "WhatsApp" }).click();
    await page.getByText(off).waitFor();
    expect(await page.getByRole("form", { name: "Pair a number" }).count()).toBe(0);
    expect(await page.getByText("No number is paired").count()).toBe(0);
    await page.close();
  });

  test("what the service says in error comes in words, and the page goes on", async () => {
    const { page } = await openConsole();
    await page.route("**/admin/api/senders", (route) => route.abort());
    await page.getByRole("link", { name: "Senders" }).click();
    await page.getByRole("alert").getByText("The service does not answer").waitFor();
    await page.unroute("**/admin/api/senders");
    await page.getByRole("link", { name: "System" }).click();
    await page.getByRole("link", { name: "Senders" }).click();
    await page.getByText("No sender was limited today").waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
    await page.close();
  });
});

/** By how much a page can be scrolled sideways, pixels. */
const excess = (page: Page): Promise<number> =>
  page.evaluate("Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)");

async function attemptsOf(huntId: string): Promise<number[]> {
  const sql = "select attempts from messages where hunt_id = $1 and recipient = '+33612340001'";
  const { rows } = await world.sql.query<{ attempts: number }>(sql, [huntId]);
  return rows.map(({ attempts }) => attempts);
}

describe("what the browser gets", () => {
  test("the page → names only files of ours, under a policy that lets nothing else run", async () => {
    const { text, headers } = await ask("GET", "/admin", { cookie, accept: "text/html" });
    const policy = Object.fromEntries(
      String(headers["content-security-policy"])
        .split("; ")
        .map((rule) => [rule.split(" ")[0], rule.split(" ").slice(1)]),
    );
    expect(policy).toMatchObject({
      "default-src": ["'none'"],
      "script-src": ["'self'", expect.stringMatching(/^'sha256-/)],
      "style-src": ["'self'"],
      "img-src": ["'self'"],
      "connect-src": ["'self'"],
      "frame-ancestors": ["'none'"],
      "require-trusted-types-for": ["'script'"],
    });
    const addresses = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address);
    expect(addresses.length).toBeGreaterThan(5);
    expect(addresses.filter((address) => !/^\/admin\/(console\/[\w.-]+|queues)$/.test(address!))).toEqual([]);
    expect(text).not.toContain(SECRET);
  });

  test("all of it → takes under 100 KB as it is sent, and nothing when it has not changed", async () => {
    const page = await ask("GET", "/admin", { cookie, accept: "text/html" });
    const files = [...page.text.matchAll(/"(\/admin\/console\/[\w.-]+)"/g)].map(([, path]) => path as string);
    let bytes = Buffer.byteLength(page.text);
    for (const path of new Set(files)) {
      const answer = await fetch(service.url + path, { headers: { cookie, "accept-encoding": "gzip" } });
      const encoding = answer.headers.get("content-encoding");
      expect({ path, status: answer.status, encoding }).toEqual({ path, status: 200, encoding: "gzip" });
      bytes += Number(answer.headers.get("content-length"));
      const etag = answer.headers.get("etag") ?? "";
      expect((await ask("GET", path, { cookie, "if-none-match": etag })).status).toBe(304);
    }
    expect(new Set(files).size).toBeGreaterThan(10);
    expect(bytes).toBeLessThan(MAX_BYTES);
    const style = await fetch(`${service.url}/admin/console/style.css`, { headers: { cookie } });
    expect(await style.text()).toBe(readFileSync(new URL("../../console/style.css", import.meta.url), "utf8"));
  });

  test("a file that is not the console's → 404, whatever the path", async () => {
    for (const path of ["tsconfig.json", "..%2fpackage.json", "%2e%2e%2fpackage.json", "main.js.map", "__proto__"]) {
      const { status } = await ask("GET", `/admin/console/${path}`, { cookie });
      expect({ path, status }).toEqual({ path, status: 404 });
    }
  });
});

describe("the console's API", () => {
  const JSON_TYPE = { "content-type": "application/json" };
  const targets = CONSOLE_ROUTES.map((route) => {
    const [method = "", path = ""] = route.split(" ");
    return [method.toUpperCase(), `/admin${path.replaceAll(/:\w+/g, "x")}`] as const;
  });

  test.each(targets)("%s %s without a login, or with the Bearer token alone → 401", async (method, path) => {
    for (const headers of [{}, { authorization: `Bearer ${SECRET}` }, { cookie: "auto_prospect_admin=x.y.z" }]) {
      const { status, text } = await ask(method, path, { ...JSON_TYPE, ...headers });
      expect({ status, text }).toMatchObject({ status: 401, text: expect.stringContaining("login_required") });
    }
  });

  test.each(targets)("%s %s from another site's page → 403, or not as a form sends it → 415", async (method, path) => {
    const sites = ["cross-site", "same-site", "none"].map((site) => ({ "sec-fetch-site": site }));
    for (const site of sites) {
      const { status } = await ask(method, path, { ...JSON_TYPE, cookie, ...site });
      expect({ site, status }).toEqual({ site, status: 403 });
    }
    if (method === "GET") return;
    const { status } = await ask(method, path, { ...JSON_TYPE, cookie, origin: "https://evil.example" });
    expect(status).toBe(403);
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]) {
      const answer = await ask(method, path, { cookie, "sec-fetch-site": "same-origin", "content-type": type });
      expect({ type, status: answer.status }).toEqual({ type, status: 415 });
    }
  });

  test("each of its routes → is there for who is logged in, by the handler of the API", async () => {
    for (const [method, path] of targets) {
      const { text } = await ask(method, path, { ...JSON_TYPE, cookie, "sec-fetch-site": "same-origin" });
      expect({ method, path, text }).not.toMatchObject({
        text: expect.stringMatching(/unknown_route|unauthorized|login_required|method_not_allowed/),
      });
    }
    const queues = await ask("GET", "/admin/api/queues/stats", { cookie });
    expect(JSON.parse(queues.text)).toEqual((await service.get("/api/queues/stats")).body);
  });

  test("the rest of the API → is not there, logged in or not", async () => {
    for (const [method, path] of [
      ["POST", "/admin/api/hunt/execute"],
      ["POST", "/admin/api/phone/sms"],
      ["DELETE", "/admin/api/contacts/x"],
      ["PUT", "/admin/api/accounts/x"],
      ["GET", "/admin/api/metrics"],
    ] as const) {
      const { status } = await ask(method, path, { ...JSON_TYPE, cookie });
      expect({ path, status }).toEqual({ path, status: 404 });
    }
  });
});
