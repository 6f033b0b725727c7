/**
 * Attacks on the surroundings: the network, sockets without a file, other processes, the worker itself.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { networkInterfaces } from "node:os";
import process from "node:process";
import type { Attack } from "./attacks.ts";
import { escapes } from "./hostile.ts";
import { runJob } from "./world.ts";

let listeners = 0;

/** Listeners of the host: TCP on every address, UDP, and an abstract socket, in a separate process. */
async function withListeners<A>(
  node: string,
  use: (at: { readonly port: number; readonly abstract: string }) => Promise<A>,
): Promise<A> {
  const abstract = `hypha-attack-${process.pid}-${listeners += 1}`;
  const code = `const net = require("node:net");
    const serve = () => net.createServer((socket) => { socket.on("error", () => {}); socket.end("here"); });
    serve().listen("\\0" + process.argv[1]);
    const tcp = serve().listen(0, "0.0.0.0", () => console.log(tcp.address().port));`;
  const child = spawn(node, ["-e", code, abstract], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const port = await new Promise<number>((resolve) => child.stdout.once("data", (text) => resolve(Number(text))));
    return await use({ port, abstract });
  } finally {
    process.kill(child.pid as number, "SIGKILL");
  }
}

const connector = `const net = require("node:net"), dgram = require("node:dgram"), dns = require("node:dns");
  const connect = (options) => new Promise((resolve) => {
    const socket = net.connect(options, () => { socket.destroy(); resolve(true); });
    socket.on("error", () => resolve(false)).setTimeout(1000, () => { socket.destroy(); resolve(false); });
  });`;

const network: Attack = {
  id: "network",
  run: (world) =>
    withListeners(world.node, async ({ port }) => {
      const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []).filter(({ family }) =>
        family === "IPv4"
      )
        .map(({ address }) => address);
      const hosts = [...new Set(["127.0.0.1", ...own])];
      const code = `${connector} (async () => {
        for (const host of ${JSON.stringify(hosts)}) {
          if (await connect({ host, port: ${port} })) console.log("ESCAPED tcp", host);
        }
        const interfaces = Object.keys(require("node:os").networkInterfaces()).filter((name) => name !== "lo");
        if (interfaces.length > 0) console.log("ESCAPED interfaces", interfaces.join());
      })();`;
      return escapes(await runJob(world, { runtime: "node", code }), hosts.length + 1);
    }),
};

const abstractSocket: Attack = {
  id: "abstract-socket",
  run: (world) =>
    withListeners(world.node, async ({ abstract }) => {
      const code =
        `${connector} connect({ path: "\\0${abstract}" }).then((is) => is && console.log("ESCAPED abstract"));`;
      return escapes(await runJob(world, { runtime: "node", code }));
    }),
};

const processes: Attack = {
  id: "see-processes",
  run: async (world) => {
    // In another namespace the number may be that of another process: the arguments identify the worker.
    const mark = process.argv[1] ?? "attack";
    const code = `tr "\\0" "\\n" < /proc/${process.pid}/cmdline 2>/dev/null | grep -qF ${JSON.stringify(mark)} &&
      echo ESCAPED see worker
      kill -0 ${process.pid} 2>/dev/null && echo ESCAPED signal worker
      cat /proc/${process.pid}/environ >/dev/null 2>&1 && echo ESCAPED environment of worker
      exit 0`;
    return escapes(await runJob(world, { code }), 3);
  },
};

const killWorker: Attack = {
  id: "debug-worker",
  run: async (world) => {
    const code = `head -c 1 /proc/${process.pid}/mem 2>/dev/null; [ -r /proc/${process.pid}/maps ] &&
      cat /proc/${process.pid}/maps >/dev/null 2>&1 && echo ESCAPED memory of worker; exit 0`;
    return escapes(await runJob(world, { code }));
  },
};

const becomeRoot: Attack = {
  id: "gain-privileges",
  run: async (world) => {
    const code = `[ "$(id -u)" = 0 ] && echo ESCAPED is root
      grep -q "^CapEff:.*[1-9a-f]" /proc/self/status && echo ESCAPED capabilities
      grep -q "^NoNewPrivs:.*1" /proc/self/status || echo ESCAPED may gain privileges
      mount -t tmpfs none /tmp 2>/dev/null && echo ESCAPED mount
      exit 0`;
    return escapes(await runJob(world, { code }), 4);
  },
};

const environment: Attack = {
  id: "read-environment",
  run: async (world) => {
    process.env["HYPHA_ATTACK_SECRET"] = "secret";
    const job = await runJob(world, { code: 'env | grep -q HYPHA_ATTACK && echo "ESCAPED environment"; exit 0' });
    delete process.env["HYPHA_ATTACK_SECRET"];
    return escapes(job);
  },
};

export const reachAttacks: readonly Attack[] = [
  network,
  abstractSocket,
  processes,
  killWorker,
  becomeRoot,
  environment,
];
