/**
 * The CA's register: one SQLite file, one writer, one synchronous transaction for each operation.
 *
 * What an operation answers is on disk before it returns (WAL with `synchronous = FULL`; a commit takes 0.3 ms). A transaction
 * contains no `await`: what it enters is signed before it begins. Tables: `register_schema.ts`.
 *
 * Two threads read the same file: one encodes revocation lists, one writes backups. An exclusive lock on a file of its own keeps other
 * processes out.
 *
 * @module
 */
import { closeSync, existsSync, openSync, statSync } from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Result } from "effect";
import type { AuditInbox } from "../audit/audit_inbox.ts";
import type { AuditEvent } from "../audit/audit_record.ts";
import { LogUnusable } from "../audit/log_unusable.ts";
import { type FileLock, lockFile } from "../files/file_lock.ts";
import { AskedThread } from "./asked_thread.ts";
import type { BackupMessage, BackupWork } from "./backup_thread.ts";
import type { ListMessage, ListWork } from "./list_thread.ts";
import { RegisterFailure, registerFailureOf } from "./register_failure.ts";
import { applicationId, approvalSchema, schema, schemaVersion } from "./register_schema.ts";
import { shellWord } from "../files/shell_word.ts";

/** Reads and writes rows inside a transaction. */
export interface RegisterRows {
  /** The first row, or undefined. */
  readonly first: <Row>(sql: string, ...values: readonly SQLInputValue[]) => Row | undefined;
  /** All rows. */
  readonly all: <Row>(sql: string, ...values: readonly SQLInputValue[]) => readonly Row[];
  /** Changes rows; returns how many. */
  readonly change: (sql: string, ...values: readonly SQLInputValue[]) => number;
  /** Takes a record of what the transaction does; it is in the audit log before the transaction is committed. */
  readonly record: (event: AuditEvent) => void;
}

/** Where the register's changes are recorded. */
export type RegisterRecorder = Pick<AuditInbox, "record" | "recordNow">;

/** Statements kept compiled; there are fewer in this room. */
const statementsMax = 128;
/** Pages of the WAL that a commit copies into the file: a megabyte takes a few milliseconds, SQLite's default of four too many. */
const checkpointPages = 256;

/** An open register. */
export class Register {
  readonly file: string;
  /** Encodes revocation lists. */
  readonly lists = new AskedThread<ListWork, ListMessage>("list_thread");
  readonly #backups = new AskedThread<BackupWork, BackupMessage>("backup_thread");
  readonly #database: DatabaseSync;
  readonly #lock: FileLock;
  readonly #rows: RegisterRows;
  /** Counts changed rows: a transaction that changed none says nothing about the disk. */
  readonly #changes = { count: 0 };
  /** Of the present transaction. */
  readonly #events: AuditEvent[] = [];
  #recorder: RegisterRecorder | undefined;
  #failure: RegisterFailure | undefined;

  private constructor(file: string, { database, lock }: OpenFile) {
    this.file = file;
    this.#database = database;
    this.#lock = lock;
    this.#rows = rowsOf(database, this.#changes, this.#events);
  }

