/**
 * Ports of the loopback interface for programs that are configured with them.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Free ports of the loopback interface, now: different ones. None of those that the system gives to outgoing connections: another program
 * could get one before its node starts.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(20_000, 32_000);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

/** One of {@linkcode freePorts}. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port as number;
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
