/**
 * A user for one job: a number that nothing else on the machine runs as.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { Effect } from "effect";
import { runTool } from "./tool.ts";

/** Numbers that systemd keeps for users made on the fly: no distribution gives them to an account. */
const userMin = 61_184, userMax = 65_519;
/** Draws before giving up. */
const drawsMax = 64;

/** Users of running jobs of this worker. */
const taken = new Set<number>();

/** Takes a user; undefined where all that were drawn are in use. It is not a secret, but must differ between workers. */
export function takeJobUser(): number | undefined {
  const running = usersOfProcesses();
  for (let draws = 0; draws < drawsMax; draws++) {
    const user = randomInt(userMin, userMax + 1);
    if (taken.has(user) || running.has(user)) continue;
    taken.add(user);
    return user;
  }
  return undefined;
}

/** Gives a user back. */
export function freeJobUser(user: number): void {
  taken.delete(user);
}

/** Ends everything that runs as a job's user: what left its process group too. */
export function endUser(user: number): Effect.Effect<void> {
  if (user < userMin || user > userMax) return Effect.void;
  const as = [`--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
  return Effect.ignore(runTool("setpriv", [...as, "kill", "-KILL", "--", "-1"]));
}

function usersOfProcesses(): ReadonlySet<number> {
  const users = new Set<number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      users.add(statSync(`/proc/${name}`).uid);
    } catch { /* it ended meanwhile */ }
  }
  return users;
}
