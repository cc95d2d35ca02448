/** Whether tests run in the lab host (test/lab), a machine that is emulated itself, with one processor. */
export const isLab = process.env.OFFSHOOT_LAB !== undefined;
