// The pipe to the parent: requests and answers both ways, and events under credits.
//
// Key traffic and answers always go first, and never wait for events. Events wait twice: for credits of their session
// (the parent gives them back as it consumes), and while the pipe is full.
import { Socket } from 'node:net';

import { encodeFrame, FAILURE, type Frame, FrameReader, NOTE, REQUEST, RESULT } from './frames.ts';

export class ChannelError extends Error {
  readonly code: string;
  /** WhatsApp's number of a refusal; 0 where there is none. */
  readonly number: number;

  constructor(code: string, sentence: string, number = 0) {
    super(sentence);
    this.name = 'ChannelError';
    this.code = code;
    this.number = number;
  }
}

export type Handler = (method: string, args: never) => Promise<unknown>;
export type NoteHandler = (name: string, value: never) => void;

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Channel {
  private readonly input = new Socket({ fd: 0, writable: false });
  private readonly output = new Socket({ fd: 1, readable: false });
  private readonly reader = new FrameReader();
  private readonly pending = new Map<number, Pending>();
  private urgent: Buffer[] = [];
  private events: Buffer[] = [];
  private nextId = 1;
  private scheduled = false;

  constructor(onRequest: Handler, onNote: NoteHandler, onEnd: () => void) {
    this.input.on('data', (chunk: Buffer) => {
      for (const frame of this.reader.feed(chunk)) this.take(frame, onRequest, onNote);
    });
    for (const socket of [this.input, this.output]) {
      socket.on('end', onEnd);
      socket.on('close', onEnd);
      socket.on('error', onEnd);
    }
    this.output.on('drain', () => this.flush());
  }

  /** Ask the parent. Rejects with a `ChannelError` that carries the parent's code. */
  request<T>(method: string, args: unknown): Promise<T> {
    const id = this.nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.pending.set(id, { resolve, reject });
    this.put(this.urgent, [REQUEST, id, method, args]);
    return promise as Promise<T>;
  }

  /** Tell the parent, ahead of events. */
  note(name: string, value: unknown): void {
    this.put(this.urgent, [NOTE, name, value]);
  }

  /** Tell the parent, after everything that somebody waits for. */
  event(value: unknown): void {
    this.put(this.events, [NOTE, 'event', value]);
  }

  private put(queue: Buffer[], frame: Frame): void {
    queue.push(encodeFrame(frame));
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.flush());
  }

  private flush(): void {
    this.scheduled = false;
    if (this.urgent.length > 0) {
      const batch = this.urgent;
      this.urgent = [];
      this.output.write(batch.length === 1 ? batch[0]! : Buffer.concat(batch));
    }
    if (this.events.length > 0 && !this.output.writableNeedDrain) {
      const batch = this.events;
      this.events = [];
      this.output.write(Buffer.concat(batch));
    }
  }

  private take(frame: Frame, onRequest: Handler, onNote: NoteHandler): void {
    switch (frame[0]) {
      case REQUEST: {
        const id = frame[1];
        onRequest(frame[2], frame[3] as never).then(
          (value) => this.put(this.urgent, [RESULT, id, value ?? null]),
          (error: unknown) => this.put(this.urgent, [FAILURE, id, codeOf(error), sentenceOf(error), numberOf(error)]),
        );
        break;
      }
      case RESULT:
        this.settle(frame[1])?.resolve(frame[2]);
        break;
      case FAILURE:
        this.settle(frame[1])?.reject(new ChannelError(frame[2], frame[3]));
        break;
      case NOTE:
        onNote(frame[1], frame[2] as never);
        break;
    }
  }

  private settle(id: number): Pending | undefined {
    const pending = this.pending.get(id);
    this.pending.delete(id);
    return pending;
  }
}

function codeOf(error: unknown): string {
  return error instanceof ChannelError ? error.code : 'call_failed';
}

function sentenceOf(error: unknown): string {
  return error instanceof ChannelError ? error.message : 'The engine could not do it.';
}

function numberOf(error: unknown): number {
  return error instanceof ChannelError ? error.number : 0;
}