  /** Makes a register, 0600. Fails where the file exists. */
  static create(file: string): Result.Result<Register, RegisterFailure> {
    return attempt(file, () => {
      closeSync(openSync(file, "wx", 0o600)); // WAL and SHM copy this mode
      return opened(file, (open) => {
        open.database.exec(`BEGIN IMMEDIATE; ${schema}`);
        open.database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${schemaVersion}; COMMIT`);
        return new Register(file, open);
      });
    });
  }

  /**
   * Opens a register and reads every page of it (`integrity_check`): SQLite notices a corrupt page only when it reads the page.
   * Until {@linkcode Register.close} no other process can open it.
   */
  static open(file: string): Result.Result<Register, RegisterFailure> {
    return attempt(file, () => {
      const status = statSync(file, { throwIfNoEntry: false });
      if (status === undefined) throw failure(file, "missing", "there is no such file");
      if ((status.mode & 0o077) !== 0) {
        throw failure(file, "open-to-others", `others can read it: chmod 600 ${shellWord(file)}`);
      }
      return opened(file, (open) => {
        checkWhole(file, open.database);
        addTables(open.database);
        return new Register(file, open);
      });
    });
  }

  /** Why the register could not be used; undefined again once something was written. */
  get failure(): RegisterFailure | undefined {
    return this.#failure;
  }

  /**
   * Runs one transaction. It is committed when `change` succeeds and rolled back when it fails or throws. After a corrupt page
   * was met, nothing is written any more. Where changes are recorded, none is committed without its record.
   */
  transaction<A, E>(change: (rows: RegisterRows) => Result.Result<A, E>): Result.Result<A, E | RegisterFailure> {
    if (this.#failure?.problem === "corrupt") return Result.fail(this.#failure);
    const before = this.#changes.count;
    this.#events.length = 0;
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const outcome = change(this.#rows);
      if (Result.isSuccess(outcome)) this.#commit();
      else this.#database.exec("ROLLBACK");
      if (Result.isSuccess(outcome) && this.#changes.count > before) this.#failure = undefined;
      return outcome;
    } catch (error) {
      this.#rollBack();
      if (error instanceof LogUnusable) {
        this.#failure = new RegisterFailure({ problem: "unrecorded", file: this.file, detail: error.message });
        return Result.fail(this.#failure);
      }
      if (!isOfSqlite(error)) throw error;
      this.#failure = registerFailureOf(this.file, error);
      return Result.fail(this.#failure);
    }
  }

  #commit(): void {
    if (this.#events.length === 0 || this.#recorder === undefined) return this.#database.exec("COMMIT");
    this.#recorder.recordNow(this.#events);
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      const detail = { undone: this.#events.length, message: String(error) };
      this.#recorder.record({ type: "register.failed", outcome: "failed", detail });
      throw error;
    }
  }

  /** From now on no change that is recorded is committed without its record. */
  recordTo(recorder: RegisterRecorder): void {
    this.#recorder = recorder;
  }

  /** Reads rows. */
  read<A>(query: (rows: RegisterRows) => A): Result.Result<A, RegisterFailure> {
    return this.transaction<A, never>((rows) => Result.succeed(query(rows)));
  }

  /** After a failure, tries whether something can be written again. */
  tryAgain(): void {
    if (this.#failure === undefined) return;
    this.transaction((rows) => {
      rows.record({ type: "register.tried-again", outcome: "done" });
      const sql = "INSERT OR REPLACE INTO facts VALUES ('tried_again', hex(zeroblob(4096)))";
      return Result.succeed(rows.change(sql));
    });
  }

  /** Starts the threads where that takes long: to be called before the port opens. */
  prepareThreads(): void {
    this.lists.prepare();
    this.#backups.prepare();
  }

  /** Writes a consistent copy, 0600, while the register is in use; the whole or none. Fails where the file exists. */
  async backup(file: string): Promise<Result.Result<void, RegisterFailure>> {
    try {
      if (!this.#database.isOpen) throw failure(this.file, "unusable", "it is closed");
      if (existsSync(file)) throw failure(file, "unusable", "it exists");
      const error = await this.#backups.ask({ source: this.file, target: file }, (message) => message);
      if (error.type === "failed") throw error;
      return Result.void;
    } catch (error) {
      return Result.fail(registerFailureOf(file, error));
    }
  }

  /**
   * Moves what was committed from the log into the file, synced. Fails where a part of it stays: closing would say nothing, and the file
   * alone is no register then.
   */
  settle(): Result.Result<void, RegisterFailure> {
    return Result.try({
      try: () => {
        const { busy, log } = this.#database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get() ?? {};
        if (busy !== 0 || log !== 0) throw failure(this.file, "unusable", "its log could not be moved into it");
      },
      catch: (error) => registerFailureOf(this.file, error),
    });
  }

  /** Closes the file and ends the threads. */
  close(): void {
    this.lists.end();
    this.#backups.end();
    this.#database.close();
    this.#lock.close();
  }

  /** After a full disk SQLite has rolled back already, and a second ROLLBACK would hide the cause. */
  #rollBack(): void {
    if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
  }
}

function failure(file: string, problem: RegisterFailure["problem"], detail: string): RegisterFailure {
  return new RegisterFailure({ problem, file, detail });
}

function attempt(file: string, open: () => Register): Result.Result<Register, RegisterFailure> {
  return Result.try({ try: open, catch: (error) => registerFailureOf(file, error) });
}

interface OpenFile {
  readonly database: DatabaseSync;
  readonly lock: FileLock;
}

/** Opens the file for this process alone: a second process fails at once. */
function opened(file: string, use: (open: OpenFile) => Register): Register {
  // SQLite's `locking_mode = EXCLUSIVE` on the register itself would shut out our own threads too.
  const lock = lockFile(`${file}-lock`);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: 0, enableForeignKeyConstraints: true });
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = ${checkpointPages}`,
    );
    database.exec("BEGIN IMMEDIATE; COMMIT");
    return use({ database, lock });
  } catch (error) {
    database?.close();
    lock.close();
    throw error;
  }
}

function checkWhole(file: string, database: DatabaseSync): void {
  const number = (pragma: string) => Object.values(database.prepare(`PRAGMA ${pragma}`).get() ?? {})[0];
  if (number("application_id") !== applicationId) throw failure(file, "foreign", "it is not a CA's register");
  const version = number("user_version");
  if (version !== schemaVersion && version !== versionBeforeApprovals) {
    throw failure(file, "foreign", `its tables have version ${version}, this program knows ${schemaVersion}`);
  }
  const found = number("integrity_check");
  if (found !== "ok") throw failure(file, "corrupt", `integrity check: ${String(found).slice(0, 200)}`);
}

/** Registers of this version lack the tables of approvals. */
const versionBeforeApprovals = 2;

function addTables(database: DatabaseSync): void {
  if (database.prepare("PRAGMA user_version").get()?.["user_version"] !== versionBeforeApprovals) return;
  database.exec(`BEGIN IMMEDIATE; ${approvalSchema}; PRAGMA user_version = ${schemaVersion}; COMMIT`);
}

function rowsOf(database: DatabaseSync, changes: { count: number }, events: AuditEvent[]): RegisterRows {
  const statements = new Map<string, ReturnType<DatabaseSync["prepare"]>>();
  const prepared = (sql: string) => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const made = database.prepare(sql);
    if (statements.size < statementsMax) statements.set(sql, made);
    return made;
  };
  return {
    first: <Row>(sql: string, ...values: readonly SQLInputValue[]) => prepared(sql).get(...values) as Row | undefined,
    all: <Row>(sql: string, ...values: readonly SQLInputValue[]) => prepared(sql).all(...values) as Row[],
    change: (sql, ...values) => {
      const changed = Number(prepared(sql).run(...values).changes);
      changes.count += changed;
      return changed;
    },
    record: (event) => void events.push(event),
  };
}

function isOfSqlite(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === "ERR_SQLITE_ERROR";
}
