/** ZFS_MAX_DATASET_NAME_LEN with its NUL. */
export const MAX_NAME = 255;

/** What zfsconcepts(7) allows but for blanks, and nothing that is `.`, `..` or looks like an option. */
export const isComponent = (text: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9_.:-]*$/.test(text);

/** Components between slashes, none of them empty. */
export const isDataset = (text: string): boolean => text.split('/').every(isComponent);
