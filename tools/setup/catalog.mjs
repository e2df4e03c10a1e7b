// @ts-check
// What a ready machine has: the one place to change a version. The versions of what is built from source are
// pinned in tools/go/NAME/go.mod, with checksums in go.sum; those named here must agree with them, which the
// tests check.
import { readFileSync } from 'node:fs';

/**
 * @typedef {object} SystemProgram
 * @property {string} name The program looked for.
 * @property {string} debianPackage What brings it on Debian and its descendants.
 * @property {string[]} [test] Arguments with which the program must succeed, where being there isn't enough.
 * @property {string} [wants] How to say in words what `test` wants.
 * @property {boolean} [service] The package starts a service for the whole machine.
 */

/**
 * Programs that come from the operating system. Looked for by program, since packages have other names
 * elsewhere and a program that works is all that counts.
 * @type {Record<string, SystemProgram[]>}
 */
export const systemPrograms = {
  base: [
    { name: 'git', debianPackage: 'git' },
    { name: 'ssh', debianPackage: 'openssh-client' },
    { name: 'ssh-keygen', debianPackage: 'openssh-client' },
    { name: 'sshd', debianPackage: 'openssh-server', service: true },
    {
      name: 'python3',
      debianPackage: 'python3-venv',
      test: ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'],
      wants: 'version 3.10 or newer that can make a venv',
    },
  ],
  // What booting guests takes. The sandbox reads the same list, and can't load this module.
  guests: JSON.parse(readFileSync(new URL('guest-programs.json', import.meta.url), 'utf8')),
  // What the tests of the drift page and of the CI recipes look with.
  review: [
    { name: 'chromium', debianPackage: 'chromium' },
    { name: 'shellcheck', debianPackage: 'shellcheck' },
  ],
};

/**
 * @typedef {object} Program
 * @property {string} name
 * @property {string} module Folder in tools/go.
 * @property {string} goPackage
 * @property {string} ldflags
 * @property {string[]} check Arguments that make it print its version, without asking the network.
 * @property {string} minimum The oldest version that does what the project asks of it.
 * @property {{ input: string, output: string }} [sample] For a program that can't name its version: what it
 * must answer to a known input.
 */

/** The command line reads the same list (hostkey doctor), and can't load this module. @type {Record<string, string>} */
const minimums = JSON.parse(readFileSync(new URL('minimums.json', import.meta.url), 'utf8'));

/** @type {Record<'terraform' | 'tofu' | 'sops' | 'age' | 'age-keygen' | 'ssh-to-age' | 'actionlint', Omit<Program, 'name'>>} */
const table = {
  // Used where it is found, never built: where it is missing, OpenTofu does its job and is free software.
  terraform: {
    module: '',
    goPackage: '',
    ldflags: '',
    check: ['version', '-json'],
    minimum: minimums.terraform,
  },
  tofu: {
    module: 'tofu',
    goPackage: 'github.com/opentofu/opentofu/cmd/tofu',
    ldflags: '-X github.com/opentofu/opentofu/version.dev=no',
    check: ['version', '-json'],
    minimum: minimums.tofu,
  },
  sops: {
    module: 'sops',
    goPackage: 'github.com/getsops/sops/v3/cmd/sops',
    ldflags: '-X github.com/getsops/sops/v3/version.Version=3.13.3',
    check: ['--disable-version-check', '--version'],
    minimum: minimums.sops,
  },
  age: {
    module: 'age',
    goPackage: 'filippo.io/age/cmd/age',
    ldflags: '-X main.Version=v1.3.2',
    check: ['--version'],
    minimum: minimums.age,
  },
  'age-keygen': {
    module: 'age',
    goPackage: 'filippo.io/age/cmd/age-keygen',
    ldflags: '-X main.Version=v1.3.2',
    check: ['--version'],
    minimum: minimums['age-keygen'],
  },
  'ssh-to-age': {
    module: 'ssh-to-age',
    goPackage: 'github.com/Mic92/ssh-to-age/cmd/ssh-to-age',
    ldflags: '-X main.version=1.3.0',
    check: [],
    minimum: minimums['ssh-to-age'],
    // Distributions build it without a version, so it is asked to do its work instead.
    sample: {
      input: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMR9oXet/mxNzZtA625u1Z0EhKe0BDfls8MpZwW0m7oR',
      output: 'age1cl05ksjhfa0tqkthlvrxp2ws36u6xdxux9lguvf07jaulc5pnaasuemsh2',
    },
  },
  // Checks the CI recipes; only set up with --review.
  actionlint: {
    module: 'actionlint',
    goPackage: 'github.com/rhysd/actionlint/cmd/actionlint',
    ldflags: '-X github.com/rhysd/actionlint.version=1.7.7',
    check: ['-version'],
    minimum: '1.7.0',
  },
};

/**
 * @param {keyof typeof table} name
 * @returns {Program}
 */
export function program(name) {
  return { name, ...table[name] };
}

/** Programs beside Terraform or OpenTofu that every set-up provides. */
export const helpers = [program('sops'), program('age'), program('age-keygen'), program('ssh-to-age')];

/**
 * @typedef {object} Provider
 * @property {string} source NAMESPACE/TYPE
 * @property {string} version What the source build calls itself.
 * @property {string} constraints What the stacks ask for; the lock file repeats it.
 * @property {string} goPackage
 * @property {string} ldflags
 */

/** @type {Provider[]} */
export const providers = [
  {
    source: 'hashicorp/tls',
    version: '4.0.4',
    constraints: '>= 4.0.4, < 5.0.0',
    goPackage: 'github.com/hashicorp/terraform-provider-tls',
    ldflags: '',
  },
  {
    source: 'hashicorp/local',
    version: '1.4.0',
    constraints: '>= 1.4.0, < 3.0.0',
    goPackage: 'github.com/terraform-providers/terraform-provider-local',
    ldflags: '',
  },
  {
    source: 'bpg/proxmox',
    version: '0.111.1',
    constraints: '0.111.1',
    goPackage: 'github.com/bpg/terraform-provider-proxmox',
    ldflags: '-X main.version=0.111.1',
  },
];

/** The registry that each program takes providers from, which is also a part of every provider's address. */
export const registries = { terraform: 'registry.terraform.io', tofu: 'registry.opentofu.org' };

/**
 * The type of a provider, which names its program and its folder in tools/go.
 * @param {Provider} provider
 */
export function providerType(provider) {
  return provider.source.slice(provider.source.indexOf('/') + 1);
}
