/**
 * The command that puts an executor into its cell: a chain of programs, each of which confines more and then executes the next.
 * No shell parses text of a job or an operator: the scripts below are fixed, and all else is an argument of theirs.
 *
 * The purpose of each step:
 * - `bash`: closes every descriptor that was inherited (Deno hands its children all that it inherited itself), joins the
 *   control groups, and, for root, binds the files that the executor may see into a private file system that a job's user
 *   can reach independent of the permissions above it.
 * - `prlimit`: limits of each process.
 * - `setpriv`: the job's own user, no capability, no way to gain one; killed when the worker ends.
 * - `sh` (guard): ends the chain if the worker ended before `setpriv` took effect.
 * - `bwrap` or `unshare`: namespaces. As root, bubblewrap alone would leave `/proc/sys` writable: hence `setpriv` before it.
 * - `sh` (gate): waits until the worker lets it go, so that a worker that ends meanwhile leaves no process running.
 *
 * @module
 */
import { basename, dirname, isAbsolute } from "node:path";
import process from "node:process";
import type { Command } from "../command.ts";
import type { CellConfig } from "./bounds.ts";
import { type Cell, isGrouped } from "./cell.ts";

/** A job that runs in a cell. */
export interface CellPlace {
  /** The work directory's path on this machine. */
  readonly directory: string;
  /** The job's own user and group; undefined where it runs as the worker's. */
  readonly user?: number | undefined;
  /** Files that a process writes its number into to join the job's control groups. */
  readonly cgroupProcs: readonly string[];
}

/** The path of the work directory inside a cell with a root of its own. */
const insideDirectory = "/job";

/** Descriptors of the chain: bubblewrap's status, and the gate. */
export const statusFd = 3, gateFd = 4;

const head = `for f in /proc/self/fd/*; do n=\${f##*/}; [ "$n" -gt 4 ] && eval "exec $n>&-"; done
set -e
while [ "$1" != -- ]; do case $1 in
join) echo $$ > "$2"; shift 2;;
accounts) exec 5<<<"$2" 6<<<"$3"; shift 3;;
stage) mount -t tmpfs -o mode=0711,size=1m,nosuid,nodev cell "$2"; shift 2;;
bind) if [ -d "$2" ]; then mkdir "$3"; else : > "$3"; fi; mount --rbind "$2" "$3"; shift 3;;
*) exit 125;;
esac; done
shift; exec "$@"`;
const guard = '[ "$PPID" = "$1" ] || exit 125; shift; exec "$@"';
const gate = 'echo R >&4; read g <&4 || exit 125; exec 3>&- 4>&-; exec "$@"';

/**
 * The first process of a namespace ignores signals that it does not handle, including the kernel's own for a limit. So the shell
 * stays the first process, and the executor is its child. The text after the last command keeps the shell from executing it
 * in its own place.
 */
const gateOfNamespace = 'echo R >&4; read g <&4 || exit 125; exec 3>&- 4>&-; "$@"; exit $?';

/** Size of a cell's `/tmp`, in memory. Shared memory, which processes of one training exchange data by, is half of the job's memory. */
const scratchBytes = 64 * 1024 * 1024;
/** Directories over which a private file system may be mounted. The first one that the job does not need is taken. */
const stages = ["/mnt", "/media", "/srv", "/opt", "/home"];

/** Whether a cell has a root directory of its own. */
export function hasOwnRoot({ level }: Cell): boolean {
  return level === "full" || level === "root";
}

/** The path under which an executor finds its work directory. */
export function workDirIn(cell: Cell, directory: string): string {
  return hasOwnRoot(cell) ? insideDirectory : directory;
}

