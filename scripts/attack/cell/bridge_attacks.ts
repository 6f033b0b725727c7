/**
 * Attacks through the bridge, and on it.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import process from "node:process";
import type { Attack, AttackResult } from "./attacks.ts";
import { askBridge, escapes } from "./hostile.ts";
import { attackWeb, type AttackWorld, eventually, type HostileJob, runJob, startJob } from "./world.ts";

const fetchOne = (uri: string) =>
  `${askBridge} ask("/resources/fetch", { type: "uri", value: ${JSON.stringify(uri)} }).then(({ status, text }) =>
    status === 200 ? console.log("ESCAPED", text) : console.log("refused", status, text));`;

/** Each address is named by the job's own specification: the scheduler is hostile too. */
const deniedAddresses: Attack = {
  id: "denied-address",
  run: async (world) => {
    let reached = 0;
    return await withServer((_, response) => {
      reached += 1;
      response.end("secret");
    }, async (port) => {
      const escaped: string[] = [];
      const hosts = ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "rebound.test", "169.254.169.254"];
      for (const host of hosts) {
        const uri = `http://${host}:${port}/x`;
        const web = attackWeb(() => ["93.184.216.34", "127.0.0.1"]);
        const job = await runJob(world, { runtime: "node", code: fetchOne(uri), uri, web });
        escaped.push(...escapes(job).escaped);
        if (!job.output().some((line) => line.startsWith("refused 403"))) escaped.push(`${host}: no job-scope refusal`);
      }
      return { attempts: hosts.length, escaped: reached > 0 ? [...escaped, `${reached} connections`] : escaped };
    });
  },
};

const redirect: Attack = {
  id: "redirect-inside",
  run: (world) =>
    withServer((request, response) => {
      if (request.url === "/hop") response.writeHead(302, { location: "http://inside.test/secret" }).end();
      else response.end("secret");
    }, async (port) => {
      const uri = `http://outside.test:${port}/hop`;
      const web = attackWeb((host) => [host === "outside.test" ? "127.0.0.1" : "10.0.0.1"], {
        denyCidr: ["10.0.0.0/8"],
      });
      return escapes(await runJob(world, { runtime: "node", code: fetchOne(uri), uri, web }));
    }),
};

const outOfScope: Attack = {
  id: "out-of-scope",
  run: async (world) => {
    const job = await runJob(world, { runtime: "node", code: fetchOne("http://other.test/x") });
    const refusals = job.reports.filter(({ fields }) => fields?.["code"] === "job-scope").length;
    const { attempts, escaped } = escapes(job);
    return { attempts, escaped: refusals === 1 ? escaped : [...escaped, "no job-scope refusal was logged"] };
  },
};

const otherBridge: Attack = {
  id: "other-bridge",
  run: async (world) => {
    const honest = startJob(world, { code: "echo ready; sleep 20", token: "required" });
    await eventually(() => honest.output().includes("ready"), 30_000);
    const socket = `${honest.directory()}/bridge.sock`;
    const code = `${askBridge}
      (async () => {
        for (const token of [undefined, process.env.BRIDGE_TOKEN, "x"]) {
          const { status } = await ask("/status/send", {}, ${JSON.stringify(socket)}, token);
          if (status !== 0 && status !== 401) console.log("ESCAPED", status);
        }
      })();`;
    const result = escapes(await runJob(world, { runtime: "node", code }), 3);
    honest.cancel();
    await honest.ended(30_000);
    return result;
  },
};

/** A flood against one bridge while an honest job uses its own. */
function flood(id: string, code: string, check: (before: Footprint, after: Footprint) => string[]): Attack {
  return {
    id,
    run: async (world) => {
      const before = footprint();
      const hostile = startJob(world, { runtime: "node", code });
      await eventually(() => hostile.output().includes("flooding"), 30_000);
      const honest = await runJob(world, honestJob);
      const during = footprint();
      await hostile.ended(15_000);
      hostile.cancel();
      await hostile.ended(30_000);
      const { attempts, escaped } = escapes(hostile);
      const unharmed = honest.output().includes("served");
      return {
        attempts,
        escaped: [...escaped, ...check(before, during), ...(unharmed ? [] : ["an honest job was not served"])],
      };
    },
  };
}

const honestJob: HostileJob = {
  runtime: "node",
  code: `${askBridge} ask("/resources/fetch", { type: "nonsense" }).then(({ status }) =>
    console.log(status === 422 ? "served" : "not served " + status));`,
};

