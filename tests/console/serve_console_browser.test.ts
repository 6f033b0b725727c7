/**
 * The console in a browser: an operator finds with it what it is for, by mouse and by keyboard, on a wide and on a narrow screen, dark and light;
 * names in certificates do nothing; other pages can do nothing.
 *
 * Chromium against the real server, which shows what programs would show. `HYPHA_CONSOLE_LOAD=1` adds a feed of 1,000 nodes.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FeedParts, feedReadersMax } from "../../actors/console/feed.ts";
import { shapeOf } from "../../actors/console/machine_shape.ts";
import { connectionGateMachine } from "../../actors/gate/connection_gate.ts";
import { rolelessNode } from "../../actors/node/node_machine.ts";
import { trainingMachine } from "../../actors/training/training_machine.ts";
import { buildConsolePage } from "../../scripts/build/console_page.ts";
import { startBrowser } from "../support/browser.ts";
import { type ConsoleWorld, openConsoleWorld } from "../support/console_world.ts";
import { caParts, evilName, gatewayParts, recordingRoutes, schedulerParts } from "../support/console_status.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("the console in a browser"), "chromium");
const waitMs = 5_000;
let browser: Browser;
let context: BrowserContext;
let [gateway, scheduler, ca]: ConsoleWorld[] = [];
const machines = [connectionGateMachine, rolelessNode, trainingMachine].map((machine) => shapeOf(machine as never));
/** What reached the programs. */
const asked: [string, unknown][] = [];
const faults: string[] = [];

async function open(parts: FeedParts): Promise<ConsoleWorld> {
  const { files: page } = await buildConsolePage();
  return await openConsoleWorld({ page, routes: recordingRoutes(asked, machines), look: () => Promise.resolve(parts) });
}

test.before(async () => {
  browser = await startBrowser();
  context = await browser.newContext({ viewport: { width: 1_200, height: 800 } });
  context.setDefaultTimeout(waitMs);
  gateway = await open(gatewayParts(12));
  scheduler = await open(schedulerParts());
  ca = await open(caParts);
});
test.after(async () => {
  await browser?.close();
  await Promise.all([gateway, scheduler, ca].map((world) => world?.close()));
});
test.before.each(() => {
  asked.length = 0;
  faults.length = 0;
});

/** Opens the address that a program's log shows, in a tab of its own. */
async function enter({ url }: ConsoleWorld, tabs = context): Promise<Page> {
  const page = await tabs.newPage();
  page.on("pageerror", ({ message }) => void faults.push(message));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  await page.goto(url);
  await page.getByText("live", { exact: true }).waitFor();
  return page;
}

const view = (page: Page, name: string) => page.getByRole("link", { name, exact: true }).click();

test("the token leaves the address, and without a session there is no page", async () => {
  const page = await enter(gateway!);
  assert.is(page.url(), `http://${gateway!.authority}/#/node`);
  const cookies = await context.cookies(`http://${gateway!.authority}`);
  assert.ok(cookies.every(({ httpOnly, sameSite }) => httpOnly && sameSite === "Strict"));
  const stranger = await browser.newContext();
  const other = await stranger.newPage();
  assert.is((await other.goto(`http://${gateway!.authority}/`))?.status(), 401);
  await stranger.close();
  await page.close();
});

test("which node's certificate ends first: one click, on a gateway and on a CA", async () => {
  const page = await enter(gateway!);
  await view(page, "Certificates");
  assert.match(await page.locator("#ends-first").innerText(), /^Ends first: worker-07, .* UTC \(in 4 h 59 min\)$/);
  await page.close();
  const other = await enter(ca!);
  await view(other, "Certificates");
  assert.match(await other.locator("#ends-first").innerText(), /^Ends first: worker-03, /);
  await other.close();
});

test("why a worker was refused: its row has the reason and what to do", async () => {
  const page = await enter(gateway!);
  await view(page, "Refusals");
  await page.getByLabel("Filter").fill("worker-99");
  assert.is(await page.locator("tbody tr").count(), 1);
  const row = await page.locator("tbody tr").innerText();
  assert.match(row, /certificate-revoked[\s\S]*12[\s\S]*worker-99[\s\S]*revoked at/);
  assert.match(row, "Get a new token for the node from its CA: hypha-ca token");
  assert.ok(await page.locator(".chart canvas").isVisible());
  await page.close();
});

