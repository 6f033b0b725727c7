/**
 * `docs/install.md`: a release is made, and its programs take README's first network in what `docs/container/Containerfile` makes of it: a root,
 * read-only, with the C and C++ libraries, a shell and no Node, as a user without rights.
 */
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { linksOutside } from "../../scripts/check/package_links.ts";
import { findProgram } from "../../scripts/check/prerequisites.ts";
import { argumentsOf, copiesOf, type Stage, stagesOf } from "../support/containerfile.ts";
import { needing } from "../support/prerequisites.ts";
import { blocksOf, ShellSession } from "../support/shell_session.ts";

const patienceMs = 240_000;
const page = "docs/install.md";
const test = suite(page);
const folder = mkdtempSync(join(tmpdir(), "hypha-install-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const shellBlocks = blocksOf(page).filter(({ language }) => language === "sh").map(({ text }) => text);
const release = join(folder, "release");
const image = stagesOf(readFileSync("docs/container/Containerfile", "utf8")).at(-1) as Stage;
const [home = ""] = argumentsOf(image, "WORKDIR");

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

test("bug: install.sh took the names of several archives for one", async () => {
  const place = join(folder, "several");
  mkdirSync(place);
  copyFileSync("scripts/package/install.sh", join(place, "install.sh"));
  const [own, next, other] = ["1.0.0", "2.0.0", "1.0.0"].map((version, index) =>
    `hypha-${version}-${index === 2 ? "plan9-mips" : `${process.platform}-${process.arch}`}.tar.gz`
  );
  const complaint = async (...names: readonly (string | undefined)[]) => {
    writeFileSync(join(place, "SHA256SUMS"), names.map((name) => `${"0".repeat(64)}  ${name}\n`).join(""));
    for (const name of names) writeFileSync(join(place, name ?? ""), "");
    const { code, stderr } = await run("sh", join(place, "install.sh"), "--prefix", join(place, "prefix"));
    assert.is(code, 1);
    return stderr;
  };
  assert.match(await complaint(other, own), `${own} is not the file that SHA256SUMS names`);
  assert.match(await complaint(own, next, other), `names several archives for this machine: ${own} ${next}`);
  assert.match(await complaint(other), `${other} is for another machine than this one`);
});

/** A release whose program is this script. */
async function scriptedRelease(name: string, script: string): Promise<string> {
  const place = join(folder, name);
  const packed = join(place, "packed");
  const parts = ["bin", "man", "completions/bash", "completions/zsh", "completions/fish", "doc", "systemd"];
  for (const part of parts) {
    mkdirSync(join(packed, part), { recursive: true });
    writeFileSync(join(packed, part, part === "bin" ? "hypha-gateway" : "file"), "");
  }
  writeFileSync(join(packed, "bin/hypha"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const archive = `hypha-1.0.0-${process.platform}-${process.arch}.tar.gz`;
  await must("tar", "-czf", join(place, archive), "-C", place, "packed");
  copyFileSync("scripts/package/install.sh", join(place, "install.sh"));
  await must("sh", "-c", `cd '${place}' && sha256sum ${archive} > SHA256SUMS`);
  return join(place, "install.sh");
}

needing(test, "tar")(
  "bug: a relative prefix was taken from the installer's folder, not from the caller's",
  async () => {
    const script = await scriptedRelease("relative", "echo hypha-certutil v1.0.0");
    const printed = await must("sh", "-c", `cd '${folder}' && sh '${script}' --prefix here/usr/local/ --units`);
    const prefix = join(folder, "here/usr/local");
    assert.match(printed, `Installed hypha 1.0.0 in ${prefix}\n`);
    assert.equal(readdirSync(join(prefix, "bin")).toSorted(), ["hypha", "hypha-gateway"]);
    assert.equal(readdirSync(join(prefix, "lib/systemd/system")), ["file"]);
    const { code, stderr } = await run("sh", script, "--prefix", "");
    assert.equal([code, stderr], [1, "Cannot install: --prefix needs a folder\n"]);
  },
);

needing(test, "tar")("bug: a program that does not run replaced one that did, and was called installed", async () => {
  const prefix = join(folder, "kept");
  await must("sh", await scriptedRelease("running", "echo hypha-certutil v1.0.0"), "--prefix", prefix);
  const broken = await scriptedRelease("broken", "echo GLIBC_2.99 not found >&2; exit 1");
  const { code, stdout, stderr } = await run("sh", broken, "--prefix", prefix);
  assert.equal([code, stdout], [1, ""]);
  assert.match(stderr, /^Cannot install: .* does not run on this machine: GLIBC_2\.99 not found\n$/);
  assert.is(await must(join(prefix, "bin/hypha")), "hypha-certutil v1.0.0\n");
  assert.equal(readdirSync(prefix).toSorted(), ["bin", "share"]);
});

needing(test, "tar")("bug: units went where systemd reads none, with programs that it does not find", async () => {
  const script = await scriptedRelease("units", "echo hypha-certutil v1.0.0");
  const prefix = join(folder, "opt");
  const { code, stderr } = await run("sh", script, "--prefix", prefix, "--units");
  assert.is(code, 1);
  assert.match(stderr, /^Cannot install: --units needs the prefix \/usr or \/usr\/local/);
  assert.throws(() => readdirSync(prefix), /ENOENT/);
});

test("the page's commands are there", () => {
  assert.ok(shellBlocks.some((text) => text.includes("npm run package")));
  assert.ok(shellBlocks.some((text) => text.includes("sh release/install.sh")));
  assert.ok(shellBlocks.some((text) => text.includes("openssl pkeyutl -verify")));
});

test("bug: after an orderly restart of the machine no container came back, nor after the fifth failure of its life", () => {
  const policies = [...readFileSync("docs/container/compose.yaml", "utf8").matchAll(/^ *restart: (.+)$/gm)];
  assert.equal(policies.map(([, policy]) => policy), ["unless-stopped"]);
  assert.match(readFileSync(page, "utf8"), "A container that ends is started again");
});

// The release is made with the pinned Node, whatever runs the tests.
if (!("Deno" in globalThis)) {
  const installer = join(release, "install.sh");
  const root = join(folder, "root");
  /** The health checks of a gateway, a worker and a CA. */
  const healthChecks = [...readFileSync("docs/container/compose.yaml", "utf8").matchAll(/test: \[CMD, (.+)\]/g)]
    .map(([, words = ""]) => words.replaceAll(", ", " ")).filter((command) => /-(ca|gateway|worker) /.test(command));

  needing(test, "tar")("a release has what the page lists, with checksums that hold", async () => {
    // bug: files of a former release were listed too, and the new one could not be installed.
    mkdirSync(release);
    const former = `hypha-0.0.9-${process.platform}-${process.arch}`;
    for (const name of [`${former}.tar.gz`, `${former}.cdx.json`, "SHA256SUMS.sig"]) {
      writeFileSync(join(release, name), "");
    }
    // bug: a folder of this name was removed.
    const kept = join(release, "work");
    mkdirSync(kept);
    writeFileSync(join(kept, "notes"), "");
    await must(process.execPath, "--no-warnings", "scripts/package.ts", "--out", release);
    assert.equal(readdirSync(kept), ["notes"]);
    rmSync(kept, { recursive: true });
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
    const sign = shellBlocks.find((text) => text.includes("pkeyutl -sign")) as string;
    await must("sh", "-c", `cd '${folder}' && ${sign}`);
    const verify = shellBlocks.find((text) => text.includes("pkeyutl -verify")) as string;
    assert.match(await must("sh", "-c", `cd '${folder}' && ${verify}`), "Signature Verified Successfully");
    rmSync(join(release, "SHA256SUMS.sig"));
  });

  needing(test, "tar", "man")(
    "install.sh installs programs, pages, completions and units, also over a former version",
    async () => {
      const prefix = join(root, "usr/local");
      await makeRoot(root, ["bash", "mkdir", "cat", "id"]);
      for (let time = 0; time < 2; time++) {
        const printed = await must("sh", installer, "--prefix", prefix, "--units");
        assert.match(printed, `Installed hypha 0.1.0 in ${prefix}\n`);
        assert.match(printed, `export PATH="${prefix}/bin:$PATH"`);
      }
      assert.equal(readdirSync(prefix).toSorted(), ["bin", "lib", "share"], "nothing is left of the installation");
      const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: object };
      assert.equal(readdirSync(join(prefix, "bin")).toSorted(), Object.keys(bin).toSorted());
      assert.equal(readdirSync(join(prefix, "lib/systemd/system")).toSorted(), readdirSync("docs/systemd").toSorted());
      // bug: README's links to the architecture, to the examples and others led nowhere.
      assert.equal(linksOutside(join(prefix, "share/doc/hypha")), []);
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

  test("the image's last stage copies the installed release, and a folder that is its user's", () => {
    const [programs, state] = copiesOf(image);
    assert.is(join(root, programs?.target ?? ""), join(root, "usr/local"));
    assert.equal([state?.target, argumentsOf(image, "VOLUME")], [home, [JSON.stringify([home])]]);
    mkdirSync(join(root, home), { recursive: true });
  });

  needing(test, "bwrap")(
    "README's first network, as the image's user on its read-only root without Node; its health checks",
    async () => {
      const [, , ...tour] = blocksOf("README.md", "First network");
      const [uid = "", gid = ""] = argumentsOf(image, "USER")[0]?.split(":") ?? [];
      const volume = join(folder, "volume");
      mkdirSync(volume, { mode: 0o700 });
      const session = new ShellSession({
        cwd: folder,
        env: { PATH: "/usr/local/bin:/bin:/usr/bin", HOME: "/" },
        lifeMs: patienceMs,
        around: [
          ...["bwrap", "--ro-bind", root, "/", "--bind", volume, home, "--chdir", home],
          ...["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"],
          ...["--unshare-all", "--unshare-user", "--uid", uid, "--gid", gid, "--cap-drop", "ALL", "--die-with-parent"],
        ],
      });
      for (const block of tour) {
        if (block.text.includes("hypha-ca revoke")) {
          const confined =
            `test "$(id -u):$(id -g)" = ${uid}:${gid}\nif mkdir /usr/local/x 2> /dev/null; then exit 9; fi\n`;
          const text = `${confined}${healthChecks.join("\n")}\n`;
          await session.take({ language: "sh", text }, patienceMs / 2);
          await session.take({ language: "text", text: "worker-01 (worker): ready …\n" }, patienceMs / 2);
        }
        await session.take(block, patienceMs / 2);
      }
      assert.is(await session.end(), 0, session.lines.join("\n"));
      assert.ok(session.lines.some((line) => line.includes("own-certificate-revoked")), session.lines.join("\n"));
    },
  );

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
