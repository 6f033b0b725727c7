/**
 * Commands in a pseudo-terminal, and what a reader sees there: a model of a terminal that knows what the demo writes, and refuses
 * all else. `script` (util-linux) makes the pseudo-terminal, so that both runtimes need no native module.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";

/** What stands on a terminal, its history included. */
export class Terminal {
  columns: number;
  /** Rows from the first to the last that was written. */
  readonly rows: string[] = [""];
  /** Lines that were wider than the terminal: the terminal went on in the next row by itself. */
  readonly wrapped: string[] = [];
  #column = 0;
  #unread = "";

  constructor(columns: number) {
    this.columns = columns;
  }

  /** Takes what a program wrote. */
  write(text: string): void {
    this.#unread += text;
    for (;;) {
      // deno-lint-ignore no-control-regex -- that is what terminals read
      const [piece] = /^(?:\x1b\[[0-9;?]*[A-Za-z]|[^\x1b])/u.exec(this.#unread) ?? [];
      if (piece === undefined) break;
      this.#unread = this.#unread.slice(piece.length);
      this.#take(piece);
    }
    if (this.#unread.length > 20) throw new Error(`Cannot read as a terminal: ${JSON.stringify(this.#unread)}`);
  }

  #take(piece: string): void {
    const row = this.rows.length - 1;
    if (piece === "\r") this.#column = 0;
    else if (piece === "\n") this.rows.push("");
    else if (piece === "\x1b[2K") this.rows[row] = "";
    else if (piece.startsWith("\x1b[") && piece.endsWith("m")) return; // colours take no room
    else if (piece < " ") throw new Error(`Cannot show ${JSON.stringify(piece)}`);
    else this.#put(piece);
  }

  #put(letter: string): void {
    if (this.#column >= this.columns) {
      this.wrapped.push(this.rows.at(-1) ?? "");
      this.rows.push("");
      this.#column = 0;
    }
    const row = this.rows.pop() ?? "";
    const before = row.slice(0, this.#column).padEnd(this.#column);
    this.rows.push(`${before}${letter}${row.slice(this.#column + letter.length)}`);
    this.#column += letter.length;
  }
}

/** A command that runs in a pseudo-terminal. */
export interface InTerminal {
  readonly child: ChildProcess;
  readonly terminal: Terminal;
  /** Everything that was written, as it came. */
  readonly written: () => string;
  /** The command's exit code. */
  readonly ended: Promise<number | null>;
  /** Gives the terminal another width, as a window that is resized does. */
  resize(columns: number): Promise<void>;
  /** Ctrl-C: the terminal sends SIGINT to the command and to all that is in its process group. */
  interrupt(): void;
}

/** What a shell takes as one word. */
const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Starts a command in a pseudo-terminal of 24 rows.
 *
 * @param words The command and its arguments; `redirect` is the shell's, such as `> out.json`.
 * @param look Called when something was written.
 */
export function startInTerminal(
  words: readonly string[],
  { columns, env, redirect = "", look = () => {} }: {
    readonly columns: number;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly redirect?: string;
    readonly look?: (terminal: Terminal, started: InTerminal) => void;
  },
): InTerminal {
  const marker = "@terminal ";
  const command = `stty cols ${columns} rows 24 -opost -echo; echo "${marker}$(tty)"; exec ${
    words.map(quoted).join(" ")
  } ${redirect}`;
  const child = spawn("script", ["-qefc", command, "/dev/null"], {
    env: {
      ...process.env,
      SHELL: "/bin/sh",
      TERM: "xterm-256color",
      NO_COLOR: "",
      CI: "",
      ...env,
    } as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.on("error", () => {}); // it ended
  const terminal = new Terminal(columns);
  let written = "";
  let tty = "";
  const started: InTerminal = {
    child,
    terminal,
    written: () => written,
    ended: new Promise((resolve) => child.on("close", (code) => resolve(code))),
    interrupt: () => void child.stdin.write("\x03"),
    resize: (to) =>
      new Promise((resolve, reject) => {
        terminal.columns = to;
        const stty = spawn("stty", ["-F", tty, "cols", String(to)], { stdio: ["ignore", "ignore", "inherit"] });
        stty.on("close", (code) => code === 0 ? resolve() : reject(new Error(`stty ended with ${code}`)));
      }),
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    written += text;
    if (tty === "") {
      const [line, name = ""] = new RegExp(`^${marker}(\\S+)\n`).exec(written) ?? [];
      if (line === undefined) return;
      tty = name;
      written = written.slice(line.length);
      terminal.write(written.replaceAll("\n", "\r\n"));
    } else {
      terminal.write(text.replaceAll("\n", "\r\n"));
    }
    look(terminal, started);
  });
  return started;
}