test("how far a revocation has come: the list, and who has it", async () => {
  const page = await enter(gateway!);
  await view(page, "Revocations");
  const answer = await page.locator(".answer").innerText();
  assert.match(answer, /^List 42 of CN=acme\.example CA: 4 of 12 connected peers have it, 4 were sent it/);
  assert.is(await page.getByRole("row", { name: /data-05 has an older one 41/ }).count(), 1);
  await page.close();
});

test("which trainer was rejected: its name is in the training's table", async () => {
  const page = await enter(scheduler!);
  await view(page, "Trainings");
  const table = page.getByRole("region", { name: /Rejected updates/ });
  await table.waitFor();
  assert.match(await table.innerText(), /worker-03\s+12\s+norm-too-large/);
  assert.ok(await page.locator(".chart canvas").isVisible());
  await page.close();
});

test("machines show the states that they are in, and audit records are found by their text", async () => {
  const page = await enter(scheduler!);
  await view(page, "Machines");
  const lit = page.locator(".lit > strong");
  await lit.filter({ hasText: "established" }).waitFor();
  await page.getByLabel("Machine").selectOption({ label: "Training digits (t-7f3a90c1)" });
  await lit.filter({ hasText: "running" }).waitFor();
  await view(page, "Audit");
  await page.getByLabel("Text").fill("worker-99");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByRole("region", { name: /Records/ }).waitFor();
  assert.equal(asked.find(([route]) => route === "POST /audit/search"), [
    "POST /audit/search",
    { text: "worker-99", type: "" },
  ]);
  await page.close();
});

test("an act shows what it will do, does nothing until it is confirmed, and once", async () => {
  const page = await enter(ca!);
  await view(page, "Certificates");
  await page.getByRole("button", { name: "Revoke worker-03" }).click();
  const dialog = page.getByRole("dialog");
  assert.match(await dialog.innerText(), /publishes revocation list 43[\s\S]*cannot be undone/);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.not(asked.some(([route]) => route === "POST /ca/revoke"));
  await page.getByRole("button", { name: "Revoke worker-03" }).click();
  await dialog.getByLabel("Reason").selectOption("keyCompromise");
  await dialog.getByRole("button", { name: "Revoke worker-03" }).click();
  await dialog.getByRole("status").waitFor();
  assert.is(await dialog.getByRole("status").innerText(), "Revoked 1 certificate(s), in revocation list 43.");
  const revoked = asked.filter(([route]) => route === "POST /ca/revoke");
  assert.equal(revoked, [["POST /ca/revoke", { serial: "cc00", reason: "keyCompromise" }]]);
  await page.close();
});

test("bug: a revocation that waits for approvals was shown in green: Revoked 0 certificate(s), in revocation list undefined", async () => {
  const page = await enter(ca!);
  await view(page, "Certificates");
  const dialog = page.getByRole("dialog");
  const outcome = async (name: string) => {
    await page.getByRole("button", { name: `Revoke ${name}` }).click();
    await dialog.getByRole("button", { name: `Revoke ${name}` }).click();
    await dialog.getByRole("status").waitFor();
    const said = await dialog.getByRole("status").locator("p").evaluateAll((lines) =>
      lines.map(({ className, textContent }) => [className, textContent])
    );
    await dialog.getByRole("button", { name: "Close" }).click();
    return said;
  };
  assert.equal(await outcome("scheduler-01"), [
    ["warn", "Not revoked yet: request 00112233aabbccdd waits for approvals (hypha-ca requests 00112233aabbccdd)."],
  ]);
  const from = "2026-07-01T00:00:00.000Z to 2026-07-02T00:00:00.000Z";
  assert.equal(await outcome("gateway-01"), [
    ["good", "Revoked 1 certificate(s), in revocation list 43."],
    ["warn", "gateway-01 dd01 is another CA's: revoke it in that CA's list too."],
    [
      "warn",
      `Certificates issued from ${from} are not in the restored register: revoke those that you know by --serial; others when they renew.`,
    ],
  ]);
  const waiting = await page.getByRole("region", { name: /Requests that wait for approvals/ }).innerText();
  assert.match(waiting, /00112233aabbccdd\s+revoke-many\s+open\s+alice\s+1 of 2/);
  await page.close();
});