/** Wraps an executor's command. `pid` is the worker's. */
export function cellCommand(
  cell: Cell,
  config: CellConfig,
  place: CellPlace,
  command: Command,
  pid: number = process.pid,
): Command {
  if (cell.chain === "none") return command;
  const binds = hasOwnRoot(cell) ? bindsOf(config, command) : [];
  const staged = cell.level === "full" && place.user !== undefined ? stage(place, binds) : undefined;
  const sources = staged ?? { steps: [], directory: place.directory, binds };
  const [file = "", ...args] = [
    ...(staged === undefined ? [] : ["unshare", "--mount", "--propagation", "private"]),
    "bash",
    "-c",
    head,
    "cell",
    ...place.cgroupProcs.flatMap((path) => ["join", path]),
    ...sources.steps,
    ...(hasOwnRoot(cell) ? ["accounts", ...accountsOf(place.user ?? process.getuid?.() ?? 0)] : []),
    "--",
    ...processLimits(cell, config),
    ...privileges(cell, place.user),
    "sh",
    "-c",
    guard,
    "cell",
    String(pid),
    ...namespaces(cell, config, sources),
    ...(cell.level === "root" ? jobUser(place.user) : []),
    ...processCount(cell, config, place),
    "sh",
    "-c",
    cell.level === "namespaces" ? gateOfNamespace : gate,
    "gate",
    command.file,
    ...command.args,
  ];
  const env = { ...command.env, HOME: workDirIn(cell, place.directory) };
  return { file, args, env, cwd: place.directory, gated: true };
}

interface Bind {
  readonly source: string;
  readonly target: string;
  /** A device can be used, not only seen. */
  readonly isDevice?: true;
}

/** `/etc/passwd` and `/etc/group` of a cell: libraries look up the name of their own user. They have no account of the machine but root and `nobody`. */
function accountsOf(user: number): readonly [passwd: string, group: string] {
  const shell = "/usr/sbin/nologin";
  const nobody = user === 65_534 ? [] : [`nobody:x:65534:65534:nobody:/nonexistent:${shell}`];
  const nogroup = user === 65_534 ? [] : ["nogroup:x:65534:"];
  const root = user === 0 ? [] : [`root:x:0:0:root:/nonexistent:${shell}`];
  return [
    [...root, `job:x:${user}:${user}:job:${insideDirectory}:/bin/sh`, ...nobody].join("\n"),
    [...(user === 0 ? [] : ["root:x:0:"]), `job:x:${user}:`, ...nogroup].join("\n"),
  ];
}

/**
 * The paths that an executor may read: its program, and those that the operator names. `/usr` is always readable. The devices of
 * its GPUs; with them `/sys`, in which drivers look for their devices.
 */