const hugeBody = flood(
  "huge-body",
  `const http = require("node:http"); console.log("flooding");
   const request = http.request({ socketPath: process.env.SOCKET_PATH, path: "/resources/send", method: "POST",
     agent: false, headers: { "content-type": "application/json" } });
   const piece = Buffer.alloc(1 << 20, "["); let sent = 0;
   request.on("response", (response) => { if (response.statusCode < 400) console.log("ESCAPED", response.statusCode);
     console.log("answered", response.statusCode); process.exit(0); });
   request.on("error", () => process.exit(0));
   const go = () => { if (sent++ > 10240) { console.log("ESCAPED 10 GB"); process.exit(0); }
     if (request.write(piece)) setImmediate(go); else request.once("drain", go); };
   go(); setTimeout(() => process.exit(0), 5000);`,
  (before, during) => during.rss - before.rss > 256e6 ? [`${during.rss - before.rss} bytes of memory`] : [],
);

const manyHeaders = flood(
  "many-headers",
  `const net = require("node:net"); console.log("flooding");
   const socket = net.connect(process.env.SOCKET_PATH, () => { let text = "POST /resources/send HTTP/1.1\\r\\nhost: x\\r\\n";
     for (let i = 0; i < 10000; i++) text += "x-" + i + ": y\\r\\n"; socket.write(text + "\\r\\n"); });
   socket.on("data", (bytes) => { const status = String(bytes).slice(9, 12);
     if (status.startsWith("2")) console.log("ESCAPED", status); });
   socket.on("error", () => {}).on("close", () => process.exit(0)); setTimeout(() => process.exit(0), 3000);`,
  () => [],
);

const manyConnections = flood(
  "descriptors-of-worker",
  `const net = require("node:net"); let open = 0;
   for (let i = 0; i < 600; i++) { const socket = net.connect(process.env.SOCKET_PATH, () => { open++; socket.write("P"); });
     socket.on("error", () => {}).on("close", () => { open--; }); }
   setTimeout(() => { console.log("flooding"); if (open > 128) console.log("ESCAPED", open, "connections"); }, 700);
   setTimeout(() => process.exit(0), 2500);`,
  (before, during) => during.fds - before.fds > 200 ? [`${during.fds - before.fds} descriptors`] : [],
);

const byteASecond = flood(
  "byte-a-second",
  `const net = require("node:net"); console.log("flooding");
   for (let i = 0; i < 64; i++) { const socket = net.connect(process.env.SOCKET_PATH); socket.on("error", () => {});
     const text = "POST /resources/send HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ncontent-length: 9\\r\\n\\r\\n";
     let at = 0; setInterval(() => socket.write(text[at++] ?? " "), 1000).unref(); }
   setTimeout(() => process.exit(0), 3000);`,
  () => [],
);

interface Footprint {
  readonly fds: number;
  readonly rss: number;
}

function footprint(): Footprint {
  return { fds: readdirSync("/proc/self/fd").length, rss: process.memoryUsage().rss };
}

async function withServer(
  serve: RequestListener,
  use: (port: number) => Promise<AttackResult>,
): Promise<AttackResult> {
  const server = createServer(serve);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", () => listening()));
  try {
    return await use((server.address() as { port: number }).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Two jobs on one worker, one of them hostile: the honest one finishes. */
const hostileNeighbour: Attack = {
  id: "hostile-neighbour",
  run: async (world: AttackWorld) => {
    const hostile = startJob(world, {
      code: `echo ready; (sleep 30 &); while :; do head -c 8M /dev/zero > a$RANDOM 2>/dev/null; rm -f a*; done`,
      cell: { diskBytes: 16_777_216, cpuSeconds: 20 },
    });
    await eventually(() => hostile.output().includes("ready"), 30_000);
    const honest = await runJob(world, {
      code: 'i=0; s=0; while [ $i -lt 20000 ]; do i=$((i+1)); s=$((s+i)); done; echo "sum $s"; echo $s > result',
    }, 20_000);
    const outcome = await honest.ended(0);
    hostile.cancel();
    await hostile.ended(30_000);
    const right = outcome?.type === "finished" && honest.output().includes("sum 200010000");
    return { attempts: 1, escaped: right ? escapes(hostile).escaped : [`the honest job: ${JSON.stringify(outcome)}`] };
  },
};

export const bridgeAttacks: readonly Attack[] = [
  deniedAddresses,
  redirect,
  outOfScope,
  otherBridge,
  hugeBody,
  manyHeaders,
  manyConnections,
  byteASecond,
  hostileNeighbour,
];
