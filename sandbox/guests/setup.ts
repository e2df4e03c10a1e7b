import { createServer } from 'node:net';
import { type Accelerator, chooseAccelerator } from './accelerator';
import { ensureImages, type GuestImages, whyNoGuests } from './images';

/** What a sandbox needs to boot guests. */
export interface GuestSetup {
  readonly images: GuestImages;
  readonly accelerator: Accelerator;
  /** The port of the guests' SSH servers, each on an address of its own. */
  readonly sshPort: number;
}

/**
 * Makes ready what booting guests takes.
 *
 * @param wanted `if possible` answers undefined, and says why, where this machine can't have guests
 * @param address an address in the sandbox's network
 */
export async function setUpGuests(
  wanted: true | 'if possible',
  address: string,
  python: string,
  say: (line: string) => void,
): Promise<GuestSetup | undefined> {
  const obstacle = whyNoGuests();
  if (obstacle !== undefined) {
    if (wanted === true) throw new Error(obstacle);
    say(`VMs will boot no guests: ${obstacle}`);
    return undefined;
  }
  const images = await ensureImages(python, say);
  const accelerator = await chooseAccelerator(images, python, say);
  return { images, accelerator, sshPort: (await canListen(address, 22)) ? 22 : 2222 };
}

/** Ports below 1024 take a privilege on most machines. */
function canListen(address: string, port: number): Promise<boolean> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') done(false);
      else if (error.code === 'EADDRINUSE') done(true);
      else fail(error);
    });
    server.listen(port, address, () => server.close(() => done(true)));
  });
}

/** Where a guest's SSH server answers: as `Guests.address` in pve/guests.py says. */
export const guestAddress = (sandboxAddress: string, vmid: number): string =>
  `127.${sandboxAddress.split('.')[1]}.${(vmid >> 8) & 255}.${vmid & 255}`;