test("bug: when its training changed its state, an open dialog changed from Cancel to Resume", async () => {
  const { trainings, ...rest } = schedulerParts() as { readonly trainings: readonly object[] };
  const error = "training t-7f3a90c1 is cancelled now, but this is not kept";
  let state = "running";
  const world = await openConsoleWorld({
    page: (await buildConsolePage()).files,
    routes: {
      ...recordingRoutes(asked, machines),
      "POST /trainings/resume": () => Promise.resolve({ status: 507, body: { code: "not-kept", error, hint: "" } }),
    },
    look: () =>
      Promise.resolve({
        ...rest,
        trainings: state === "unknown" ? null : trainings.map((each) => ({ ...each, state })),
      }),
  });
  const page = await enter(world);
  await view(page, "Trainings");
  await page.getByRole("button", { name: "Cancel digits" }).click();
  state = "cancelled";
  await page.getByText("cancelled", { exact: true }).waitFor();
  const dialog = page.getByRole("dialog");
  assert.match(await dialog.innerText(), /^Cancel digits[\s\S]*ends after round 24/);
  await dialog.getByRole("button", { name: "Cancel digits" }).click();
  assert.is(await dialog.getByRole("status").innerText(), "The training was cancelled.");
  assert.equal(asked.filter(([route]) => /cancel|resume/.test(route)), [
    ["POST /trainings/cancel", { id: "t-7f3a90c1" }],
  ]);
  await dialog.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Resume digits" }).click();
  await dialog.getByRole("button", { name: "Resume digits" }).click();
  assert.is(await dialog.getByRole("alert").innerText(), `Warning: ${error}`, "it was done: that is no refusal");
  await dialog.getByRole("button", { name: "Close" }).click();
  state = "unknown";
  await page.getByText("Not known: the scheduler is not ready.").waitFor();
  await page.close();
  await world.close();
});

test("bug: the dialogs of a training whose model is not kept had its finished rounds as kept", async () => {
  const { trainings, ...rest } = schedulerParts() as { readonly trainings: readonly object[] };
  let state = "running";
  const world = await openConsoleWorld({
    page: (await buildConsolePage()).files,
    routes: {
      ...recordingRoutes(asked, machines),
      "POST /trainings/resume": () =>
        Promise.resolve({ status: 200, body: { id: "t-1", round: 0, keepsModel: false } }),
    },
    look: () =>
      Promise.resolve({ ...rest, trainings: trainings.map((each) => ({ ...each, state, keepsModel: false })) }),
  });
  const page = await enter(world);
  await view(page, "Trainings");
  await page.getByRole("button", { name: "Cancel digits" }).click();
  const dialog = page.getByRole("dialog");
  assert.match(await dialog.innerText(), "Its model is not kept: resumed, it begins again at round 0.");
  await dialog.getByRole("button", { name: "Cancel digits" }).click();
  await dialog.getByRole("button", { name: "Close" }).click();
  state = "cancelled";
  await page.getByRole("button", { name: "Resume digits" }).click();
  assert.match(await dialog.innerText(), "It begins again at round 0, with workers");
  await dialog.getByRole("button", { name: "Resume digits" }).click();
  assert.is(await dialog.getByRole("status").innerText(), "The training begins again at round 0.");
  await page.close();
  await world.close();
});

