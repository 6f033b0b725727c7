/**
 * `docs/install.md`: a release is made, and its programs take README's first network on a machine that has the C and C++ libraries and a shell,
 * and no Node.
 */
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { findProgram } from "../../scripts/check/prerequisites.ts";
import { needing } from "../support/prerequisites.ts";
import { blocksOf, ShellSession } from "../support/shell_session.ts";

const patienceMs = 240_000;
const page = "docs/install.md";
const test = suite(page);
const folder = mkdtempSync(join(tmpdir(), "hypha-install-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const shellBlocks = blocksOf(page).filter(({ language }) => language === "sh").map(({ text }) => text);
const release = join(folder, "release");

const run = (command: string, ...args: readonly string[]) => runCommand(command, args, { timeoutMs: patienceMs });

async function must(command: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, ...args);
  assert.is(code, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

/** Paths of the libraries that a program loads, with the loader. */
async function librariesOf(program: string): Promise<readonly string[]> {
  const listed = await must("ldd", program);
  return [...listed.matchAll(/(?:=> |^\s+)(\/\S+)/gm)].map(([, path = ""]) => path);
}

/** A root file system with the libraries of these programs and nothing else; the programs lie in its `/bin`. */
async function makeRoot(path: string, programs: readonly string[]): Promise<void> {
  for (const name of ["bin", "proc", "dev", "tmp", "home"]) mkdirSync(join(path, name), { recursive: true });
  const libraries = new Set<string>();
  for (const program of programs) {
    const found = findProgram(program) ?? program;
    if (!program.includes("/")) copyFileSync(found, join(path, "bin", program));
    for (const library of await librariesOf(found)) libraries.add(library);
  }
  for (const library of libraries) {
    mkdirSync(join(path, dirname(library)), { recursive: true });
    copyFileSync(library, join(path, library));
  }
}

test("the page's commands are there", () => {
  assert.ok(shellBlocks.some((text) => text.includes("npm run package")));
  assert.ok(shellBlocks.some((text) => text.includes("sh release/install.sh")));
  assert.ok(shellBlocks.some((text) => text.includes("openssl pkeyutl -verify")));
});

// The release is made with the pinned Node, whatever runs the tests.
if (!("Deno" in globalThis)) {
  const installer = join(release, "install.sh");
  const root = join(folder, "root");

  needing(test, "tar")("a release has what the page lists, with checksums that hold", async () => {
    await must(process.execPath, "--no-warnings", "scripts/package.ts", "--out", release);
    const listed = blocksOf(page).find(({ language }) => language === "text")?.text.trim().split("\n");
    const here = (name: string) => name.replace("linux-x64", `${process.platform}-${process.arch}`);
    assert.equal(readdirSync(release).toSorted(), listed?.map(here).toSorted());
    await must("sh", "-c", `cd '${release}' && sha256sum -c SHA256SUMS`);
  });

  test("the bill of materials names what is inside, and no tools of the build", () => {
    const file = readdirSync(release).find((name) => name.endsWith(".cdx.json")) as string;
    const { components } = JSON.parse(readFileSync(join(release, file), "utf8")) as {
      components: readonly { name: string; version: string; licenses?: unknown; hashes?: unknown }[];
    };
    const names = components.map(({ name }) => name);
    for (const name of ["node", "xstate", "effect", "libp2p", "@peculiar/x509"]) assert.ok(names.includes(name), name);
    for (const name of ["esbuild", "typescript", "uvu", "deno"]) assert.not(names.includes(name), name);
    for (const { name, licenses, hashes } of components) {
      if (name !== "node") assert.ok(licenses !== undefined && hashes !== undefined, name);
    }
  });

  needing(test, "openssl")("its maker signs the checksums, and the page's command verifies them", async () => {
    const key = join(folder, "release-key.pem");
    await must("openssl", "genpkey", "-algorithm", "ed25519", "-out", key);
    await must("openssl", "pkey", "-in", key, "-pubout", "-out", join(folder, "hypha-release.pem"));
    const [sums, signature] = [join(release, "SHA256SUMS"), join(folder, "SHA256SUMS.sig")];
    await must("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", sums, "-out", signature);
    cpSync(signature, join(release, "SHA256SUMS.sig"));
    const verify = shellBlocks.find((text) => text.includes("pkeyutl -verify")) as string;
    assert.match(await must("sh", "-c", `cd '${folder}' && ${verify}`), "Signature Verified Successfully");
    rmSync(join(release, "SHA256SUMS.sig"));
  });

  needing(test, "tar", "man")(
    "install.sh installs programs, pages, completions and units, also over a former version",
    async () => {
      const prefix = join(root, "usr/local");
      await makeRoot(root, ["bash", "mkdir", "cat"]);
      for (let time = 0; time < 2; time++) {
        const printed = await must("sh", installer, "--prefix", prefix, "--units");
        assert.match(printed, `Installed hypha 0.1.0 in ${prefix}\n`);
        assert.match(printed, `export PATH="${prefix}/bin:$PATH"`);
      }
      assert.equal(readdirSync(prefix).toSorted(), ["bin", "lib", "share"], "nothing is left of the installation");
      const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: object };
      assert.equal(readdirSync(join(prefix, "bin")).toSorted(), Object.keys(bin).toSorted());
      assert.equal(readdirSync(join(prefix, "lib/systemd/system")).toSorted(), readdirSync("docs/systemd").toSorted());
      assert.match(await must("man", "-l", join(prefix, "share/man/man1/hypha-ca.1")), "hypha-ca init");
      await must("bash", "-n", join(prefix, "share/bash-completion/completions/hypha-ca"));
      for (const library of await librariesOf(join(prefix, "bin/hypha"))) {
        mkdirSync(join(root, dirname(library)), { recursive: true });
        copyFileSync(library, join(root, library));
      }
    },
  );

  test("one executable is all programs", async () => {
    const hypha = join(root, "usr/local/bin/hypha");
    assert.is(await must(hypha, "gateway", "--version"), "hypha-gateway v0.1.0\n");
    assert.is(await must(`${hypha}-certutil`, "--version"), "hypha-certutil v0.1.0\n");
    const { code } = await run(hypha, "gatway");
    assert.is(code, 2);
  });

  needing(test, "bwrap")("README's first network, on a machine without Node", async () => {
    const [, , ...tour] = blocksOf("README.md", "First network");
    const around = [
      "bwrap",
      "--bind",
      root,
      "/",
      "--proc",
      "/proc",
      "--dev",
      "/dev",
      "--tmpfs",
      "/tmp",
      "--unshare-all",
    ];
    const session = new ShellSession({
      cwd: folder,
      env: { PATH: "/usr/local/bin:/bin:/usr/bin", HOME: "/home" },
      lifeMs: patienceMs,
      around: [...around, "--die-with-parent", "--chdir", "/home"],
    });
    for (const block of tour) await session.take(block, patienceMs / 2);
    assert.is(await session.end(), 0, session.lines.join("\n"));
    assert.ok(session.lines.some((line) => line.includes("own-certificate-revoked")), session.lines.join("\n"));
  });

  needing(test, "tar")("install.sh refuses an archive that was changed, and installs nothing", async () => {
    const prefix = join(folder, "refused");
    const archive = readdirSync(release).find((name) => name.endsWith(".tar.gz")) as string;
    appendFileSync(join(release, archive), "x");
    const { code, stderr } = await run("sh", installer, "--prefix", prefix);
    assert.is(code, 1);
    assert.match(stderr, "is not the file that SHA256SUMS names");
    assert.throws(() => readdirSync(prefix), /ENOENT/);
  });
}

test.run();
