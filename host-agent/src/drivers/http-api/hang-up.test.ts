import { Unreachable } from '@offshoot/shared/errors.js';
import { describe, expect, it } from 'vitest';
import { HangUp } from './hang-up.js';
import { ApiSocket } from './testing/api-socket.js';

describe('a silent connection to a VMM', () => {
  it('ends with the VMM', async () => {
    let hangUp: HangUp;
    {
      await using socket = await ApiSocket.open(() => undefined);
      hangUp = await HangUp.of(socket.path);
    }
    expect(await hangUp.closed).toEqual({ here: false });
  });

  it('tells when this side has ended it', async () => {
    await using socket = await ApiSocket.open(() => undefined);
    const hangUp = await HangUp.of(socket.path);
    hangUp.close();
    expect(await hangUp.closed).toEqual({ here: true });
  });

  it('is not to be had where nobody listens', async () => {
    await expect(HangUp.of('/nowhere/api.sock')).rejects.toThrow(Unreachable);
  });
});