test("bug: a change of the CA's register closed an open Revoke dialog, and showed its first page again", async () => {
  let [looks, certificates, isRevoked] = [0, 3, false];
  const node = (name: string, serial: string) => ({
    ...{ identity: `spiffe://acme.example/worker/${name}`, serial, not_after: "2126-01-01T00:00:00Z" },
    ...(isRevoked && serial === "cc00" ? { revoked: "2026-07-01T00:00:00Z" } : {}),
  });
  const nodes = (body: unknown) => {
    if ((body as { readonly after?: object }).after !== undefined) return { nodes: [node("worker-77", "cc00")] };
    looks += 1;
    return { nodes: [node("worker-01", "c1"), node("worker-02", "c2")], after: { not_after: 0, rowid: 2 } };
  };
  const world = await openConsoleWorld({
    page: (await buildConsolePage()).files,
    routes: {
      ...recordingRoutes(asked),
      "POST /ca/nodes": (body) => Promise.resolve({ status: 200, body: nodes(body) }),
    },
    look: () => Promise.resolve({ ...caParts, certificates }),
  });
  const page = await enter(world);
  const readAgain = async () => {
    const before = looks;
    certificates += 1;
    while (looks === before) await page.waitForTimeout(20);
    await page.waitForTimeout(200); // the answer is drawn
  };
  await view(page, "Certificates");
  await page.getByLabel("Filter").fill("worker-77");
  await page.getByText("No row of those shown matches the filter. Show more of the register.").waitFor();
  await page.getByLabel("Filter").fill("");
  await page.getByRole("button", { name: "Show more of the register" }).click();
  await page.getByRole("button", { name: "Revoke worker-77" }).click();
  await readAgain();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Revoke worker-77" }).click();
  await dialog.getByRole("status").waitFor();
  isRevoked = true;
  await readAgain();
  assert.match(await dialog.getByRole("status").innerText(), "Revoked 1 certificate(s)");
  await dialog.getByRole("button", { name: "Close" }).click();
  assert.is(await page.getByRole("button", { name: "Revoke worker-77" }).count(), 0);
  await page.close();
  await world.close();
});

