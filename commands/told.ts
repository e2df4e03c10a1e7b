/** What is the matter, and what to do about it where somebody knows. */
export function told({
  message,
  remedy = '',
}: {
  readonly message: string;
  readonly remedy?: string;
}): string {
  return remedy === '' ? message : `${message}; ${remedy}`;
}
