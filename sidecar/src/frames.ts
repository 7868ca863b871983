// The wire: a 4-byte big-endian length, then one msgpack array. Pure; the Python twin is engines/baileys/codec.py.
import { decode, Encoder } from '@msgpack/msgpack';

export const REQUEST = 1; // [1, id, method, args]
export const RESULT = 2; // [2, id, value]
export const FAILURE = 3; // [3, id, code, sentence, number]: WhatsApp's number of a refusal, or 0
export const NOTE = 4; // [4, name, value]

export type Frame =
  | [typeof REQUEST, number, string, unknown]
  | [typeof RESULT, number, unknown]
  | [typeof FAILURE, number, string, string, number]
  | [typeof NOTE, string, unknown];

/** Larger than any history sync chunk; a longer length means that the stream is out of step. */
export const MAX_FRAME = 256 * 1024 * 1024;

const encoder = new Encoder({ ignoreUndefined: true });

export function encodeFrame(frame: Frame): Buffer {
  const body = encoder.encodeSharedRef(frame);
  const out = Buffer.allocUnsafe(4 + body.byteLength);
  out.writeUInt32BE(body.byteLength, 0);
  out.set(body, 4);
  return out;
}

/** Cuts a byte stream into frames, however the pipe chops it. */
export class FrameReader {
  private parts: Buffer[] = [];
  private held = 0;
  private needed = 4; // until then nothing is joined: a large frame comes in hundreds of chunks

  *feed(chunk: Buffer): Generator<Frame> {
    this.parts.push(chunk);
    this.held += chunk.length;
    if (this.held < this.needed) return;
    let data = this.parts.length === 1 ? chunk : Buffer.concat(this.parts, this.held);
    while (data.length >= 4) {
      const size = data.readUInt32BE(0);
      if (size > MAX_FRAME) throw new Error('frame too long');
      this.needed = 4 + size;
      if (data.length < this.needed) break;
      const body = data.subarray(4, 4 + size);
      data = data.subarray(4 + size);
      yield decode(body) as Frame;
    }
    if (data.length < 4) this.needed = 4;
    this.parts = data.length > 0 ? [data] : [];
    this.held = data.length;
  }
}
