const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

export const GIB = 2 ** 30;

/** The size of a disk in bytes, from its line in a VM's config: `local-lvm:base-9000-disk-0,discard=on,size=3G`. */
export function diskSize(drive: string): number | undefined {
  const [, number, unit = ''] = drive.match(/(?:^|,)size=(\d+(?:\.\d+)?)([KMGT]?)(?:,|$)/) ?? [];
  return number === undefined ? undefined : Number(number) * (UNITS[unit] ?? 1);
}

/** `3 GiB`, `0.5 GiB`. */
export function inGib(bytes: number): string {
  return `${Number((bytes / GIB).toFixed(1))} GiB`;
}