/** Puts a page out of view, or back into it. All pages of a chromium without a window are in view. */
const setHidden = (page: Page, isHidden: boolean) =>
  page.evaluate((isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, value: isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);

test("bug: six open tabs held all connections of the browser: no act was answered", async () => {
  const pages: Page[] = [];
  for (let tab = 0; tab < feedReadersMax + 1; tab++) {
    const page = await enter(gateway!);
    pages.push(page);
    if (tab < feedReadersMax) await setHidden(page, true);
  }
  const dialog = pages.at(-1)!.getByRole("dialog");
  await pages.at(-1)!.getByRole("button", { name: "Reload files" }).click();
  await dialog.getByRole("button", { name: "Reload files" }).click();
  await dialog.getByRole("status").waitFor();
  assert.equal(asked, [["POST /reload", {}]]);
  await pages[0]!.getByText("connecting", { exact: true }).waitFor();
  await setHidden(pages[0]!, false);
  await pages[0]!.getByText("live", { exact: true }).waitFor();
  assert.equal(faults, []);
  await Promise.all(pages.map((page) => page.close()));
});

test("bug: an act that was sent could be cancelled: it was done, and its dialog did not show it", async () => {
  let finish = () => {};
  const reload = new Promise<void>((resolve) => (finish = resolve));
  const world = await openConsoleWorld({
    page: (await buildConsolePage()).files,
    routes: { "POST /reload": () => reload.then(() => ({ status: 200, body: {} })) },
    look: () => Promise.resolve({ ...gatewayParts(1), acts: ["POST /reload"] }),
  });
  const page = await enter(world);
  await page.getByRole("button", { name: "Reload files" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Reload files" }).click();
  await dialog.getByText("The request was sent and cannot be cancelled.").waitFor();
  assert.ok(await dialog.getByRole("button", { name: "Cancel" }).isDisabled());
  for (let presses = 0; presses < 3; presses++) await page.keyboard.press("Escape"); // chromium lets a page keep one
  await page.waitForTimeout(100);
  assert.ok(await dialog.isVisible());
  finish();
  assert.is(await dialog.getByRole("status").innerText(), "The node reads its files. The result is in its log.");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await page.close();
  await world.close();
});

test("bug: an act that waited for a connection of the browser was sent when another tab was closed", async () => {
  const pages: Page[] = [];
  // Tabs of their own: a clock is that of all tabs of a context.
  const tabs = await browser.newContext();
  for (let tab = 0; tab < 6; tab++) pages.push(await enter(gateway!, tabs));
  const page = pages.at(-1)!;
  await page.clock.install();
  await page.getByRole("button", { name: "Reload files" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Reload files" }).click();
  await page.waitForTimeout(200);
  await page.clock.fastForward(61_000);
  const outcome = await dialog.getByRole("alert").innerText();
  assert.match(outcome, /^Warning: The program did not answer\.[\s\S]*not known whether this was done/);
  await pages[0]!.close();
  await page.waitForTimeout(500);
  assert.equal(asked, []);
  await tabs.close();
});

test("a keyboard is enough: to another view, into a dialog, out of it, and to an approval", async () => {
  const page = await enter(ca!);
  const focused = () =>
    page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
  const tabTo = async (name: string) => {
    for (let presses = 0; presses < 60 && await focused() !== name; presses++) await page.keyboard.press("Tab");
    assert.is(await focused(), name);
  };
  await page.keyboard.press("Tab");
  assert.is(await focused(), "Skip to content");
  await tabTo("Certificates");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Enrolments that wait" }).waitFor();
  const identity = "spiffe://acme.example/worker/worker-09";
  await tabTo(`Approve ${identity}`);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  assert.is(await page.getByRole("dialog").count(), 0);
  assert.is(await focused(), `Approve ${identity}`);
  assert.not(asked.some(([route]) => route === "POST /ca/decide"));
  await page.keyboard.press("Enter");
  await tabTo("Cancel");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("Approved.").waitFor();
  assert.equal(asked.at(-1), ["POST /ca/decide", { id: "r-1", decision: "approved" }]);
  await page.close();
});

/** In the page: what is wider than the screen, has no name, or too little contrast (WCAG 2.2 §1.4.3, §1.4.10, §4.1.2). */
function inspect(): readonly string[] {
  const found: string[] = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`${document.documentElement.scrollWidth} px wide`);
  for (const element of document.querySelectorAll("button, a[href], input, select")) {
    const labels = element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? element.labels : null;
    const name = element.getAttribute("aria-label") ?? (labels?.[0]?.textContent || element.textContent);
    if ((name ?? "").trim() === "") found.push(`no name: ${element.outerHTML}`);
  }
  const channels = (colour: string) => (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  const luminance = (colour: string) => {
    const [r = 0, g = 0, b = 0] = channels(colour).map((c) => c / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (
    const element of document.querySelectorAll(
      "h1, h2, p, td, th, dt, dd, a, button, .hint, .warn, .bad, .good, .do, figcaption",
    )
  ) {
    let behind: Element | null = element;
    while (behind !== null && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
      behind = behind.parentElement;
    }
    const [front, back] = [getComputedStyle(element).color, getComputedStyle(behind ?? document.body).backgroundColor]
      .map(luminance).toSorted((one, other) => other - one);
    const ratio = ((front ?? 0) + 0.05) / ((back ?? 0) + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(1)}: ${element.outerHTML.slice(0, 80)}`);
  }
  return [...new Set(found)];
}

const views = ["Network", "Certificates", "Revocations", "Refusals", "Trainings", "Machines", "Audit"];

for (const colorScheme of ["light", "dark"] as const) {
  test(`every view fits 360 px, ${colorScheme}, with names and contrast`, async () => {
    const tabs = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme });
    tabs.setDefaultTimeout(waitMs);
    for (const world of [gateway!, scheduler!, ca!]) {
      const page = await enter(world, tabs);
      for (const name of views) {
        await view(page, name);
        await page.waitForTimeout(50); // a chart takes its width from its place
        assert.equal(await page.evaluate(inspect), [], `${name} of ${world === ca ? "the CA" : "a node"}`);
      }
      assert.equal(faults, []);
      await page.close();
    }
    await tabs.close();
  });
}

test("markup in names is shown as text, and does nothing", async () => {
  for (const world of [gateway!, scheduler!, ca!]) {
    const page = await enter(world);
    for (const name of views) {
      await view(page, name);
      assert.is(await page.locator("main img, main script").count(), 0, name);
    }
    await view(page, "Certificates");
    await page.getByText(evilName).first().waitFor();
    assert.is(await page.evaluate(() => (globalThis as { attacked?: number }).attacked), undefined);
    await page.close();
  }
});

test("bug: a part of the feed with U+2028 or U+2029 in it was dropped", async () => {
  const world = await open({ ...gatewayParts(1), name: "gateway\u2028\u2029one" });
  const page = await enter(world);
  await page.locator("header strong", { hasText: /gateway\s+one/ }).waitFor();
  await page.close();
  await world.close();
});

test("a script that found its way into the page is not run", async () => {
  const page = await enter(gateway!);
  const blocked = await page.evaluate(() => {
    try {
      document.body.innerHTML = "<img src=x>";
      return "taken";
    } catch (error) {
      return (error as Error).name;
    }
  });
  assert.is(blocked, "TypeError", "Trusted Types");
  await page.close();
});

test("a page of another port, with the console's cookie, can do nothing", async () => {
  const mine = await enter(gateway!);
  const hostile = createServer((_, response) =>
    response.setHeader("content-type", "text/html").end("<title>hostile</title>")
  );
  await new Promise<void>((resolve) => hostile.listen(0, "127.0.0.1", resolve));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${(hostile.address() as AddressInfo).port}/`);
  const target = `http://${gateway!.authority}`;
  const sent = await page.evaluate(async (target) => {
    const attempts = [
      fetch(`${target}/drain`, { method: "POST", credentials: "include", mode: "no-cors", body: "{}" }),
      fetch(`${target}/feed`, { credentials: "include" }),
      fetch(`${target}/drain`, {
        method: "POST",
        credentials: "include",
        headers: { "x-hypha-console": "x" },
        body: "{}",
      }),
    ];
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.src = target;
    const form = document.body.appendChild(document.createElement("form"));
    Object.assign(form, { method: "post", action: `${target}/drain`, target: "_blank" });
    const answers = await Promise.allSettled(attempts);
    return answers.map((answer) => answer.status === "fulfilled" ? answer.value.type : "failed");
  }, target);
  assert.equal(sent, ["failed", "failed", "failed"]);
  await page.evaluate(() => document.forms[0]?.submit());
  await page.waitForTimeout(300);
  assert.equal(asked, []);
  await Promise.all([page.close(), mine.close()]);
  hostile.close();
});

test("a program that ends is shown as gone, and one that was started again asks for its new address", async () => {
  const world = await open(gatewayParts(1));
  const page = await enter(world);
  await world.close();
  await page.getByText("not connected").waitFor();
  const { files } = await buildConsolePage();
  const again = await openConsoleWorld({
    ...{ page: files, routes: {}, look: () => Promise.resolve({}) },
    place: { host: "127.0.0.1", port: world.port },
  });
  await page.getByRole("heading", { name: "The session is over" }).waitFor();
  await page.close();
  await again.close();
});

/** Longest task and heap of a page that is fed. */
(process.env["HYPHA_CONSOLE_LOAD"] === undefined ? () => {} : test)(
  "1,000 nodes: no task over 100 ms in 10 s, page heap of at most 100 MB",
  async () => {
    const { files } = await buildConsolePage();
    let turn = 0;
    const world = await openConsoleWorld({
      ...{ page: files, routes: recordingRoutes(asked), lookMs: 1_000 },
      look: () => Promise.resolve(gatewayParts(1_000 - (turn++ % 2))), // connections come and go
    });
    const page = await enter(world);
    await page.waitForTimeout(2_000); // the first drawing
    const seen = await page.evaluate(async () => {
      let longestMs = 0;
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) longestMs = Math.max(longestMs, duration);
      }).observe({ type: "longtask" });
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      const { memory } = performance as unknown as { readonly memory: { readonly usedJSHeapSize: number } };
      return { longestMs, heapBytes: memory.usedJSHeapSize };
    });
    console.log(
      `1,000 nodes: longest task ${Math.round(seen.longestMs)} ms, heap ${Math.round(seen.heapBytes / 1e6)} MB`,
    );
    assert.ok(seen.longestMs <= 100, `${seen.longestMs} ms`);
    assert.ok(seen.heapBytes <= 100e6, `${seen.heapBytes} bytes`);
    await page.close();
    await world.close();
  },
);

test.run();
