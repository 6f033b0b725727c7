/**
 * A user for one job: a number that no other process on the machine runs as.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { Effect } from "effect";
import { runTool } from "./tool.ts";

/** Numbers that systemd reserves for dynamic users: no distribution gives them to an account. */
const userMin = 61_184, userMax = 65_519;
/** Tries of drawing a free number. */
const drawsMax = 64;

/** Users of running jobs of this worker. */
const taken = new Set<number>();

/** Takes a user; undefined where all drawn ones are in use. Not a secret, but it must differ between workers. */
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

/** Releases a user. */
export function freeJobUser(user: number): void {
  taken.delete(user);
}

/** Ends all processes that run as a job's user, including those that left its process group. */
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