function bindsOf({ readOnly, devices }: CellConfig, { file }: Command): readonly Bind[] {
  const program = `${dirname(file)}/${basename(file)}`;
  const paths = [...readOnly, ...(devices.length > 0 ? ["/sys"] : []), ...(isAbsolute(program) ? [program] : [])]
    .filter((path) => !/^\/(usr|bin|lib|lib64)\//.test(path));
  // Outer directories first: a path inside a bound directory is bound with it.
  const read = [...new Set(paths)].sort()
    .filter((path, index, all) => !all.slice(0, index).some((outer) => path.startsWith(`${outer}/`)))
    .map((path) => ({ source: path, target: path }));
  return [...read, ...devices.map((path): Bind => ({ source: path, target: path, isDevice: true }))];
}

/** Binds everything into one private place: the job's user may not be able to search the directories above it. */
function stage(place: CellPlace, binds: readonly Bind[]) {
  const needed = [place.directory, ...binds.map(({ source }) => source), ...place.cgroupProcs];
  const at = stages.find((path) => !needed.some((source) => source === path || source.startsWith(`${path}/`))) ??
    "/mnt";
  const staged = binds.map((bind, index): Bind => ({ ...bind, source: `${at}/${index}` }));
  return {
    steps: [
      "stage",
      at,
      ...["bind", place.directory, `${at}/job`],
      ...binds.flatMap(({ source }, index) => ["bind", source, `${at}/${index}`]),
    ],
    directory: `${at}/job`,
    binds: staged,
  };
}

/**
 * Where a control group limits the memory, the size of private data is not limited: it counts the stacks of threads that use
 * none of it, 8 MiB each.
 */
function processLimits(cell: Cell, { openFilesMax, diskBytes, cpuSeconds, memoryBytes }: CellConfig): string[] {
  return [
    "prlimit",
    "--core=0",
    `--nofile=${openFilesMax}`,
    `--fsize=${diskBytes}`,
    ...(cpuSeconds === undefined ? [] : [`--cpu=${cpuSeconds}:${cpuSeconds + 2}`]),
    ...(isGrouped(cell, "memory") ? [] : [`--data=${memoryBytes}`]),
  ];
}

/** Where a control group counts processes, the user's are not counted: only the group's counter says that the limit was reached. */
function processCount(cell: Cell, { pidsMax }: CellConfig, { user }: CellPlace): string[] {
  const isShared = user === undefined && cell.level === "bare";
  return isGrouped(cell, "pids") || isShared ? [] : ["prlimit", `--nproc=${pidsMax}`];
}

/** At level `root` bubblewrap itself needs to be root: the user changes inside. */
function privileges({ level }: Cell, user: number | undefined): string[] {
  return level === "root" || user === undefined
    ? ["setpriv", ...(level === "root" ? [] : ["--no-new-privs"]), "--pdeathsig", "KILL"]
    : [...jobUser(user), "--pdeathsig", "KILL"];
}

function jobUser(user: number | undefined): string[] {
  if (user === undefined) return [];
  return [
    "setpriv",
    `--reuid=${user}`,
    `--regid=${user}`,
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
  ];
}

function namespaces(
  { level }: Cell,
  { memoryBytes }: CellConfig,
  { directory, binds }: { readonly directory: string; readonly binds: readonly Bind[] },
): string[] {
  if (level === "bare") return [];
  if (level === "namespaces") {
    return [
      "unshare",
      ...["--user", "--map-current-user", "--net", "--ipc", "--uts", "--pid", "--mount"],
      ...["--fork", "--kill-child", "--mount-proc"],
    ];
  }
  return [
    "bwrap",
    ...(level === "full"
      ? ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
      : ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]),
    ...["--die-with-parent", "--new-session"],
    ...(level === "full" ? ["--hostname", "cell"] : []),
    ...["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"],
    ...[
      "--symlink",
      "usr/bin",
      "/bin",
      "--perms",
      "0755",
      "--dir",
      "/etc",
      "--ro-bind-try",
      "/etc/alternatives",
      "/etc/alternatives",
    ],
    ...["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"],
    ...["--perms", "0644", "--file", "5", "/etc/passwd", "--perms", "0644", "--file", "6", "/etc/group"],
    ...["--perms", "1777", "--size", String(scratchBytes), "--tmpfs", "/tmp"],
    ...["--perms", "1777", "--size", String(Math.floor(memoryBytes / 2)), "--tmpfs", "/dev/shm"],
    // As root, bubblewrap would make them 0700.
    ...parentsOf(binds.map(({ target }) => target)).flatMap((path) => ["--perms", "0755", "--dir", path]),
    ...binds.flatMap(({ source, target, isDevice }) => [
      isDevice === true ? "--dev-bind" : "--ro-bind",
      source,
      asItStands(target),
    ]),
    ...["--bind", directory, insideDirectory, "--remount-ro", "/dev", "--remount-ro", "/"],
    ...["--chdir", insideDirectory, "--json-status-fd", String(statusFd), "--"],
  ].map((arg, index, all) => all[index - 1] === "--ro-bind" ? asItStands(arg) : arg);
}

/** Every directory above the paths, outer ones first. */
function parentsOf(paths: readonly string[]): readonly string[] {
  const parents = paths.flatMap((path) => {
    const parts = path.split("/").slice(1, -1);
    return parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
  });
  return [...new Set(parents)].filter((path) =>
    !/^\/(usr|bin|lib|lib64|proc)(\/|$)|^\/(tmp|dev|dev\/shm|dev\/pts)$/.test(path)
  );
}

/** See `command.ts`: Deno rewrites an argument that equals its own path. */
function asItStands(path: string): string {
  return path === process.execPath ? `${dirname(path)}/./${basename(path)}` : path;
}
