import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { UndoStack } from './undo-stack.js';

const logger = pino({ level: 'silent' });

describe('an operation that fails', () => {
  it('is undone in reverse order', async () => {
    const undone: string[] = [];
    {
      await using undo = new UndoStack(logger);
      undo.push('folder', () => void undone.push('folder'));
      undo.push('process', () => void undone.push('process'));
    }
    expect(undone).toEqual(['process', 'folder']);
  });

  it('is undone to the end though a step of the undoing fails, and its own error stays', async () => {
    const undone: string[] = [];
    const operation = async (): Promise<void> => {
      await using undo = new UndoStack(logger);
      undo.push('folder', () => void undone.push('folder'));
      undo.push('process', () => Promise.reject(new Error('cannot')));
      throw new Error('disk full');
    };
    await expect(operation()).rejects.toThrow('disk full');
    expect(undone).toEqual(['folder']);
  });
});

it('an operation that succeeds is not undone', async () => {
  const undone: string[] = [];
  {
    await using undo = new UndoStack(logger);
    undo.push('folder', () => void undone.push('folder'));
    undo.release();
  }
  expect(undone).toEqual([]);
});
