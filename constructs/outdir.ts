/**
 * The cdktf context that names the folder which stands for the app's `outdir` in paths, where somebody synthesizes to
 * a folder of their own and still wants the bytes that `cdktf synth` writes.
 */
export const OUTDIR_CONTEXT = 'hostkey:outdir';
