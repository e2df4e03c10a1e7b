/** What `hostkey doctor` has found out about one thing. */
export interface Result {
  /** Stable, for machines: `api.privileges`. */
  readonly id: string;
  /** `unknown`: it could not be told. `skipped`: it wasn't asked, since something before it failed. */
  readonly status: 'ok' | 'warning' | 'problem' | 'unknown' | 'skipped';
  /** One sentence. */
  readonly message: string;
  /** What to type; left out where nothing has to be done. */
  readonly remedy?: string;
}

export const ok = (id: string, message: string): Result => ({ id, status: 'ok', message });
export const warning = (id: string, message: string, remedy: string): Result => ({
  id,
  status: 'warning',
  message,
  remedy,
});
export const problem = (id: string, message: string, remedy: string): Result => ({
  id,
  status: 'problem',
  message,
  remedy,
});
export const unknown = (id: string, message: string, remedy = ''): Result => ({
  id,
  status: 'unknown',
  message,
  remedy,
});
export const skipped = (id: string, message: string): Result => ({ id, status: 'skipped', message });
