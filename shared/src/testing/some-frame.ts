import type { FrameMarker, SegmentDelivery } from '../mailbox/frame.js';
import type { Noise } from './noise.js';
import { NAME_BYTES, SEGMENT_BYTES, pageOf } from './reference-frame.js';

/** Words of 1 to 4 bytes of UTF-8, the first and last of each length among them. */
const TOKEN_WORDS = [
  '\u0001',
  'a',
  '\u007f',
  '\u0080',
  'ü',
  '\u07ff',
  '\u0800',
  '€',
  '\ufeff',
  '\uffff',
  '𐀀',
  '🔑',
  '\u{10ffff}',
] as const;

/** Any name; of one and of 64 characters more often than others. */
export function someName(noise: Noise): string {
  const length = noise.pick([1, 64, 1 + noise.below(64)]);
  return Array.from({ length }, () => NAME_BYTES.charAt(noise.below(NAME_BYTES.length))).join('');
}

/** Any token, of one and of 128 bytes more often than others. */
export function someToken(noise: Noise): string {
  const limit = noise.pick([1, 128, 1 + noise.below(128)]);
  let token = '';
  let bytes = 0;
  for (;;) {
    const word = noise.pick(TOKEN_WORDS);
    bytes += Buffer.byteLength(word);
    if (bytes > limit) return token === '' ? 't' : token.padEnd(token.length + (limit - Buffer.byteLength(token)), 't');
    token += word;
  }
}

/** Any marker a frame can be armed with. */
export function someMarker(noise: Noise): FrameMarker {
  const segmentCount = noise.pick([1, 64, 1 + noise.below(64)]);
  const segmentIndex = noise.pick([0, segmentCount - 1, noise.below(segmentCount)]);
  return { name: someName(noise), token: someToken(noise), segmentIndex, segmentCount, nonce: noise.u64() };
}

/** A page that begins with the magic, and in which each field is right, nearly right or noise. */
export function scribbledPage(noise: Noise): Buffer {
  const page = pageOf(someMarker(noise));
  for (let spoilt = noise.below(3); spoilt > 0; spoilt--) {
    const [from, to] = noise.pick([
      [16, 80],
      [80, 208],
      [208, 210],
      [210, 212],
      [212, 216],
      [216, 224],
      [224, 228],
    ]);
    if (noise.once(3)) noise.bytes(to - from).copy(page, from);
    else page[from + noise.below(to - from)] = noise.pick([0, noise.below(256), noise.below(5)]);
  }
  if (noise.once(20)) noise.bytes(4080).copy(page, 16);
  return page;
}

/** Any delivery into one of so many segments. */
export function someDelivery(noise: Noise, segments: number): SegmentDelivery {
  const payload = noise.bytes(
    noise.once(50) ? noise.pick([SEGMENT_BYTES, SEGMENT_BYTES - 1, noise.below(SEGMENT_BYTES)]) : noise.below(80),
  );
  const rest = segments === 1 ? 0 : noise.below((segments - 1) * SEGMENT_BYTES + 1);
  return {
    generation: noise.pick([1, 2 ** 32 - 1, 1 + noise.below(2 ** 32 - 1)]),
    contentType: noise.pick(['json', 'bytes']),
    payload,
    totalLength: payload.length + rest,
    ack: {
      transport: noise.pick(['none', 'udp', 'vsock', 'channel']),
      port: noise.below(65536),
      address: [...noise.bytes(4)].join('.'),
      nonce: noise.u64(),
    },
  };
}
